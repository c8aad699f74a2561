//! The container's end: the record on disk.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use corten_conmon::record::{ExitRecord, ExitStatus};

/// How long to wait before a record that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A container whose init ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) pid: i32,
    status: ExitStatus,
    finished_at: i64,
    /// First the end of the wait for output, then the next try to write the record.
    pub(crate) deadline: Instant,
    record: Option<ExitRecord>,
    /// The record could not be written so far.
    failed: bool,
}

/// What came of writing the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// Its time has not come.
    NotYet,
    /// It could not be, and is tried again.
    Failed(ExitRecord),
    /// Nothing more is to be done.
    Done(ExitRecord),
}

impl Ending {
    /// Init was reaped just now; output may come for another `drain`.
    pub(crate) fn new(pid: i32, status: ExitStatus, drain: Duration) -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let finished_at = now
            .tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(now.tv_nsec);
        let deadline = Instant::now() + drain;
        Self {
            pid,
            status,
            finished_at,
            deadline,
            record: None,
            failed: false,
        }
    }

    /// How init ended.
    pub(crate) fn status(&self) -> ExitStatus {
        self.status
    }

    /// Whether the record is made, and only its writing is left.
    pub(crate) fn is_recorded(&self) -> bool {
        self.record.is_some()
    }

    /// Makes the record.
    pub(crate) fn record(&mut self, oom_killed: bool, log_drained: bool) {
        self.record = Some(ExitRecord {
            status: self.status,
            oom_killed,
            finished_at: self.finished_at,
            log_drained,
        });
        self.deadline = Instant::now();
    }

    /// The end, where it is known and the disk does not take it: who asks has to be told all the same.
    pub(crate) fn unwritten(&self) -> Option<ExitRecord> {
        self.record.filter(|_| self.failed)
    }

    /// Writes the record if its time has come.
    pub(crate) fn write(&mut self, path: &Path, now: Instant) -> Written {
        let Some(record) = self.record.filter(|_| self.deadline <= now) else {
            return Written::NotYet;
        };
        match store(path, record.to_text().as_bytes()) {
            Ok(()) => Written::Done(record),
            // The container was removed with its directory: nobody will ask.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Written::Done(record),
            Err(_) => {
                self.deadline = now + RETRY;
                self.failed = true;
                Written::Failed(record)
            }
        }
    }
}

/// Takes room on the disk for the record, so that an end can be told when the disk is full.
pub(crate) fn reserve(path: &Path) -> io::Result<()> {
    File::create(staged(path))?.write_all(&[0; corten_conmon::record::MAX_RECORD])
}

/// Makes a file appear whole, and durably, or not at all.
fn store(path: &Path, text: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let staged = staged(path);
    // What was reserved is written over: making the file anew would give its room away first.
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&staged)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    File::open(dir)?.sync_all()
}

fn staged(path: &Path) -> PathBuf {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".tmp");
    PathBuf::from(staged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_record_is_as_long_as_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit");
        reserve(&path).unwrap();
        assert!(!path.exists());
        store(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_record_appears_whole_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit");
        fs::write(dir.path().join("exit.tmp"), "half a rec").unwrap();
        let mut ending = Ending::new(7, ExitStatus::Code { code: 3 }, Duration::ZERO);
        let now = Instant::now();
        assert_eq!(ending.write(&path, now), Written::NotYet);
        ending.record(false, true);
        let Written::Done(record) = ending.write(&path, Instant::now()) else {
            panic!("not written");
        };
        assert_eq!(ending.unwritten(), None);
        assert_eq!(ExitRecord::from_text(&fs::read(&path).unwrap()), Ok(record));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_record_that_cannot_be_written_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit");
        fs::create_dir(dir.path().join("exit.tmp")).unwrap();
        let mut ending = Ending::new(7, ExitStatus::Signal { signal: 9 }, Duration::ZERO);
        ending.record(true, false);
        let now = Instant::now();
        let Written::Failed(record) = ending.write(&path, now) else {
            panic!("it cannot have been written");
        };
        assert_eq!(ending.unwritten(), Some(record));
        assert!(ending.deadline > now);
        assert_eq!(ending.write(&path, now), Written::NotYet);
        fs::remove_dir(dir.path().join("exit.tmp")).unwrap();
        let written = ending.write(&path, ending.deadline);
        assert_eq!(written, Written::Done(record));
    }
}
