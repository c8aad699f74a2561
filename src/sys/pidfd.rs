//! Signals by process descriptor, and by number where any signal may be sent.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Sends any signal, realtime ones included, to a process by its number.
pub fn signal_number(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: the call touches no memory of ours.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends any signal, realtime ones included, to the process behind a pidfd. A process that is gone
/// needs none, so the result is of no interest.
pub fn send_signal(pidfd: impl AsFd, signal: i32) {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open for as long as `pidfd` is borrowed, a null siginfo is allowed
    // by pidfd_send_signal(2), and the call touches no memory of ours.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            none,
            0u32,
        );
    }
}
