//! Locks that keep a directory for one process.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// How long the holder's end may take. A process that is killed can leave a child which has not yet executed its own
/// program, and holds every file of its parent until then.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Opens a file to lock, made when it is missing. It is held for reading alone: a file that is open for writing would
/// keep its file system from being remounted read-only for as long as the daemon runs.
pub fn open(path: &Path) -> io::Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    File::open(path)
}

/// Locks an open file for this process alone, flock(2); `EWOULDBLOCK` when another one keeps it. Blocks for a second
/// at most.
pub fn lock(file: impl AsFd) -> Result<(), Errno> {
    lock_within(file, PATIENCE, PAUSE)
}

/// The same, trying again after each `pause` until `limit` is over.
pub fn lock_within(file: impl AsFd, limit: Duration, pause: Duration) -> Result<(), Errno> {
    let until = Instant::now() + limit;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < until => sleep(pause),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_in_time_is_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = File::create(&path).unwrap();
        lock(&first).unwrap();
        let second = File::open(&path).unwrap();
        let waiting = std::thread::spawn(move || lock(&second));
        sleep(PAUSE * 5);
        drop(first);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn what_is_kept_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = open(&path).unwrap();
        lock(&first).unwrap();
        assert_eq!(lock(File::open(&path).unwrap()), Err(Errno::WOULDBLOCK));
    }
}
