//! Making a process in namespaces, with libcontainer.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
};

use corten_conmon::socket::Address;
use libcontainer::{
    notify_socket::NotifyListener,
    process::args::{ContainerArgs, ContainerType},
    syscall::syscall::SyscallType,
    user_ns::UserNamespaceConfig,
};
use oci_spec::runtime::{Linux, LinuxNamespaceType as Kind, PosixRlimit, Process, Spec};
use rustix::{
    net::SocketType,
    process::{DumpableBehavior, Pid, Rlimit},
};

use crate::{causes::whole, oci::node::resource};

use super::{birth::Birth, cgroup::Group, error::Failure, inside::Inside, report::Sayings};

/// What a new process is made of.
pub(super) struct Launch<'a> {
    /// The container.
    pub(super) id: &'a str,
    /// For libcontainer.
    pub(super) spec: Spec,
    /// Its root on the host; of no meaning for a process that enters a container.
    pub(super) rootfs: PathBuf,
    /// Where it waits to be told that it may run.
    pub(super) socket: &'a Path,
    /// Takes its terminal.
    pub(super) console: Option<OwnedFd>,
    /// Its cgroup.
    pub(super) group: &'a Group,
    /// Where its number goes.
    pub(super) pid_file: Option<&'a Path>,
    /// What it becomes.
    pub(super) inside: Inside,
    /// What it and libcontainer say.
    pub(super) sayings: Sayings,
    /// Told if it does not come to run the program, for one that enters a container.
    pub(super) failing: Option<BorrowedFd<'a>>,
}

/// Makes the process. It has done all but to run its program then, and waits at its socket.
pub(super) fn launch(launch: Launch<'_>, process: &Process) -> Result<i32, Failure> {
    if let Some(score) = process.oom_score_adj() {
        fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(Failure::step("setting oom_score_adj"))?;
    }
    // Nobody in the container may look into what is not the container's yet.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Failure::step("hiding this process"))?;
    let sayings = launch.sayings;
    sayings
        .listen()
        .map_err(Failure::step("listening to libcontainer"))?;
    let failed = |error: &dyn std::error::Error| {
        Failure::Process(sayings.made_of(&whole(error))).without_repetition()
    };
    let users = UserNamespaceConfig::new(&launch.spec).map_err(|e| failed(&e))?;
    let listener = NotifyListener::new(launch.socket).map_err(|e| failed(&e))?;
    let kind = match launch.failing {
        None => ContainerType::InitContainer,
        Some(fd) => ContainerType::TenantContainer {
            exec_notify_fd: fd.as_raw_fd(),
        },
    };
    let arguments = ContainerArgs {
        container_type: kind,
        syscall: SyscallType::Linux,
        spec: Rc::new(launch.spec),
        rootfs: launch.rootfs,
        console_socket: launch.console.as_ref().map(AsRawFd::as_raw_fd),
        notify_listener: listener,
        preserve_fds: 0,
        container: None,
        user_ns_config: users,
        cgroup_config: launch.group.config(launch.id),
        detached: true,
        executor: Box::new(launch.inside),
        no_pivot: false,
        stdin: None,
        stdout: None,
        stderr: None,
        as_sibling: false,
        pid_file: launch.pid_file.map(Path::to_owned),
    };
    let birth = Birth {
        args: &arguments,
        entry: launch.group.entry()?,
        failing: launch.failing,
        sayings: &sayings,
    };
    let pid = birth.give().map_err(|e| failed(&*e))?;
    set_limits(pid, process.rlimits().as_deref().unwrap_or_default())?;
    Ok(pid)
}

/// From outside: in a user namespace the process could not raise them itself.
fn set_limits(pid: i32, limits: &[PosixRlimit]) -> Result<(), Failure> {
    for limit in limits {
        let bound = |value: u64| (value != u64::MAX).then_some(value);
        let new = Rlimit {
            current: bound(limit.soft()),
            maximum: bound(limit.hard()),
        };
        let resource = resource(limit.typ())
            .ok_or_else(|| Failure::Unsupported(format!("limit {}", limit.typ())))?;
        rustix::process::prlimit(Pid::from_raw(pid), resource, new)
            .map_err(Failure::step(format!("setting {}", limit.typ())))?;
    }
    Ok(())
}

/// Namespaces that were opened before any was entered: paths may lead nowhere from inside.
#[derive(Debug, Default)]
pub(super) struct Opened(Vec<(Kind, File)>);

impl Opened {
    /// Opens those that a specification names by paths, and has it name the descriptors instead.
    pub(super) fn of(linux: &mut Linux) -> Result<Self, Failure> {
        let mut opened = Self::default();
        for namespace in linux.namespaces_mut().iter_mut().flatten() {
            let Some(path) = namespace.path().clone() else {
                continue;
            };
            let file = opened.open(namespace.typ(), &path)?;
            namespace.set_path(Some(file));
        }
        Ok(opened)
    }

    /// Opens one, and gives the path of its descriptor.
    pub(super) fn open(&mut self, kind: Kind, path: &Path) -> Result<PathBuf, Failure> {
        let what = format!("opening the {kind} namespace {}", path.display());
        let file = File::open(path).map_err(Failure::step(what))?;
        let descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        self.0.push((kind, file));
        Ok(descriptor)
    }

    /// The one of a kind.
    pub(super) fn get(&self, kind: Kind) -> Option<&File> {
        let found = self.0.iter().find(|(k, _)| *k == kind);
        found.map(|(_, file)| file)
    }
}

/// Checks that a process that wants a terminal has somebody to take it, and the other way round.
pub(super) fn console(
    process: &Process,
    socket: Option<&Path>,
) -> Result<Option<OwnedFd>, Failure> {
    match (process.terminal() == Some(true), socket) {
        (true, Some(socket)) => connect(socket)
            .map(Some)
            .map_err(Failure::step(format!("connecting to {}", socket.display()))),
        (false, None) => Ok(None),
        (true, None) => Err(Failure::Usage("a terminal needs --console-socket".into())),
        (false, Some(_)) => Err(Failure::Usage("--console-socket is for a terminal".into())),
    }
}

/// Has a waiting process run its program: the end of the stream says it.
pub(super) fn release(socket: &Path) -> io::Result<()> {
    connect(socket).map(drop)
}

fn connect(socket: &Path) -> io::Result<OwnedFd> {
    Address::of(socket)?.connect(SocketType::STREAM)
}
