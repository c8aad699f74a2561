//! `exec`: a further process in a container.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType as Kind};
use rustix::pipe::PipeFlags;

use super::{
    arguments::Exec,
    error::Failure,
    filter::Filter,
    inside::{Inside, Plan},
    launch::{self, Launch, Opened},
    record::{Init, Record, Status},
    report::Sayings,
    spec,
};

/// Every kind of namespace, by its name below /proc.
const KINDS: [(Kind, &str); 8] = [
    (Kind::User, "user"),
    (Kind::Pid, "pid"),
    (Kind::Uts, "uts"),
    (Kind::Ipc, "ipc"),
    (Kind::Network, "net"),
    (Kind::Cgroup, "cgroup"),
    (Kind::Time, "time"),
    (Kind::Mount, "mnt"),
];

/// Runs a process, and comes back once it runs its program.
pub(super) fn run(root: &Path, exec: &Exec) -> Result<(), Failure> {
    let record = Record::load(root, &exec.id)?;
    match record.status(root) {
        Status::Running | Status::Created => {}
        Status::Paused => return Err(Failure::Paused),
        Status::Creating | Status::Stopped => return Err(Failure::NotRunning),
    }
    let init = record.init.ok_or(Failure::NotRunning)?;
    let mut process = spec::load_process(&exec.process)?;
    if process.capabilities().is_none() {
        process.set_capabilities(record.capabilities.clone());
    }
    spec::check_process(&process)?;
    let console = launch::console(&process, exec.console_socket.as_deref())?;
    let (linux, _opened) = joined(&init)?;
    let sayings = Sayings::new().map_err(Failure::step("making room for messages"))?;
    let inside = Inside::new(Plan {
        id: exec.id.clone(),
        filter: Filter::of(record.filter(root)?.as_ref())?,
        process: process.clone(),
        container: None,
        sayings: sayings.clone(),
    });
    let socket =
        Socket(Record::dir(root, &exec.id).join(format!("exec-{}.sock", std::process::id())));
    let (reader, writer) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(Failure::step("making a pipe"))?;
    let launch = Launch {
        id: &exec.id,
        spec: spec::for_process(&process, linux),
        rootfs: "/".into(),
        socket: &socket.0,
        console,
        group: &record.group.of_process(init.pid),
        pid_file: exec.pid_file.as_deref(),
        inside,
        sayings: sayings.clone(),
        failing: Some(writer.as_fd()),
    };
    launch::launch(launch, &process)?;
    launch::release(&socket.0).map_err(Failure::step("starting the process"))?;
    drop(writer);
    outcome(&reader, &sayings)
}

/// The pipe closes as the program runs; before that, what is written to it is why it does not.
fn outcome(reader: &OwnedFd, sayings: &Sayings) -> Result<(), Failure> {
    let mut said = Vec::new();
    let mut chunk = [0; 512];
    loop {
        match rustix::io::read(reader, &mut chunk) {
            Ok(0) => break,
            Ok(n) => said.extend_from_slice(&chunk[..n]),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Failure::step("waiting for the process")(io::Error::from(e))),
        }
    }
    if said.is_empty() {
        return Ok(());
    }
    let known = String::from_utf8_lossy(&said);
    Err(Failure::Process(sayings.made_of(&known)).without_repetition())
}

/// The namespaces of a process, as far as they are not this one's own.
fn joined(init: &Init) -> Result<(Linux, Opened), Failure> {
    let mut opened = Opened::default();
    let mut all = Vec::new();
    for (kind, name) in KINDS {
        let path = PathBuf::from(format!("/proc/{}/ns/{name}", init.pid));
        let own = std::fs::read_link(format!("/proc/self/ns/{name}"));
        let theirs = std::fs::read_link(&path);
        match (own, theirs) {
            (Ok(own), Ok(theirs)) if own == theirs => {}
            // A kind that the kernel does not have.
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => {}
            (_, Err(e)) if e.kind() == io::ErrorKind::NotFound => return Err(Failure::NotRunning),
            _ => {
                let mut namespace = LinuxNamespace::default();
                let descriptor = opened.open(kind, &path)?;
                namespace.set_typ(kind).set_path(Some(descriptor));
                all.push(namespace);
            }
        }
    }
    // By now the number could be another's.
    if !init.is_alive() {
        return Err(Failure::NotRunning);
    }
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(all))
        .set_resources(None)
        .set_masked_paths(None)
        .set_readonly_paths(None);
    Ok((linux, opened))
}

/// Goes with the call.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
