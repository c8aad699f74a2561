//! Looking at a path that may never answer.

#![allow(
    unsafe_code,
    reason = "a child of a process with threads makes plain system calls only"
)]

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use tokio::io::unix::AsyncFd;

use super::{child, watched::watched};

/// A process of its own that looks at a path, and does nothing else.
///
/// What touches a file system whose server is gone hangs in the kernel and cannot be killed. A thread that did so
/// would keep the daemon's process from ending, and whoever waits for that; this has nothing open of the daemon's and
/// shares nothing with it.
#[derive(Debug)]
pub struct Glance(AsyncFd<OwnedFd>);

impl Glance {
    /// Begins to look.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: what it does are plain system calls.
        let (_, child) = unsafe { child::start(0, || look(&path)) }?;
        watched(child).map(Self)
    }

    /// Waits until the path has answered, whatever it said.
    pub async fn ended(self) {
        // A descriptor of a process can be read once it has ended; then nothing blocks.
        let _ = self.0.readable().await;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = waitid(WaitId::PidFd(self.0.get_ref().as_fd()), options);
    }
}

/// What the child does.
fn look(path: &CString) -> ! {
    // SAFETY: plain system calls on memory of this frame and on the path, which the child has a copy of; nothing here
    // allocates, locks or unwinds.
    unsafe {
        let mut found: libc::statx = std::mem::zeroed();
        libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32);
        libc::syscall(
            libc::SYS_statx,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            libc::STATX_BASIC_STATS,
            &raw mut found,
        );
        loop {
            libc::syscall(libc::SYS_exit_group, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_whatever_is_there_and_is_reaped() {
        for path in ["/", "/no/such", ""] {
            let glance = Glance::begin(Path::new(path)).unwrap();
            let child = glance.0.get_ref().try_clone().unwrap();
            glance.ended().await;
            let again = waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED);
            assert_eq!(again.unwrap_err(), rustix::io::Errno::CHILD);
        }
        assert!(Glance::begin(Path::new("a\0b")).is_err());
    }

    #[tokio::test]
    async fn a_pipe_is_looked_at_and_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
        Glance::begin(&pipe).unwrap().ended().await;
    }
}
