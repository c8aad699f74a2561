//! The system calls that need care, behind safe functions.
#![allow(unsafe_code)]

pub(crate) mod entry;

use std::{
    ffi::c_int,
    io,
    mem::MaybeUninit,
    ops::{Deref, DerefMut},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr::{self, NonNull},
};

use corten_conmon::record::ExitStatus;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Goes on in a new process and a new session; the process that was started ends at once. The new one begins in the
/// cgroup `into`, where that is given and can be: tells whether it did.
pub(crate) fn detach(into: Option<&OwnedFd>) -> io::Result<bool> {
    let (pid, begun) = split_into(into)?;
    if pid > 0 {
        // SAFETY: ends the process without running anything of its own.
        unsafe { libc::_exit(0) }
    }
    // SAFETY: takes no arguments.
    check(unsafe { libc::setsid() })?;
    Ok(begun)
}

/// Forks: both processes go on from here, each in its own memory. Gives 0 in the new one.
fn split(flags: c_int) -> io::Result<i32> {
    // SAFETY: without memory to share and without a stack of its own it is a fork. There is one thread, so no lock is
    // held that nobody would give back.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    check(c_int::try_from(pid).unwrap_or(-1))
}

/// Forks, and tells as well whether the new process began in the cgroup of version 2 whose directory this is.
fn split_into(dir: Option<&OwnedFd>) -> io::Result<(i32, bool)> {
    /// `CLONE_INTO_CGROUP`, since Linux 5.7.
    const INTO_CGROUP: u64 = 1 << 33;
    let Some(dir) = dir else {
        return Ok((split(libc::SIGCHLD)?, false));
    };
    // SAFETY: all zeros is a value of this structure: nothing is asked for.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = u64::from(dir.as_raw_fd().unsigned_abs());
    // SAFETY: as above; the arguments live through the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    match c_int::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok((pid, true)),
        _ => Ok((split(libc::SIGCHLD)?, false)),
    }
}

/// Closes every descriptor but the standard ones.
///
/// Only for the beginning of the program, when nothing here owns such a descriptor.
pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: closes numbers that no object of this program holds yet.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } == 0 {
        return Ok(());
    }
    // Kernels before 5.9. The listing's own descriptor is among the numbers, and closed twice.
    let numbers: Vec<c_int> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd > 2)
        .collect();
    for fd in numbers {
        // SAFETY: as above; the listing is already closed, and then this fails harmlessly.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Blocks every signal that can be blocked and gives a descriptor that tells of ended children.
///
/// So no signal but `SIGKILL` ends a monitor before its container: a shutdown that signals every process
/// reaches the container too, and the monitor sees it end.
pub(crate) fn take_signals() -> io::Result<OwnedFd> {
    let mut all = MaybeUninit::uninit();
    let mut child = MaybeUninit::uninit();
    // SAFETY: each set is initialised by the call that first takes it; the numbers are signals. To the kernel zeros are
    // the default action, and its sets of signals have 8 bytes.
    unsafe {
        for signal in 1..=64 {
            // An inherited "ignore" would be inherited by the container too. Two cannot be changed, and
            // a broken pipe must stay an error of the write.
            if signal != libc::SIGPIPE {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        // The C library keeps two for itself, and changes them for nobody.
        let default = [0u64; 8];
        for signal in [32, 33] {
            let (new, old) = (default.as_ptr(), ptr::null::<u64>());
            libc::syscall(libc::SYS_rt_sigaction, signal, new, old, 8);
        }
        libc::sigfillset(all.as_mut_ptr());
        for fault in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGABRT,
        ] {
            libc::sigdelset(all.as_mut_ptr(), fault);
        }
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            all.as_ptr(),
            ptr::null_mut(),
        ))?;
        libc::sigemptyset(child.as_mut_ptr());
        libc::sigaddset(child.as_mut_ptr(), libc::SIGCHLD);
        let fd = check(libc::signalfd(
            -1,
            child.as_ptr(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Waits for one of `signals`, which it blocks.
pub(crate) fn wait_signal(signals: &[c_int]) -> io::Result<c_int> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is initialised by its first call.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        check(libc::sigprocmask(
            libc::SIG_BLOCK,
            set.as_ptr(),
            ptr::null_mut(),
        ))?;
        check(libc::sigwaitinfo(set.as_ptr(), ptr::null_mut()))
    }
}

/// An ended child that was not reaped yet, and how it ended.
pub(crate) fn peek_child() -> Option<(i32, ExitStatus)> {
    wait(libc::P_ALL, 0, libc::WNOWAIT).ok().flatten()
}

/// Reaps an ended child.
pub(crate) fn reap(pid: i32) {
    let _ = wait(libc::P_PID, pid, 0);
}

/// Whether a process is a child of this one, ended or not.
pub(crate) fn is_child(pid: i32) -> bool {
    pid > 0 && wait(libc::P_PID, pid, libc::WNOWAIT).is_ok()
}

fn wait(kind: libc::idtype_t, pid: i32, flags: c_int) -> io::Result<Option<(i32, ExitStatus)>> {
    // SAFETY: all zeros is a value of this plain structure.
    let mut info: libc::siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
    let flags = flags | libc::WEXITED | libc::WNOHANG;
    // SAFETY: `info` lives through the call.
    check(unsafe { libc::waitid(kind, pid.unsigned_abs(), &raw mut info, flags) })?;
    // SAFETY: waitid filled in a child's structure, or left zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let status = match info.si_code {
        libc::CLD_EXITED => ExitStatus::Code { code: status },
        _ => ExitStatus::Signal { signal: status },
    };
    Ok((pid != 0).then_some((pid, status)))
}

/// Runs a program with no signal blocked or ignored, and with the OOM preference given. It is killed with this
/// process: a runtime that nobody waits for must not go on making what nobody knows of.
pub(crate) fn spawn(command: &mut Command, oom_score_adj: Option<[u8; 8]>) -> io::Result<i32> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let prepare = move || {
        // SAFETY: between fork and exec: system calls on memory of our own only.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() != own {
                // It went before it could be bound to.
                libc::_exit(1);
            }
            reset_signals();
            if let Some(score) = oom_score_adj {
                let path = c"/proc/self/oom_score_adj".as_ptr();
                let fd = libc::open(path, libc::O_WRONLY | libc::O_CLOEXEC);
                libc::write(fd, score.as_ptr().cast(), score.len());
                libc::close(fd);
            }
        }
        Ok(())
    };
    // SAFETY: what runs between fork and exec neither allocates nor takes a lock.
    let child = unsafe { command.pre_exec(prepare) }.spawn()?;
    Ok(child.id().cast_signed())
}

/// Has no signal blocked or ignored, in a process that is about to run a program.
pub(crate) fn reset_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the set is initialised by its first call; the default of a signal is always a valid action. These are system
    // calls on memory of our own only.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Gives the allocator's free pages back to the kernel.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches free memory of the allocator only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the pages of the stack back that calls deeper than this one have used, of the process's first thread.
#[inline(never)]
pub(crate) fn trim_stack() {
    /// What a page is at least, and of what all pages are multiples.
    const PAGE: usize = 4096;
    /// More than this function and the system call have on the stack.
    const FRAME: usize = 1024;
    /// As far down as is looked. Nothing but the stack can be there: the kernel keeps 256 pages below it free,
    /// `stack_guard_gap`, and what is not mapped is passed over.
    const DEPTH: usize = 64 * PAGE;
    let here = 0_u8;
    let end = ((&raw const here).addr() - FRAME) & !(PAGE - 1);
    let start = ptr::without_provenance_mut(end - DEPTH);
    // SAFETY: no frame in use is so far down, and what the next calls have there they write before they read.
    unsafe { libc::madvise(start, DEPTH, libc::MADV_DONTNEED) };
}

/// Memory of its own pages, which cost nothing until they are touched and can be given back.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<u8>,
    len: usize,
}

impl Pages {
    /// `len` bytes of zeros.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping wherever the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(page) if start != libc::MAP_FAILED => Ok(Self { start: page, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Forgets the contents, which become zeros, and frees their memory.
    pub(crate) fn release(&mut self) {
        // SAFETY: the mapping is ours, private and anonymous: it reads as zeros afterwards.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_DONTNEED) };
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrows it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

impl Deref for Pages {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping has `len` initialised bytes and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Pages {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}
