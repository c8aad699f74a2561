//! A second process of a program that has one thread.

#![allow(unsafe_code, reason = "no crate in use has clone3(2)")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    os::unix::fs::MetadataExt,
};

/// `CLONE_INTO_CGROUP`: the process begins in the cgroup of version 2 that is named.
const INTO_CGROUP: u64 = 1 << 33;

/// Links of a directory that has a single directory in it.
const ONE_BELOW: u64 = 3;

/// Whose child the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// This one's, which is told of its end.
    This,
    /// That of this process's own parent.
    Own,
}

/// Starts a process that does `work` and ends with the exit code that this returns; gives its number.
///
/// It begins in `cgroup`, the directory of one of version 2, where that is given. A process that moves there later keeps
/// all forks and ends of the machine waiting for some ten milliseconds; one that begins there keeps nobody waiting.
pub fn fork(
    parent: Parent,
    cgroup: Option<BorrowedFd<'_>>,
    work: impl FnOnce() -> i32,
) -> io::Result<i32> {
    if std::fs::metadata("/proc/self/task")?.nlink() != ONE_BELOW {
        return Err(io::Error::other("a process with threads does not fork"));
    }
    // SAFETY: all zeros is a value of this structure: nothing is asked for.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    match parent {
        Parent::This => args.exit_signal = libc::SIGCHLD as u64,
        Parent::Own => args.flags = libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: without memory to share and without a stack of its own it is a fork: both processes go on from here, each
    // in its own memory. There is one thread, so no lock is held that nobody would give back. `args` outlives the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of::<libc::clone_args>(),
        )
    };
    match pid {
        0 => {
            // However that ends, nothing of the parent's is run.
            let _end = End;
            let code = work();
            exit(code)
        }
        pid if pid < 0 => Err(io::Error::last_os_error()),
        pid => i32::try_from(pid).map_err(io::Error::other),
    }
}

/// Ends a process that panics.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        exit(1)
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_does_not_fork() {
        // The tests' own threads are enough.
        let error = fork(Parent::This, None, || 0).unwrap_err();
        assert!(error.to_string().contains("threads"), "{error}");
    }
}
