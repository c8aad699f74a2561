//! A child of a process that has threads, for what only a process of its own can do.

#![allow(
    unsafe_code,
    reason = "no crate in use has clone3(2), and a child of a process with threads may do little"
)]

use std::{
    convert::Infallible,
    io,
    os::fd::{FromRawFd, OwnedFd},
};

/// `CLONE_CLEAR_SIGHAND`: signals do to the child what they do by default.
const CLEAR_SIGHAND: u64 = 1 << 32;

/// Starts a child, in new namespaces where `namespaces` has their flags (clone(2)), that does `work`. Gives its number
/// and a descriptor of it; SIGCHLD tells of its end.
///
/// # Safety
///
/// The child has a copy of all memory and one thread, so `work` may not do what takes a lock that another thread may
/// have held, allocate or unwind: it makes plain system calls.
pub(super) unsafe fn start(
    namespaces: u64,
    work: impl FnOnce() -> Infallible,
) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zeros is a value of this structure: nothing is asked for.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64 | CLEAR_SIGHAND;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has a copy of all memory and goes on from here on its copy of the stack, as
    // after fork. What it does is as the caller promises, and never returns. `args` and `pidfd` outlive the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of::<libc::clone_args>(),
        )
    };
    if pid == 0 {
        // Never returns: there is no value of what it would return.
        work();
    }
    match pid {
        pid if pid < 0 => Err(io::Error::last_os_error()),
        pid => {
            // SAFETY: the kernel has just opened it for us, and nobody else knows of it.
            let child = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).map_err(io::Error::other)?;
            Ok((pid, child))
        }
    }
}
