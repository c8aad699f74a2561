//! What is to be deleted: moved away in one step, taken apart in the background.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use crate::step::{self, Step};

/// A directory whose content a thread deletes.
#[derive(Debug)]
pub(crate) struct Trash {
    dir: PathBuf,
    next: AtomicU64,
    wake: Option<Sender<()>>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Trash {
    /// Starts deleting what is in `dir`, and what comes into it.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        let (wake, woken) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let worker = {
            let (dir, stop) = (dir.clone(), Arc::clone(&stop));
            std::thread::Builder::new()
                .name("storage-trash".into())
                .spawn(move || {
                    loop {
                        match empty(&dir, &stop) {
                            Ok(()) => step::reached(Step::TrashEmptied),
                            Err(e) => {
                                tracing::warn!(dir = %dir.display(), error = %e, "deleting failed; it is tried again with the next");
                            }
                        }
                        if woken.recv().is_err() {
                            return;
                        }
                        // One round empties all, however many came.
                        while woken.try_recv().is_ok() {}
                    }
                })?
        };
        // Names of an earlier run may still be there.
        let next = fs::read_dir(&dir)?
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u64>().ok())
            .max()
            .map_or(0, |n| n + 1);
        Ok(Self {
            dir,
            next: AtomicU64::new(next),
            wake: Some(wake),
            stop,
            worker: Some(worker),
        })
    }

    /// Moves `path` into the trash; false if it is not there.
    pub(crate) fn take(&self, path: &Path) -> io::Result<bool> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        match fs::rename(path, self.dir.join(name)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        }
        if let Some(wake) = &self.wake {
            // The worker only ends with us.
            let _ = wake.send(());
        }
        Ok(true)
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Deletes all that is in `dir`.
///
/// Directories are moved up before they are emptied: a container can nest them deeper than a path, a
/// stack or a descriptor table can follow. Each is unlinked from a path that is short.
fn empty(dir: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut lifted = 0u64;
    let mut failed = None;
    loop {
        let mut found = false;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            match dismantle(dir, &entry, &mut lifted, stop) {
                Ok(()) => found = true,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => failed = Some(e),
            }
        }
        if !found {
            return failed.map_or(Ok(()), Err);
        }
    }
}

fn dismantle(
    dir: &Path,
    entry: &fs::DirEntry,
    lifted: &mut u64,
    stop: &AtomicBool,
) -> io::Result<()> {
    let path = entry.path();
    if !entry.file_type()?.is_dir() {
        return fs::remove_file(path);
    }
    for inner in fs::read_dir(&path)? {
        let inner = inner?;
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !inner.file_type()?.is_dir() {
            fs::remove_file(inner.path())?;
            continue;
        }
        match fs::remove_dir(inner.path()) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
                // No name that is put here from outside has a dot in it.
                loop {
                    let name = dir.join(format!("{}.{lifted}", std::process::id()));
                    *lifted += 1;
                    match fs::rename(inner.path(), name) {
                        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                        done => break done?,
                    }
                }
            }
            Err(e) => return Err(e),
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    fn wait_empty(dir: &Path) {
        while fs::read_dir(dir).unwrap().next().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn deletes_trees_deeper_than_any_path() {
        let base = tempfile::tempdir().unwrap();
        let bin = base.path().join("trash");
        fs::create_dir(&bin).unwrap();
        fs::create_dir(base.path().join("tree")).unwrap();
        let mut at = rustix::fs::open(
            base.path().join("tree"),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        let name = "d".repeat(200);
        for _ in 0..200 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, "empty", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/etc", &at, "link").unwrap();
            at = rustix::fs::openat(&at, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .unwrap();
        }
        let trash = Trash::open(bin.clone()).unwrap();
        assert!(trash.take(&base.path().join("tree")).unwrap());
        assert!(!trash.take(&base.path().join("tree")).unwrap());
        wait_empty(&bin);
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn finishes_what_an_earlier_run_left() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("7/a/b")).unwrap();
        fs::write(base.path().join("99.0"), "x").unwrap();
        let _trash = Trash::open(base.path().to_owned()).unwrap();
        wait_empty(base.path());
    }
}
