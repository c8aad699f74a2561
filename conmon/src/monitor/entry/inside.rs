//! The one inside: a process of the container's, which becomes its user and runs the program.
//!
//! The order is that of runtimes. What needs privileges comes first; the filter is set as late as it can be, for it
//! applies to all that follows, and without `no_new_privs` before the privileges go that setting it needs.

use std::{
    ffi::CStr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use corten_conmon::ctl::Step;
use rustix::{
    fs::{FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
    process::DumpableBehavior,
    pty::OpenptFlags,
    thread::{CapabilitySet, CapabilitySets},
};

use super::{Plan, Program, Stdio, channel::Failed, sys};

/// Device of the file that terminals are made with.
const PTMX: (u32, u32) = (5, 2);

/// Runs the program; returns an exit code when that failed, which was told then.
pub(super) fn run(plan: &Plan, proc: Option<&OwnedFd>) -> i32 {
    // Who is not heard is not wanted any more.
    if plan.mouth.alive().is_ok() {
        let failed = enter(plan, proc).map_or_else(|failed| failed, |()| execute(plan));
        plan.mouth.failed(failed);
    }
    1
}

fn enter(plan: &Plan, proc: Option<&OwnedFd>) -> Result<(), Failed> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Failed::at(Step::Fork))?;
    rustix::process::setsid().map_err(Failed::at(Step::Fork))?;
    sys::join_session_keyring(&plan.keyring).map_err(Failed::at(Step::User))?;
    match &plan.stdio {
        Stdio::Given([input, output, errors]) => {
            connect(input, output, errors).map_err(Failed::at(Step::Streams))?;
        }
        Stdio::Terminal => terminal(plan).map_err(Failed::at(Step::Terminal))?,
    }
    own_streams(plan.user.uid);
    let mouth = plan.mouth.as_fd().as_raw_fd();
    let mut kept = [mouth, proc.map_or(mouth, AsRawFd::as_raw_fd)];
    sys::close_all_but(&mut kept).map_err(Failed::at(Step::Streams))?;
    // As root, and where that is not allowed, as the user below.
    let refused = match rustix::process::chdir(&*plan.cwd) {
        Ok(()) => false,
        Err(Errno::ACCESS) => true,
        Err(error) => return Err(Failed::at(Step::Directory)(error)),
    };
    bound(plan.capabilities.bounding).map_err(Failed::at(Step::Capabilities))?;
    if let Some(umask) = plan.user.umask {
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    become_user(plan).map_err(Failed::at(Step::User))?;
    if refused {
        rustix::process::chdir(&*plan.cwd).map_err(Failed::at(Step::Directory))?;
    }
    if !sys::is_below_root() {
        return Err(Failed::at(Step::Outside)(Errno::NOENT));
    }
    if plan.no_new_privs {
        rustix::thread::set_no_new_privs(true).map_err(Failed::at(Step::User))?;
    }
    if let (Some(label), Some(proc)) = (&plan.selinux, proc) {
        set_label(proc, &[c"thread-self/attr/exec"], label)?;
    }
    if !plan.no_new_privs {
        set_filter(plan)?;
    }
    rustix::thread::set_keep_capabilities(false).map_err(Failed::at(Step::Capabilities))?;
    apply(plan).map_err(Failed::at(Step::Capabilities))?;
    if let (Some(label), Some(proc)) = (&plan.apparmor, proc) {
        let files = [c"thread-self/attr/apparmor/exec", c"thread-self/attr/exec"];
        set_label(proc, &files, label)?;
    }
    sys::reset_signals();
    if plan.no_new_privs {
        set_filter(plan)?;
    }
    Ok(())
}

fn connect(input: impl AsFd, output: impl AsFd, errors: impl AsFd) -> rustix::io::Result<()> {
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(errors)
}

/// Makes a terminal where the container has its own, gives it to the monitor, and has it as what controls the session.
fn terminal(plan: &Plan) -> rustix::io::Result<()> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    // What is in the container may be of the container's making.
    let master = rustix::pty::openpt(flags)?;
    let device = rustix::fs::fstat(&master)?;
    let numbers = (
        rustix::fs::major(device.st_rdev),
        rustix::fs::minor(device.st_rdev),
    );
    if FileType::from_raw_mode(device.st_mode) != FileType::CharacterDevice || numbers != PTMX {
        return Err(Errno::NOTTY);
    }
    rustix::pty::unlockpt(&master)?;
    // As it is opened by its path: what is not asked for here would be seen on it.
    let opened = OFlags::RDWR | OFlags::NOCTTY | OFlags::LARGEFILE;
    let opened = OpenptFlags::from_bits_retain(opened.bits());
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, opened)?;
    plan.mouth.terminal(&master).map_err(|_| Errno::PIPE)?;
    connect(&slave, &slave, &slave)?;
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
}

/// Gives the streams to the user, so that programs can open them again by name. What is not the container's own cannot
/// be given, nor is it then needed.
fn own_streams(uid: u32) {
    let null = rustix::fs::makedev(1, 3);
    for stream in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        if let Ok(stat) = rustix::fs::fstat(stream)
            && stat.st_uid != uid
            && stat.st_rdev != null
        {
            let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None);
        }
    }
}

/// Gives up for ever what is not in the set.
fn bound(set: u64) -> rustix::io::Result<()> {
    for at in (0..64).filter(|at| set & (1 << at) == 0) {
        match rustix::thread::remove_capability_from_bounding_set(one(at)) {
            Ok(()) => {}
            // Beyond the last that the kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn one(at: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << at)
}

/// Becomes the user, and keeps what it may do for the steps that are left.
fn become_user(plan: &Plan) -> rustix::io::Result<()> {
    rustix::thread::set_keep_capabilities(true)?;
    let groups = plan.user.groups.iter().map(|gid| Gid::from_raw(*gid));
    rustix::thread::set_thread_groups(&groups.collect::<Vec<_>>())?;
    let gid = Gid::from_raw(plan.user.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    let uid = Uid::from_raw(plan.user.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Sets the filter, for which what is permitted is in effect once more.
fn set_filter(plan: &Plan) -> Result<(), Failed> {
    let Some((program, len, flags)) = &plan.filter else {
        return Ok(());
    };
    if !plan.no_new_privs {
        let mut sets = rustix::thread::capabilities(None).map_err(Failed::at(Step::Filter))?;
        sets.effective = sets.permitted;
        rustix::thread::set_capabilities(None, sets).map_err(Failed::at(Step::Filter))?;
    }
    sys::set_filter(&program[..*len], *flags).map_err(Failed::at(Step::Filter))
}

/// Has the capabilities that were asked for, and no others.
fn apply(plan: &Plan) -> rustix::io::Result<()> {
    let set = CapabilitySet::from_bits_retain;
    let wanted = &plan.capabilities;
    let sets = CapabilitySets {
        effective: set(wanted.effective),
        permitted: set(wanted.permitted),
        inheritable: set(wanted.inheritable),
    };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::clear_ambient_capability_set()?;
    for at in (0..64).filter(|at| wanted.ambient & (1 << at) != 0) {
        rustix::thread::configure_capability_in_ambient_set(one(at), true)?;
    }
    Ok(())
}

/// Asks a security module for a label from the next program on; the first file that is there counts.
fn set_label(proc: &OwnedFd, files: &[&CStr], label: &[u8]) -> Result<(), Failed> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let mut last = Errno::NOENT;
    for file in files {
        match rustix::fs::openat(proc, *file, flags, Mode::empty()) {
            Ok(file) => {
                rustix::io::write(&file, label).map_err(Failed::at(Step::Label))?;
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(Failed::at(Step::Label)(last))
}

/// Runs the program. Returns why it does not run.
fn execute(plan: &Plan) -> Failed {
    let try_at = |path: &CStr| {
        let errno = sys::execute(path, &plan.args, &plan.env)
            .raw_os_error()
            .unwrap_or_default();
        (errno, look(path))
    };
    match &plan.program {
        Program::Path(path) => match try_at(path) {
            (errno, Ok(())) => failed(Step::Program, errno, 0),
            (_, Err(errno)) => failed(Step::Look, errno.raw_os_error(), 0),
        },
        Program::Search(candidates) => {
            for (place, path) in candidates {
                if let (errno, Ok(())) = try_at(path) {
                    return failed(Step::Program, errno, *place);
                }
            }
            failed(Step::Find, libc::ENOENT, 0)
        }
    }
}

fn failed(step: Step, errno: i32, place: u16) -> Failed {
    Failed { step, errno, place }
}

/// Whether a program could be at a path; what is there and cannot be run is another matter.
fn look(path: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ACCESS);
    }
    match stat.st_mode & 0o111 {
        0 => Err(Errno::ACCESS),
        _ => Ok(()),
    }
}
