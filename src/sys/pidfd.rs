//! Signals by process descriptor.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

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
