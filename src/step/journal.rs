//! The steps of the store's writer: which is meant depends on the kind of the record.

use std::path::Path;

use super::{Step, reached};

/// A write of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// A note, aside.
    NoteStaged,
    /// A note, in its place.
    Noted,
    /// A record, aside.
    RecordStaged,
    /// A record, in its place.
    Recorded,
    /// A record, and its directory too.
    RecordSynced,
    /// A record, deleted.
    Forgotten,
}

/// Tells which write of the journal has been done, by the record's kind as the store names it.
#[inline(always)]
pub(crate) fn written(path: &Path, written: Written) {
    if cfg!(debug_assertions)
        && let Some(kind) = path.parent().and_then(|dir| dir.file_name())
        && let Some(step) = of_journal(&kind.to_string_lossy(), written)
    {
        reached(step);
    }
}

fn of_journal(kind: &str, written: Written) -> Option<Step> {
    use Written as W;
    Some(match (kind, written) {
        ("sandboxes", W::NoteStaged) => Step::SandboxNoteStaged,
        ("sandboxes", W::Noted) => Step::SandboxNoted,
        ("sandboxes", W::RecordStaged) => Step::SandboxRecordStaged,
        ("sandboxes", W::Recorded) => Step::SandboxRecorded,
        ("sandboxes", W::RecordSynced) => Step::SandboxRecordSynced,
        ("sandboxes", W::Forgotten) => Step::SandboxForgotten,
        ("containers", W::NoteStaged) => Step::ContainerNoteStaged,
        ("containers", W::Noted) => Step::ContainerNoted,
        ("containers", W::RecordStaged) => Step::ContainerRecordStaged,
        ("containers", W::Recorded) => Step::ContainerRecorded,
        ("containers", W::RecordSynced) => Step::ContainerRecordSynced,
        ("containers", W::Forgotten) => Step::ContainerForgotten,
        ("images", W::RecordStaged) => Step::ImageRecordStaged,
        ("images", W::Recorded) => Step::ImageRecorded,
        ("images", W::RecordSynced) => Step::ImageRecordSynced,
        ("images", W::Forgotten) => Step::ImageForgotten,
        _ => return None,
    })
}
