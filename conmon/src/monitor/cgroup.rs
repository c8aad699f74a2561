//! Being in cgroups without having the whole machine wait.
//!
//! A process that moves with all its threads, by `cgroup.procs`, keeps every fork and every end of a process waiting until
//! the kernel is sure that no thread comes or goes meanwhile, and waits for that itself: some ten milliseconds. A single
//! thread that moves itself waits for nothing; version 1 has the file `tasks` for that. To be in one of version 2 a process
//! begins there, which kernels before 5.7 do not know.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

/// Cgroups to be in, one in each hierarchy.
#[derive(Debug)]
pub(crate) struct Cgroups {
    dirs: Vec<PathBuf>,
    /// The place of one where a process can begin.
    unified: Option<(usize, OwnedFd)>,
}

impl Cgroups {
    /// Looks at their directories. What is wrong with one shows as it is joined.
    pub(crate) fn new(dirs: Vec<PathBuf>) -> Self {
        let mut all = dirs.iter().enumerate();
        let unified = all.find_map(|(at, dir)| Some((at, unified(dir)?)));
        Self { dirs, unified }
    }

    /// Where a process is to begin.
    pub(crate) fn begin(&self) -> Option<&OwnedFd> {
        self.unified.as_ref().map(|(_, dir)| dir)
    }

    /// Those that it has to join then; all, where it could not begin there.
    pub(crate) fn left(&self, begun: bool) -> impl Iterator<Item = &Path> {
        let there = self.unified.as_ref().map(|(at, _)| *at);
        let there = there.filter(|_| begun);
        let dirs = self.dirs.iter().enumerate();
        dirs.filter(move |(at, _)| Some(*at) != there)
            .map(|(_, dir)| dir.as_path())
    }
}

/// The directory, if it is of a cgroup of version 2.
fn unified(dir: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(dir, flags, Mode::empty()).ok()?;
    let tasks = rustix::fs::statat(&opened, "tasks", AtFlags::empty());
    matches!(tasks, Err(Errno::NOENT)).then_some(opened)
}

/// Moves this process, which has one thread.
pub(crate) fn join(dir: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let open = |file| rustix::fs::open(dir.join(file), flags, Mode::empty());
    let file = match open("tasks") {
        Err(Errno::NOENT) => open("cgroup.procs")?,
        opened => opened?,
    };
    // 0 stands for whoever writes it.
    rustix::io::write(&file, b"0")?;
    Ok(())
}
