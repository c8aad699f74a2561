//! The one outside: joins what the container is made of, with the monitor's privileges.

use std::{io, os::fd::AsFd, path::Path};

use corten_conmon::ctl::Step;
use rustix::{
    fs::{Mode, OFlags},
    process::{DumpableBehavior, Signal},
    thread::{Gid, ThreadNameSpaceType, Uid},
};

use super::{Plan, cgroup, channel::Failed, inside, sys};

/// Does its part, and leaves the rest to the one inside. `begun` says whether it has begun where the cgroups have it do so.
/// What it returns is its exit code.
pub(super) fn run(plan: &Plan, begun: bool) -> i32 {
    match join(plan, begun) {
        Ok(()) => 0,
        Err(failed) => {
            plan.mouth.failed(failed);
            1
        }
    }
}

fn join(plan: &Plan, begun: bool) -> Result<(), Failed> {
    // Whoever shares the container's namespaces from now on must not look into what is the monitor's still.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Failed::at(Step::Fork))?;
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    sys::close_all_but(&mut plan.descriptors()).map_err(Failed::at(Step::Streams))?;
    if let Some(score) = &plan.oom_score {
        write(Path::new("/proc/self/oom_score_adj"), score).map_err(Failed::at(Step::Limits))?;
    }
    for dir in plan.cgroups.left(begun) {
        cgroup::join(dir).map_err(Failed::at(Step::Cgroup))?;
    }
    for limit in &plan.rlimits {
        sys::set_limit(limit.resource, limit.soft, limit.hard).map_err(Failed::at(Step::Limits))?;
    }
    // Of this machine's: the container's own could be anything.
    let proc = (plan.selinux.is_some() || plan.apparmor.is_some())
        .then(|| rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
        .transpose()
        .map_err(Failed::at(Step::Label))?;
    let others = others(plan).map_err(Failed::at(Step::Namespaces))?;
    if !others.is_empty() {
        rustix::thread::move_into_thread_name_spaces(plan.pidfd.as_fd(), others)
            .map_err(Failed::at(Step::Namespaces))?;
    }
    if others.contains(ThreadNameSpaceType::USER) {
        become_root().map_err(Failed::at(Step::User))?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(Failed::at(Step::Fork))?;
    }
    sys::fork_for_parent(|| inside::run(plan, proc.as_ref())).map_err(Failed::at(Step::Fork))?;
    Ok(())
}

/// Who the namespace's owner is.
fn become_root() -> rustix::io::Result<()> {
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// The namespaces of init that are not this process's own: the kernel refuses to join one's own user namespace.
fn others(plan: &Plan) -> rustix::io::Result<ThreadNameSpaceType> {
    use rustix::thread::ThreadNameSpaceType as Kind;
    let all = [
        ("cgroup", Kind::CONTROL_GROUP),
        ("ipc", Kind::INTER_PROCESS_COMMUNICATION),
        ("mnt", Kind::MOUNT),
        ("net", Kind::NETWORK),
        ("pid", Kind::PROCESS_ID),
        ("time", Kind::TIME),
        ("user", Kind::USER),
        ("uts", Kind::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ];
    let init = plan.init.as_raw_nonzero();
    let mut others = Kind::empty();
    for (name, kind) in all {
        let own = match rustix::fs::stat(format!("/proc/self/ns/{name}")) {
            Ok(own) => own,
            // A kernel without this kind.
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        let its = rustix::fs::stat(format!("/proc/{init}/ns/{name}"))?;
        if (own.st_dev, own.st_ino) != (its.st_dev, its.st_ino) {
            others |= kind;
        }
    }
    Ok(others)
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::io::write(&file, text)?;
    Ok(())
}
