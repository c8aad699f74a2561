//! Being in a cgroup from the first moment on.
//!
//! Who moves another process, or itself with all its threads, keeps every fork and every end of a process waiting until
//! the kernel is sure that no thread comes or goes meanwhile: some ten milliseconds, for each burst of moves. A process
//! that begins in a cgroup of version 2, or moves its only thread to one of version 1, waits for nothing.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::sys::cgroup::{RootV1, Roots};

/// A cgroup in every hierarchy that is there, opened before anything is entered that may hide it.
#[derive(Debug)]
pub(super) struct Entry {
    unified: Option<OwnedFd>,
    /// `tasks` of version 1.
    tasks: Vec<File>,
}

impl Entry {
    /// Of a cgroup, named relative to the hierarchies' roots, which is there.
    pub(super) fn open(roots: &Roots, below: &Path) -> io::Result<Self> {
        let tasks = |root: &RootV1| {
            let tasks = root.point.join(below).join("tasks");
            File::options().write(true).open(tasks)
        };
        let directory = |root: &PathBuf| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(root.join(below), flags, Mode::empty())
        };
        Ok(Self {
            unified: roots.unified.as_ref().map(directory).transpose()?,
            tasks: roots.v1.iter().map(tasks).collect::<Result<_, _>>()?,
        })
    }

    /// Where a process has to begin.
    pub(super) fn begin(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// What it has to do first.
    pub(super) fn join(&self) -> io::Result<()> {
        for tasks in &self.tasks {
            // 0 stands for the thread that writes it.
            rustix::io::write(tasks, b"0")?;
        }
        Ok(())
    }
}
