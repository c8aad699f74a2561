//! The one thread that changes record files.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use tokio::sync::oneshot;

use super::{StoreError, format};
use crate::step::{self, Written};

/// Ending of a file that is not yet a record.
pub(super) const STAGED: &str = ".staged";
/// Ending of a record's file.
pub(super) const RECORD: &str = ".json";
/// Ending of the file of a note, which lies beside the record that it is over.
pub(super) const NOTE: &str = ".note";

/// What a change must survive once it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// The death of the daemon.
    Crash,
    /// The death of the machine.
    PowerCut,
}

/// A change of one file.
#[derive(Debug)]
pub(super) enum Change {
    Put { path: PathBuf, bytes: Vec<u8> },
    Delete { path: PathBuf },
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Self::Put { path, .. } | Self::Delete { path } => path,
        }
    }
}

struct Job {
    change: Change,
    durability: Durability,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// The sending side of the writer thread, which ends when the last clone is gone.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// Changes that are flushed together at the most.
const BATCH: usize = 256;

impl Writer {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("records".into())
            .spawn(move || {
                while let Ok(first) = inbox.recv() {
                    let mut batch = vec![first];
                    while batch.len() < BATCH {
                        match inbox.try_recv() {
                            Ok(job) => batch.push(job),
                            Err(_) => break,
                        }
                    }
                    write_batch(batch);
                }
            })?;
        Ok(Self { jobs })
    }

    pub(super) async fn submit(
        &self,
        change: Change,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.jobs
            .send(Job {
                change,
                durability,
                done,
            })
            .map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

/// Applies the changes in order; of several to one file only the last is carried out.
fn write_batch(batch: Vec<Job>) {
    let mut last: HashMap<PathBuf, usize> = HashMap::new();
    let mut sync: BTreeSet<PathBuf> = BTreeSet::new();
    for (i, job) in batch.iter().enumerate() {
        last.insert(job.change.path().to_owned(), i);
        if job.durability == Durability::PowerCut {
            sync.insert(job.change.path().to_owned());
        }
    }
    let mut outcome: HashMap<PathBuf, io::Result<()>> = HashMap::new();
    for (path, i) in &last {
        let durable = sync.contains(path);
        let result = match &batch[*i].change {
            Change::Put { path, bytes } if durable => put(path, bytes),
            Change::Put { path, bytes } => note(path, bytes),
            Change::Delete { path } => delete(path),
        };
        outcome.insert(path.clone(), result);
    }
    let dirs: BTreeSet<&Path> = sync.iter().filter_map(|p| p.parent()).collect();
    for dir in dirs {
        let synced = File::open(dir).and_then(|d| d.sync_all());
        for path in sync.iter().filter(|p| p.parent() == Some(dir)) {
            match &synced {
                Ok(()) => step::written(path, Written::RecordSynced),
                Err(e) => {
                    outcome.insert(path.clone(), Err(copy(e)));
                }
            }
        }
    }
    for job in batch {
        let path = job.change.path().to_owned();
        let result = match outcome.get(&path) {
            Some(Err(e)) => Err(StoreError::Write {
                source: copy(e),
                path,
            }),
            _ => Ok(()),
        };
        let _ = job.done.send(result);
    }
}

/// Replaces a record durably, but for its directory, and drops the note over the one before.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, Durability::PowerCut)?;
    step::written(path, Written::Recorded);
    // A note that stays is over another record than this, and so says nothing.
    unlink(&path.with_extension(&NOTE[1..]))
}

/// Writes a note over a record. It is not synced, and a power cut may leave anything of it: so it does not take
/// the place of the record, which was acknowledged.
fn note(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut head = [0; 256];
    let read = match File::open(path) {
        Ok(mut file) => io::Read::read(&mut file, &mut head)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
        Err(e) => return Err(e),
    };
    let over = format::checksum_of(&head[..read]);
    let bytes = format::as_note(bytes, over);
    replace(&path.with_extension(&NOTE[1..]), &bytes, Durability::Crash)?;
    step::written(path, Written::Noted);
    Ok(())
}

fn replace(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(STAGED);
    let staged = PathBuf::from(staged);
    let written = (|| {
        let mut file = match create(&staged) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    fs::DirBuilder::new()
                        .recursive(true)
                        .mode(0o700)
                        .create(dir)?;
                }
                create(&staged)?
            }
            other => other?,
        };
        file.write_all(bytes)?;
        match durability {
            Durability::PowerCut => {
                file.sync_data()?;
                step::written(path, Written::RecordStaged);
            }
            Durability::Crash => step::written(path, Written::NoteStaged),
        }
        fs::rename(&staged, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// The record first: a note alone says nothing.
fn delete(path: &Path) -> io::Result<()> {
    unlink(path)?;
    step::written(path, Written::Forgotten);
    unlink(&path.with_extension(&NOTE[1..]))
}

fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// `io::Error` is not `Clone`; the number is what callers tell errors apart by.
fn copy(e: &io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(n) => io::Error::from_raw_os_error(n),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}
