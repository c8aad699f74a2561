//! How much the storage takes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::Storage;
use super::error::StorageError;
use crate::id::Id;

/// Space and inodes taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes on the file system.
    pub bytes: u64,
    /// Inodes on the file system.
    pub inodes: u64,
    /// There is more, beyond what is counted.
    pub truncated: bool,
}

/// Entries looked at before the count is given up.
const MAX_ENTRIES: u64 = 2_000_000;
/// Directories followed downwards; each level holds a descriptor.
const MAX_DEPTH: usize = 200;

impl Storage {
    /// What all layers and container directories take, from records: nothing is walked.
    ///
    /// A container's directory counts with what [`Storage::upper_usage`] last found.
    pub fn usage(&self) -> Usage {
        let state = self.inner.state();
        let mut sum = Usage::default();
        for layer in state.layers.values() {
            sum.bytes += layer.disk_bytes;
            sum.inodes += layer.inodes;
        }
        for upper in state.uppers.values() {
            sum.bytes += upper.bytes;
            sum.inodes += upper.inodes;
            sum.truncated |= upper.truncated;
        }
        sum
    }

    /// Counts what a container has written. Walks its upper directory alone, and blocks meanwhile.
    pub fn upper_usage(&self, container: &Id) -> Result<Usage, StorageError> {
        if !self.inner.state().containers.contains_key(container) {
            return Err(StorageError::NoRootfs {
                container: container.clone(),
            });
        }
        let path = self.inner.layout.container(container).join("upper");
        let usage = match measure(&path) {
            Ok(usage) => usage,
            // A root file system without a directory to write to.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Usage::default(),
            Err(source) => return Err(StorageError::Measure { path, source }),
        };
        let mut state = self.inner.state();
        if state.containers.contains_key(container) {
            state.uppers.insert(container.clone(), usage);
        }
        Ok(usage)
    }
}

/// Counts a tree that a container may be changing meanwhile. Never follows a link.
fn measure(top: &Path) -> io::Result<Usage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(top, flags, Mode::empty())?;
    let mut usage = Usage::default();
    let mut linked = std::collections::HashSet::new();
    let mut seen = 0u64;
    add(&mut usage, &rustix::fs::fstat(&top)?);
    let mut stack: Vec<(OwnedFd, Dir)> = vec![open_dir(top)?];
    loop {
        let depth = stack.len();
        let Some((fd, dir)) = stack.last_mut() else {
            break;
        };
        let Some(entry) = dir.read() else {
            stack.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        seen += 1;
        if seen > MAX_ENTRIES {
            usage.truncated = true;
            break;
        }
        let stat = match rustix::fs::statat(fd.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(e) => return Err(e.into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory {
            if stat.st_nlink < 2 || linked.insert(stat.st_ino) {
                add(&mut usage, &stat);
            }
            continue;
        }
        add(&mut usage, &stat);
        if depth >= MAX_DEPTH {
            usage.truncated = true;
            continue;
        }
        match rustix::fs::openat(fd.as_fd(), name, flags, Mode::empty()) {
            Ok(inner) => stack.push(open_dir(inner)?),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(usage)
}

fn open_dir(fd: OwnedFd) -> io::Result<(OwnedFd, Dir)> {
    let dir = Dir::read_from(&fd)?;
    Ok((fd, dir))
}

fn add(usage: &mut Usage, stat: &rustix::fs::Stat) {
    usage.inodes += 1;
    usage.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_hard_links_once_and_follows_nothing() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let top = dir.path();
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/f"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(top.join("a/f"), top.join("a/b/g")).unwrap();
        std::os::unix::fs::symlink("/usr", top.join("usr")).unwrap();
        let usage = measure(top).unwrap();
        assert_eq!(usage.inodes, 5);
        assert!((100_000..200_000).contains(&usage.bytes), "{usage:?}");
        assert!(!usage.truncated);
    }

    #[test]
    fn gives_up_on_what_is_too_deep() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::create_dir_all(dir.path().join("d/".repeat(MAX_DEPTH + 10))).unwrap();
        let usage = measure(dir.path()).unwrap();
        assert!(usage.truncated);
        assert_eq!(usage.inodes, MAX_DEPTH as u64 + 1);
    }
}
