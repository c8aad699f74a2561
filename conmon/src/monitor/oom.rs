//! Whether the kernel killed something in the container for want of memory.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
};

use corten_conmon::record::ExitStatus;
use rustix::event::{EventfdFlags, PollFlags};

/// Watches a cgroup's count of OOM kills, by an open file: its path may be gone before the last look.
#[derive(Debug, Default)]
pub(crate) struct OomWatch {
    file: Option<File>,
    /// cgroup v1 tells of events through this; v2 through the file itself.
    event: Option<OwnedFd>,
    kills: u64,
    noticed: bool,
}

impl OomWatch {
    /// Watches `file`, or what is found for the process. Without either nothing is ever noticed.
    pub(crate) fn new(file: Option<PathBuf>, pid: i32) -> Self {
        let Some(path) = file.or_else(|| find(pid)) else {
            return Self::default();
        };
        let Ok(file) = File::open(&path) else {
            return Self::default();
        };
        // Until it is read once the file says that it changed.
        let _ = count(&file);
        let event = path
            .ends_with("memory.oom_control")
            .then(|| subscribe(&path, &file).ok())
            .flatten();
        Self {
            file: Some(file),
            event,
            kills: 0,
            noticed: false,
        }
    }

    /// What to wait on, and for what.
    pub(crate) fn ready_on(&self) -> Option<(&dyn AsFd, PollFlags)> {
        match (&self.event, &self.file) {
            (Some(event), _) => Some((event, PollFlags::IN)),
            (None, Some(file)) => Some((file, PollFlags::PRI)),
            (None, None) => None,
        }
    }

    /// Something happened: looks at the count while the cgroup is there.
    pub(crate) fn notice(&mut self) {
        if let Some(event) = &self.event {
            let _ = rustix::io::read(event, &mut [0; 8]);
        }
        match self.file.as_ref().map(count) {
            Some(Ok(kills)) => {
                self.noticed = true;
                self.kills = self.kills.max(kills);
            }
            // The cgroup is gone, which is an event too, and one without end.
            _ => {
                *self = Self {
                    file: None,
                    event: None,
                    ..*self
                }
            }
        }
    }

    /// Whether there was a kill, once init ended with `status`.
    pub(crate) fn killed(&mut self, status: ExitStatus) -> bool {
        match self.file.as_ref().map(count) {
            Some(Ok(kills)) => kills > 0,
            // On v1 the event comes before the kill is counted.
            _ => {
                self.kills > 0
                    || self.noticed
                        && status
                            == ExitStatus::Signal {
                                signal: libc::SIGKILL,
                            }
            }
        }
    }
}

/// Asks cgroup v1 for events.
fn subscribe(path: &Path, file: &File) -> io::Result<OwnedFd> {
    let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let line = format!("{} {}", event.as_raw_fd(), file.as_raw_fd());
    std::fs::write(path.with_file_name("cgroup.event_control"), line)?;
    Ok(event)
}

fn count(file: &File) -> io::Result<u64> {
    let mut text = [0; 1024];
    let len = file.read_at(&mut text, 0)?;
    Ok(parse_count(&text[..len]))
}

/// Finds `oom_kill N`, a line in the files of both versions.
fn parse_count(text: &[u8]) -> u64 {
    let text = str::from_utf8(text).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        .unwrap_or(0)
}

/// The file for a process's cgroup, under the mount points that every system has.
fn find(pid: i32) -> Option<PathBuf> {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/cgroup"))
        .ok()?
        .take(16 * 1024)
        .read_to_string(&mut text)
        .ok()?;
    candidates(&text).into_iter().find(|path| path.exists())
}

/// From the lines of `/proc/PID/cgroup`, the likeliest first.
fn candidates(text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|name| name == "memory") {
            let path = Path::new("/sys/fs/cgroup/memory")
                .join(path)
                .join("memory.oom_control");
            found.insert(0, path);
        } else if controllers.is_empty() {
            for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
                found.push(Path::new(root).join(path).join("memory.events"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        assert_eq!(
            parse_count(b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            3
        );
        assert_eq!(
            parse_count(b"low 0\noom 2\noom_kill 1\noom_group_kill 0\n"),
            1
        );
        assert_eq!(parse_count(b"\xff"), 0);
    }

    #[test]
    fn both_layouts_are_known() {
        let v1 = candidates("9:name=systemd:/\n4:memory:/a/b\n0::/\n");
        assert_eq!(
            v1[0],
            Path::new("/sys/fs/cgroup/memory/a/b/memory.oom_control")
        );
        let v2 = candidates("0::/kubepods/x:y\n");
        assert_eq!(
            v2[0],
            Path::new("/sys/fs/cgroup/kubepods/x:y/memory.events")
        );
    }
}
