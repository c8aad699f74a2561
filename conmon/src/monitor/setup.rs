//! Becoming a monitor: apart from the daemon, out of the way of the container's limits.

use std::{fs, io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use corten_conmon::{
    config::Config,
    ctl::{CreateFailure, Stage},
    socket::{self, Received},
    wire::{self, Version, WireError},
};
use rustix::fs::{Mode, OFlags};

use super::{
    cgroup::{self, Cgroups},
    sys::{self, Pages},
};

/// How long the daemon may take to send what it promised.
const PATIENCE: Duration = Duration::from_secs(30);
/// OOM preferences tried, the best first.
const SHELTERED: [&str; 2] = ["-1000", "-999"];

/// A failure without words of the runtime.
pub(crate) fn failure(stage: Stage, text: impl Into<String>) -> CreateFailure {
    CreateFailure {
        stage,
        status: None,
        text: text.into(),
    }
}

/// Leaves the daemon's process tree and session behind. Tells whether it has begun in `into`, a cgroup.
pub(crate) fn leave_home(into: Option<&OwnedFd>) -> io::Result<bool> {
    let begun = sys::detach(into)?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::chdir("/")?;
    Ok(begun)
}

/// Moves the connection to the daemon away from the standard descriptors, which become `/dev/null`.
pub(crate) fn take_connection() -> io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(socket)
}

/// Reads the configuration and which version of the protocol it is in. `None` when the daemon went away instead.
pub(crate) fn read_config(
    socket: &OwnedFd,
    scratch: &mut Pages,
    newest: Version,
) -> Option<Result<(Config, Version), CreateFailure>> {
    let bad = |text: String| Some(Err(failure(Stage::Config, text)));
    let timeout = rustix::net::sockopt::Timeout::Recv;
    if let Err(error) = rustix::net::sockopt::set_socket_timeout(socket, timeout, Some(PATIENCE)) {
        return bad(format!("cannot set a timeout: {error}"));
    }
    match socket::receive_waiting(socket, scratch) {
        Ok(Received::Packet(len, _)) => match understand(&scratch[..len], newest) {
            Ok((config, _)) if config.runtime.is_empty() => {
                bad("the runtime's command line is empty".into())
            }
            Ok(config) => Some(Ok(config)),
            Err(error) => bad(error.to_string()),
        },
        Ok(Received::Oversized) => bad("the configuration is too long".into()),
        Ok(Received::Closed) | Err(_) => None,
    }
}

fn understand(frame: &[u8], newest: Version) -> Result<(Config, Version), WireError> {
    let version = wire::open(frame)?.version();
    if version > newest {
        return Err(WireError::Version(version.number()));
    }
    wire::unframe(frame).map(|config| (config, version))
}

/// Collects the container's orphans from now on.
pub(crate) fn adopt_orphans() -> Result<(), CreateFailure> {
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own))
        .map_err(|error| failure(Stage::Setup, format!("cannot become a subreaper: {error}")))
}

/// Looks for cgroups where the container's limits do not reach.
pub(crate) fn find_cgroups(dirs: Vec<PathBuf>) -> Cgroups {
    // The operator's choice may lie several levels deep. What cannot be made cannot be joined.
    for dir in &dirs {
        let _ = fs::create_dir_all(dir);
    }
    Cgroups::new(dirs)
}

/// Moves to those of them where this process has not begun.
pub(crate) fn enter_cgroups(cgroups: Cgroups, begun: bool) -> Result<(), CreateFailure> {
    for dir in cgroups.left(begun) {
        cgroup::join(dir)
            .map_err(|error| failure(Stage::Cgroup, format!("{}: {error}", dir.display())))?;
    }
    Ok(())
}

/// Hides from the OOM killer as well as may be, and gives the preference that children get back.
pub(crate) fn hide_from_oom_killer() -> Option<[u8; 8]> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let inherited = fs::read_to_string(FILE).ok()?;
    let inherited = inherited.trim();
    // Without the capability only the first process of a lower value may go back to it.
    SHELTERED
        .iter()
        .find(|score| fs::write(FILE, score).is_ok())?;
    let mut text = [b'\n'; 8];
    text.get_mut(..inherited.len())?
        .copy_from_slice(inherited.as_bytes());
    Some(text)
}
