//! What signals do to this process.

#![allow(unsafe_code, reason = "no crate in use sets a handler without it")]

use std::io;

/// Has SIGPIPE end the process, as the kernel does. The standard library has it ignored, and what is ignored stays so
/// in the programs that a process turns into.
pub fn let_pipes_end_it() -> io::Result<()> {
    // SAFETY: the default is no handler, so that nothing of ours runs in a signal.
    match unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
