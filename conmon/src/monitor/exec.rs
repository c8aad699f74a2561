//! Processes run in the container.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use corten_conmon::{
    ctl::{Exec, ExecEnd, MAX_EXECS},
    record::ExitStatus,
};

use super::{create, pidfile, sys, tree};

/// How long killed processes are waited for before their end is told all the same.
const DEATH: Duration = Duration::from_secs(1);

/// Every exec under way.
#[derive(Debug, Default)]
pub(crate) struct Execs(Vec<Running>);

#[derive(Debug)]
struct Running {
    client: u32,
    request: u64,
    /// The runtime, until it ended.
    runtime: Option<i32>,
    pid_file: PathBuf,
    /// The process, once it is known.
    process: Option<i32>,
    /// How it ended.
    ended: Option<ExitStatus>,
    deadline: Option<Instant>,
    /// Why it was killed.
    doom: Option<ExecEnd>,
}

/// News of an exec, for the client that asked for it.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) client: u32,
    pub(crate) request: u64,
    pub(crate) what: What,
}

/// What is new.
#[derive(Debug)]
pub(crate) enum What {
    /// It runs, as this process.
    Started(i32),
    /// It is over.
    Ended(ExecEnd),
}

impl Execs {
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MAX_EXECS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs the runtime with the descriptors that came with the request, which are as many as it says.
    pub(crate) fn begin(
        &mut self,
        (client, request): (u32, u64),
        exec: Exec,
        fds: Vec<OwnedFd>,
        bundle: &Path,
        oom_score: Option<[u8; 8]>,
    ) -> io::Result<()> {
        pidfile::clear(&exec.pid_file)?;
        let mut fds = fds.into_iter().map(Stdio::from);
        let mut next = || fds.next().unwrap_or_else(Stdio::null);
        let mut command = create::command(&exec.runtime, bundle);
        command.stdin(if exec.stdin { next() } else { Stdio::null() });
        command.stdout(next()).stderr(next());
        let runtime = sys::spawn(&mut command, oom_score)?;
        self.0.push(Running {
            client,
            request,
            runtime: Some(runtime),
            pid_file: exec.pid_file,
            process: None,
            ended: None,
            deadline: exec
                .timeout_ms
                .and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms))),
            doom: None,
        });
        Ok(())
    }

    /// A child ended. Whether it was an exec's, and news of it.
    pub(crate) fn child_ended(&mut self, pid: i32, status: ExitStatus, news: &mut Vec<News>) {
        let Some(at) = self.position(pid) else { return };
        let exec = &mut self.0[at];
        if exec.runtime == Some(pid) {
            exec.runtime = None;
            exec.process = exec.process.or_else(|| pidfile::read(&exec.pid_file));
            if status.success() {
                exec.started(news);
            } else if exec.doom.is_none() || exec.process.is_none() {
                return self.finish(at, ExecEnd::RuntimeFailed { status }, news);
            }
        } else {
            exec.process = Some(pid);
            exec.ended = Some(status);
        }
        let exec = &self.0[at];
        match (exec.runtime, exec.process, exec.ended) {
            (None, _, Some(status)) => self.finish(at, ExecEnd::Exited { status }, news),
            (None, Some(process), None) if sys::is_child(process) => {
                // It escaped the kill that its runtime met.
                if exec.doom.is_some() {
                    tree::kill(&[process]);
                }
            }
            (None, _, None) => self.finish(at, ExecEnd::NoProcess, news),
            (Some(_), _, _) => {}
        }
    }

    /// Which exec a process belongs to. One that ends before its runtime is only known by the file.
    fn position(&self, pid: i32) -> Option<usize> {
        let known = |exec: &Running| exec.runtime == Some(pid) || exec.process == Some(pid);
        let filed = |exec: &Running| {
            exec.process.is_none()
                && exec.runtime.is_some()
                && pidfile::read(&exec.pid_file) == Some(pid)
        };
        self.0
            .iter()
            .position(known)
            .or_else(|| self.0.iter().position(filed))
    }

    fn finish(&mut self, at: usize, end: ExecEnd, news: &mut Vec<News>) {
        let exec = self.0.swap_remove(at);
        let _ = pidfile::clear(&exec.pid_file);
        // What ended by itself in time did so, even if it was to be killed just then.
        let what = What::Ended(exec.doom.unwrap_or(end));
        news.push(News {
            client: exec.client,
            request: exec.request,
            what,
        });
    }

    /// When to look at the deadlines again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(|exec| exec.deadline).min()
    }

    /// Kills what took too long, and gives up on what was killed and did not end.
    pub(crate) fn expire(&mut self, now: Instant, news: &mut Vec<News>) {
        let due = |exec: &Running| exec.deadline.is_some_and(|deadline| deadline <= now);
        while let Some(at) = self.0.iter().position(due) {
            match self.0[at].doom {
                Some(doom) => self.finish(at, doom, news),
                None => self.0[at].kill(ExecEnd::TimedOut),
            }
        }
    }

    /// Kills what a client asked for: one exec, or all of them when it left.
    pub(crate) fn cancel(&mut self, client: u32, request: Option<u64>) {
        for exec in self
            .0
            .iter_mut()
            .filter(|exec| exec.client == client && exec.doom.is_none())
        {
            if request.is_none_or(|request| request == exec.request) {
                exec.kill(ExecEnd::Cancelled);
            }
        }
    }

    /// Kills all that is left when the container ended.
    pub(crate) fn cancel_all(&mut self) {
        for exec in self.0.iter_mut().filter(|exec| exec.doom.is_none()) {
            exec.kill(ExecEnd::Cancelled);
        }
    }
}

impl Running {
    fn started(&self, news: &mut Vec<News>) {
        if let Some(process) = self.process {
            let what = What::Started(process);
            news.push(News {
                client: self.client,
                request: self.request,
                what,
            });
        }
    }

    fn kill(&mut self, why: ExecEnd) {
        self.doom = Some(why);
        self.deadline = Some(Instant::now() + DEATH);
        // Neither was reaped, so the numbers are theirs.
        let process = self
            .process
            .or_else(|| pidfile::read(&self.pid_file).filter(|&pid| sys::is_child(pid)));
        let process = process.filter(|_| self.ended.is_none());
        let roots: Vec<i32> = self.runtime.into_iter().chain(process).collect();
        tree::kill(&roots);
    }
}
