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

    /// Writes the record if its time has come; gives it once nothing more is to be done.
    pub(crate) fn write(&mut self, path: &Path, now: Instant) -> Option<ExitRecord> {
        let record = self.record.filter(|_| self.deadline <= now)?;
        match store(path, record.to_text().as_bytes()) {
            Ok(()) => Some(record),
            // The container was removed with its directory: nobody will ask.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(record),
            Err(_) => {
                self.deadline = now + RETRY;
                None
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
        assert!(ending.write(&path, now).is_none(), "nothing is known yet");
        ending.record(false, true);
        let record = ending.write(&path, Instant::now()).unwrap();
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
        assert!(ending.write(&path, now).is_none());
        assert!(ending.deadline > now);
        fs::remove_dir(dir.path().join("exit.tmp")).unwrap();
        assert!(ending.write(&path, ending.deadline).is_some());
    }
}
