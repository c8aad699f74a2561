//! What a process does on its way into a container, where the system calls need care.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    io,
    os::fd::{OwnedFd, RawFd},
    ptr,
};

pub(crate) use super::reset_signals;
use super::{check, split, split_into};

/// Runs `child` in a process of its own, which ends with what that returns. It begins in the cgroup `into`, where that is
/// given and can be; `child` is told whether it did.
pub(crate) fn fork(into: Option<&OwnedFd>, child: impl FnOnce(bool) -> c_int) -> io::Result<i32> {
    let (pid, begun) = split_into(into)?;
    Ok(branch(pid, || child(begun)))
}

/// Runs `child` in a process that becomes the child of this one's parent.
pub(crate) fn fork_for_parent(child: impl FnOnce() -> c_int) -> io::Result<i32> {
    Ok(branch(split(libc::CLONE_PARENT | libc::SIGCHLD)?, child))
}

fn branch(pid: i32, child: impl FnOnce() -> c_int) -> i32 {
    if pid > 0 {
        return pid;
    }
    let code = child();
    // SAFETY: ends the process without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor but the standard ones and these, which it sorts.
///
/// Only for a process that is about to run another program, and touches no object of its parent's that owns one.
pub(crate) fn close_all_but(kept: &mut [RawFd]) -> io::Result<()> {
    kept.sort_unstable();
    let mut from: libc::c_uint = 3;
    for fd in kept
        .iter()
        .filter_map(|fd| libc::c_uint::try_from(*fd).ok())
    {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = from.max(fd + 1);
    }
    close_range(from, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> io::Result<()> {
    // SAFETY: closes numbers whose owners this process never comes back to.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } as c_int)?;
    Ok(())
}

/// Sets a limit.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the limit lives through the call, and nothing is asked for in return.
    check(unsafe { libc::prlimit64(0, resource as _, &raw const limit, ptr::null_mut()) })?;
    Ok(())
}

/// Joins the session key ring of this name, or makes it. Kernels without key rings have nothing to join.
pub(crate) fn join_session_keyring(name: &CStr) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: the name lives through the call.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    match joined {
        -1 if io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether the working directory can be named from the root, and so is below it.
pub(crate) fn is_below_root() -> bool {
    let mut path = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes no more than the length given.
    let written = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
    written > 0 && path[0] == b'/'
}

/// Sets a system call filter.
pub(crate) fn set_filter(program: &[u8], flags: u32) -> io::Result<()> {
    const INSTRUCTION: usize = size_of::<libc::sock_filter>();
    const SET_MODE_FILTER: c_int = 1;
    let len = u16::try_from(program.len() / INSTRUCTION).map_err(io::Error::other)?;
    let program = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the program has as many instructions as it says, is only read, and may lie anywhere. It lives through the
    // call.
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    check(set as c_int)?;
    Ok(())
}

/// Texts as a program takes them: an array of pointers that ends with none.
#[derive(Debug)]
pub(crate) struct Texts {
    // Keeps what is pointed to.
    _texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Texts {
    pub(crate) fn new(texts: Vec<CString>) -> Self {
        let pointers = texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            _texts: texts,
            pointers,
        }
    }
}

/// Runs a program in the place of this one. Returns only when it cannot.
pub(crate) fn execute(path: &CStr, args: &Texts, env: &Texts) -> io::Error {
    // SAFETY: all texts end with a zero and live as long as the arrays, which end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}
