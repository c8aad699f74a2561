//! Reading what lies in the store: for each name a record, and perhaps a note over it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::Path,
};

use super::{
    Record,
    format::{self, Decoded, FormatError},
    writer::{NOTE, RECORD, STAGED},
};
use crate::step::{self, Step};

/// Largest record that is read: far beyond any lawful one.
const MAX_RECORD: u64 = 16 << 20;

/// The files of one name.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Files {
    record: bool,
    note: bool,
}

/// What the files of one name amount to.
pub(super) enum Verdict<R> {
    /// This.
    Record(R),
    /// Nothing that was ever acknowledged.
    Nothing,
    /// These files cannot be read, or have lost what they are over; for this reason.
    Unreadable(Vec<String>, String),
}

/// The names in a directory of records; what was only staged is removed.
pub(super) fn files_by_id(dir: &Path) -> io::Result<BTreeMap<String, Files>> {
    let mut found: BTreeMap<String, Files> = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(id) = name.strip_suffix(RECORD) {
            found.entry(id.to_owned()).or_default().record = true;
        } else if let Some(id) = name.strip_suffix(NOTE) {
            found.entry(id.to_owned()).or_default().note = true;
        } else if name.ends_with(STAGED) {
            let _ = fs::remove_file(entry.path());
            step::reached(Step::StagedRecordSwept);
        }
    }
    Ok(found)
}

/// Decides between a record and the note over it. A note that says nothing is removed.
pub(super) fn reconcile<R: Record>(dir: &Path, id: &str, files: Files) -> Verdict<R> {
    let name = |ending: &str| format!("{id}{ending}");
    let record = match files.record.then(|| read::<R>(&dir.join(name(RECORD)))) {
        Some(Err(reason)) => {
            let note = files.note.then(|| name(NOTE));
            let names = [name(RECORD)].into_iter().chain(note).collect();
            return Verdict::Unreadable(names, reason.to_string());
        }
        Some(Ok(record)) => Some(record),
        None => None,
    };
    let note = match files.note.then(|| read::<R>(&dir.join(name(NOTE)))) {
        // What another version of corten wrote is whole, and not ours to throw away.
        Some(Err(Unreadable::Format(
            reason @ (FormatError::Version { .. } | FormatError::Schema(_)),
        ))) => return Verdict::Unreadable(vec![name(NOTE)], reason.to_string()),
        Some(Err(reason)) => {
            tracing::info!(id, %reason, "a note did not survive: the record before it counts");
            None
        }
        Some(Ok(note)) => Some(note),
        None => None,
    };
    let below = record.as_ref().map(|record| record.checksum.clone());
    match note {
        Some(note) if note.over == Some(below) => return Verdict::Record(note.value),
        _ if files.note => {
            let _ = fs::remove_file(dir.join(name(NOTE)));
        }
        _ => {}
    }
    record.map_or(Verdict::Nothing, |record| Verdict::Record(record.value))
}

/// Why a file is no record.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("is larger than {MAX_RECORD} bytes")]
    TooLarge,
    #[error(transparent)]
    Format(#[from] FormatError),
}

fn read<R: Record>(path: &Path) -> Result<Decoded<R>, Unreadable> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_RECORD + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_RECORD {
        return Err(Unreadable::TooLarge);
    }
    Ok(format::decode(R::KIND, R::VERSION, &bytes)?)
}
