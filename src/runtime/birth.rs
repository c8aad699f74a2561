//! From a fork to libcontainer's part in the new process.
//!
//! ```text
//! this ──fork──> the new process
//! this ──fork──> one between ──fork──> the new process     with a user namespace: nobody comes back out of one
//! ```
//!
//! libcontainer would make them too, but move them between cgroups, which takes long ([`super::entry`]).

use std::{
    error::Error,
    fs,
    io::{Read, Write},
    os::{fd::BorrowedFd, unix::net::UnixStream},
};

use libcontainer::{
    namespaces::Namespaces,
    process::{
        args::ContainerArgs,
        channel::{self, InitReceiver, MainSender},
        init::process::container_init_process,
    },
};
use nix::{sys::wait::waitpid, unistd::Pid};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Kind};
use rustix::thread::{Gid, Uid};

use crate::{
    causes::whole,
    sys::fork::{Parent, fork},
};

use super::{entry::Entry, error::Failure, report::Sayings};

/// Errors of libcontainer's have types that it does not tell.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// A process that is to be made.
pub(super) struct Birth<'a> {
    /// What libcontainer is to do in it.
    pub(super) args: &'a ContainerArgs,
    /// Its cgroup.
    pub(super) entry: Entry,
    /// Told if it does not come to run its program, for one that enters a container.
    pub(super) failing: Option<BorrowedFd<'a>>,
    /// Where it says what failed.
    pub(super) sayings: &'a Sayings,
}

/// What libcontainer wants to talk through.
struct Line {
    mouth: MainSender,
    /// What hooks came to; there are none.
    hooks: InitReceiver,
}

impl Birth<'_> {
    /// Makes the process. It has done all but to run its program then.
    pub(super) fn give(&self) -> Outcome<i32> {
        let linux = self.args.spec.linux().as_ref();
        let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
        let namespaces = Namespaces::try_from(namespaces)?;
        let (mouth, mut ear) = channel::main_channel()?;
        let (_, hooks) = channel::init_channel()?;
        let mut line = Line { mouth, hooks };
        let (pid, between) = match namespaces.get(Kind::User)? {
            Some(users) => self.by_one_between(&namespaces, users, &mut line)?,
            None => {
                set_apart(&namespaces)?;
                let grow = || match self.entry.join() {
                    Ok(()) => self.grow(&mut line),
                    Err(error) => self.fail(&mut line.mouth, &Failure::step(JOINING)(error)),
                };
                (fork(Parent::This, self.entry.begin(), grow)?, None)
            }
        };
        // From now on its end ends the line.
        line.mouth.close()?;
        if let Some(file) = &self.args.pid_file {
            fs::write(file, pid.to_string()).map_err(Failure::step("writing the pid file"))?;
        }
        let ready = ear.wait_for_init_ready();
        if let Some(between) = between {
            let _ = waitpid(between, None);
        }
        Ok(ready.map(|()| pid)?)
    }

    /// Has one make the process that has entered the user namespace before; gives the numbers of both.
    fn by_one_between(
        &self,
        namespaces: &Namespaces,
        users: &LinuxNamespace,
        line: &mut Line,
    ) -> Outcome<(i32, Option<Pid>)> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut theirs = Some(theirs);
        let between = fork(Parent::This, self.entry.begin(), || {
            let mut make = || -> Outcome<()> {
                self.entry.join().map_err(Failure::step(JOINING))?;
                let stream = theirs.as_mut().ok_or(GONE)?;
                enter_users(namespaces, users, stream)?;
                set_apart(namespaces)?;
                let pid = fork(Parent::Own, None, || {
                    // Whoever holds it seems to be the one between.
                    drop(theirs.take());
                    self.grow(line)
                })?;
                let stream = theirs.as_mut().ok_or(GONE)?;
                Ok(stream.write_all(&pid.to_ne_bytes())?)
            };
            match make() {
                Ok(()) => 0,
                Err(error) => self.fail(&mut line.mouth, &*error),
            }
        })?;
        drop(theirs);
        let pid = loop {
            let mut word = MAP_USERS.to_ne_bytes();
            ours.read_exact(&mut word).map_err(|_| GONE)?;
            match i32::from_ne_bytes(word) {
                MAP_USERS => {
                    self.map_users(between)?;
                    ours.write_all(&[0])?;
                }
                pid => break pid,
            }
        };
        Ok((pid, Some(Pid::from_raw(between))))
    }

    /// Gives the new user namespace of a process its mappings.
    fn map_users(&self, between: i32) -> Outcome<()> {
        let linux = self.args.spec.linux().as_ref();
        let uids = linux.and_then(|linux| linux.uid_mappings().as_ref());
        let gids = linux.and_then(|linux| linux.gid_mappings().as_ref());
        for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
            let lines = mappings.into_iter().flatten().map(|m| {
                let (inside, outside, count) = (m.container_id(), m.host_id(), m.size());
                format!("{inside} {outside} {count}\n")
            });
            let text: String = lines.collect();
            let writing = Failure::step(format!("writing {file}"));
            fs::write(format!("/proc/{between}/{file}"), text).map_err(writing)?;
        }
        Ok(())
    }

    /// In the process itself. Comes back only if it does not come to run its program.
    fn grow(&self, line: &mut Line) -> i32 {
        let Err(error) = container_init_process(self.args, &mut line.mouth, &mut line.hooks) else {
            return 0;
        };
        if let Some(failing) = self.failing {
            let _ = rustix::io::write(failing, error.to_string().as_bytes());
        }
        // The caller may be gone, and that be why.
        let _ = line.mouth.exec_failed(whole(&error));
        1
    }

    /// Says what failed in a child; gives its exit code.
    fn fail(&self, mouth: &mut MainSender, error: &dyn Error) -> i32 {
        let text = whole(error);
        self.sayings.verdict(&text);
        let _ = mouth.exec_failed(text);
        1
    }
}

const JOINING: &str = "joining the container's cgroup";
const GONE: &str = "the process that was to enter the user namespace is gone";

/// What is said instead of a process's number by who waits for the mappings of its user namespace.
const MAP_USERS: i32 = 0;

/// Enters a user namespace, or a new one whose mappings are written from outside, and becomes its root.
fn enter_users(
    namespaces: &Namespaces,
    users: &LinuxNamespace,
    outside: &mut UnixStream,
) -> Outcome<()> {
    namespaces.unshare_or_setns(users)?;
    if users.path().is_none() {
        outside.write_all(&MAP_USERS.to_ne_bytes())?;
        outside.read_exact(&mut [0])?;
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    Ok(())
}

/// Enters, for the children alone, the namespaces that only a new process can be in.
fn set_apart(namespaces: &Namespaces) -> Outcome<()> {
    for kind in [Kind::Time, Kind::Pid] {
        if let Some(namespace) = namespaces.get(kind)? {
            namespaces.unshare_or_setns(namespace)?;
        }
    }
    Ok(())
}
