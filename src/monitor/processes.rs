//! The processes of a container, by descriptors: whatever happens, no other process is meant.

use std::{
    future::pending,
    io,
    os::fd::OwnedFd,
    sync::{Arc, OnceLock},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

use crate::sys::{pidfd, watched::watched};

/// Init, once it is certain which process that is.
#[derive(Debug, Clone, Default)]
pub(super) struct Init(Arc<OnceLock<AsyncFd<OwnedFd>>>);

impl Init {
    /// It is this one.
    pub(super) fn settle(&self, candidate: AsyncFd<OwnedFd>) {
        let _ = self.0.set(candidate);
    }

    /// Sends a signal; says whether it is known whom to.
    pub(super) fn signal(&self, number: i32) -> bool {
        let Some(init) = self.0.get() else {
            return false;
        };
        pidfd::send_signal(init.get_ref(), number);
        true
    }

    /// Waits until it is gone; for ever, when it is not known.
    pub(super) async fn gone(&self) {
        match self.0.get() {
            Some(init) if init.readable().await.is_ok() => {}
            _ => pending().await,
        }
    }
}

/// A descriptor of what has this number now. It is readable once that process is gone.
pub(super) fn candidate(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    watched(open(pid)?)
}

/// A monitor's process.
#[derive(Debug)]
pub(super) struct MonitorProcess(OwnedFd);

impl MonitorProcess {
    /// The process that has this number now.
    pub(super) fn open(pid: i32) -> io::Result<Self> {
        open(pid).map(Self)
    }

    /// Continues it, should it be stopped.
    pub(super) fn wake(&self) {
        pidfd::send_signal(&self.0, libc::SIGCONT);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        pidfd::send_signal(&self.0, libc::SIGKILL);
    }
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}
