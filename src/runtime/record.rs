//! What is kept of a container, and what it does now.

use std::{
    collections::HashMap,
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::{Deserialize, Serialize};

use super::{cgroup::Group, error::Failure};

const STATE: &str = "state.json";
const SECCOMP: &str = "seccomp.json";

/// Where the first process waits to be started.
pub(super) const SOCKET: &str = "start.sock";

/// A container on record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// `ociVersion` of its specification.
    pub(super) oci_version: String,
    /// Its name.
    pub(super) id: String,
    /// Directory of its specification.
    pub(super) bundle: PathBuf,
    /// Its root file system.
    pub(super) rootfs: PathBuf,
    /// Its cgroup.
    pub(super) group: Group,
    /// What its processes may do that do not say themselves.
    pub(super) capabilities: Option<LinuxCapabilities>,
    /// Its first process, once there is one.
    pub(super) init: Option<Init>,
    /// When it was made, as RFC 3339 has it.
    pub(super) created: String,
    /// From its specification.
    pub(super) annotations: HashMap<String, String>,
}

/// A first process: the number alone may be another's by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Init {
    /// Its number.
    pub(super) pid: i32,
    /// When it began, in ticks since boot.
    began: u64,
    /// The program it waits in, by device and inode: another one once it was started.
    program: (u64, u64),
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Being made, or left by who made it.
    Creating,
    /// Waits to be started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Its first process is gone.
    Stopped,
}

impl Status {
    /// As the runtime specification has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Init {
    /// A process that was just made of this program.
    pub(super) fn of(pid: i32) -> io::Result<Self> {
        let (began, _) = stat(pid)?;
        let program = fs::metadata("/proc/self/exe")?;
        Ok(Self {
            pid,
            began,
            program: (program.dev(), program.ino()),
        })
    }

    /// Whether it still runs; a zombie does not.
    pub(super) fn is_alive(&self) -> bool {
        stat(self.pid)
            .is_ok_and(|(began, state)| began == self.began && !matches!(state, 'Z' | 'X' | 'x'))
    }

    /// Waits until it has ended; whether it has within that time. The first of a PID namespace ends after all others
    /// in it, and those after whoever has them as children took note of it.
    pub(super) fn outlast(&self, limit: Duration) -> bool {
        let process = Pid::from_raw(self.pid)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            // Opened before it is looked at: it is the process that is meant.
            .filter(|_| self.is_alive());
        process.is_none_or(|process| ends_within(process.as_fd(), limit))
    }

    fn waits(&self) -> bool {
        fs::metadata(format!("/proc/{}/exe", self.pid))
            .is_ok_and(|data| (data.dev(), data.ino()) == self.program)
    }
}

/// Whether a process ends in time; its descriptor becomes readable when it has.
fn ends_within(process: BorrowedFd<'_>, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = rustix::time::Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&process, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// When a process began, and its state.
fn stat(pid: i32) -> io::Result<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    read_stat(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn read_stat(text: &str) -> Option<(u64, char)> {
    // The name may hold anything, blanks and parentheses too.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

impl Record {
    /// Directory of a container.
    pub(super) fn dir(root: &Path, id: &str) -> PathBuf {
        root.join(id)
    }

    /// Begins a record; there may be none yet.
    pub(super) fn begin(&self, root: &Path) -> Result<PathBuf, Failure> {
        let dir = Self::dir(root, &self.id);
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        let failed = || Failure::step(format!("making {}", dir.display()));
        builder.recursive(true).create(root).map_err(failed())?;
        match builder.recursive(false).create(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Failure::Exists(self.id.clone()));
            }
            Err(e) => return Err(failed()(e)),
        }
        self.save(root)?;
        Ok(dir)
    }

    /// Writes it down, whole at once.
    pub(super) fn save(&self, root: &Path) -> Result<(), Failure> {
        let dir = Self::dir(root, &self.id);
        write(&dir, STATE, self)
    }

    /// Keeps the filter of system calls for processes that come later.
    pub(super) fn save_filter(&self, root: &Path, filter: &LinuxSeccomp) -> Result<(), Failure> {
        write(&Self::dir(root, &self.id), SECCOMP, filter)
    }

    /// The container of that name.
    pub(super) fn load(root: &Path, id: &str) -> Result<Self, Failure> {
        let path = Self::dir(root, id).join(STATE);
        read(&path)?.ok_or(Failure::NoContainer)
    }

    /// The filter of system calls, where it has one.
    pub(super) fn filter(&self, root: &Path) -> Result<Option<LinuxSeccomp>, Failure> {
        read(&Self::dir(root, &self.id).join(SECCOMP))
    }

    /// What it does now.
    pub(super) fn status(&self, root: &Path) -> Status {
        let Some(init) = &self.init else {
            return Status::Creating;
        };
        if !init.is_alive() {
            return Status::Stopped;
        }
        if Self::dir(root, &self.id).join(SOCKET).exists() && init.waits() {
            return Status::Created;
        }
        if self.group.is_frozen() {
            return Status::Paused;
        }
        Status::Running
    }
}

fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<(), Failure> {
    let path = dir.join(name);
    let staged = dir.join(format!("{name}.new"));
    let failed = || Failure::step(format!("writing {}", path.display()));
    let json = serde_json::to_vec(value).map_err(io::Error::other);
    let json = json.map_err(failed())?;
    let mut open = fs::OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    let written = open
        .open(&staged)
        .and_then(|mut file| io::Write::write_all(&mut file, &json))
        .and_then(|()| fs::rename(&staged, &path));
    written.map_err(failed())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let failed = |source| Failure::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| failed(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_process_is_read_behind_any_name() {
        let line = "42 (a ) (b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9";
        assert_eq!(read_stat(line), Some((777, 'S')));
        assert_eq!(read_stat("42 (x) S 1"), None);
        assert_eq!(read_stat(""), None);
    }

    #[test]
    fn a_number_alone_is_nobody() {
        let own = i32::try_from(std::process::id()).unwrap();
        let init = Init::of(own).unwrap();
        assert!(init.is_alive() && init.waits());
        let other = Init {
            began: init.began + 1,
            ..init
        };
        assert!(!other.is_alive());
    }

    #[test]
    fn the_end_of_one_is_waited_for() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read -r line"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let init = Init::of(child.id().try_into().unwrap()).unwrap();
        assert!(!init.outlast(Duration::from_millis(20)));
        drop(child.stdin.take());
        assert!(init.outlast(Duration::from_secs(60)));
        child.wait().unwrap();
        assert!(init.outlast(Duration::ZERO));
    }

    #[test]
    fn there_is_one_of_a_name() {
        let root = tempfile::tempdir().unwrap();
        let record = Record {
            oci_version: "1.2.0".into(),
            id: "abc".into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            group: Group::parse("/corten-none").unwrap(),
            capabilities: None,
            init: None,
            created: String::new(),
            annotations: HashMap::new(),
        };
        let load = || Record::load(root.path(), "abc");
        assert!(matches!(load(), Err(Failure::NoContainer)));
        record.begin(root.path()).unwrap();
        assert!(matches!(
            record.begin(root.path()),
            Err(Failure::Exists(id)) if id == "abc"
        ));
        let read = load().unwrap();
        assert_eq!(read.status(root.path()), Status::Creating);
        assert!(read.filter(root.path()).unwrap().is_none());
        fs::write(root.path().join("abc").join(STATE), "{").unwrap();
        assert!(matches!(load(), Err(Failure::Read { .. })));
    }
}
