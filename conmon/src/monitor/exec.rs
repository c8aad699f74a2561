//! Processes run in the container.

mod running;

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use corten_conmon::{
    config::StdioOwner,
    ctl::{Exec, ExecEnd, MAX_EXECS, Run, Streams},
    record::ExitStatus,
};

use self::running::{Heard, How, Running, deadline};
use super::{
    create,
    entry::{self, Begun, Target},
    kept::Kept,
    pidfile, sys, tree,
};

/// How long killed processes are waited for before their end is told all the same.
const DEATH: Duration = Duration::from_secs(1);

/// Every exec under way.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    running: Vec<Running>,
    /// Children that ended before a runtime had said whose they are: runtimes that make the process our
    /// own child write its number afterwards, and a short one is gone by then.
    strays: Vec<(i32, ExitStatus)>,
}

/// Ended children that are remembered while a runtime is at work.
const MAX_STRAYS: usize = 256;

/// What all execs of a container have in common.
#[derive(Debug)]
pub(crate) struct Home {
    /// Where their runtimes run.
    pub(crate) bundle: PathBuf,
    /// Who their pipes are given to.
    pub(crate) owner: Option<StdioOwner>,
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
        self.running.len() >= MAX_EXECS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Runs the runtime with the descriptors that came with the request, which are as many as it says.
    ///
    /// Those that the output can be read from are kept: where there are any, the exec outlives its client.
    pub(crate) fn begin(
        &mut self,
        (client, request): (u32, u64),
        exec: Exec,
        fds: Vec<OwnedFd>,
        home: &Home,
        oom_score: Option<[u8; 8]>,
    ) -> io::Result<()> {
        pidfile::clear(&exec.pid_file)?;
        for fd in &fds {
            create::give(fd, home.owner)?;
        }
        let mut fds = fds.into_iter();
        let mut next = || fds.next().map_or_else(Stdio::null, Stdio::from);
        let mut command = create::command(&exec.runtime, &home.bundle);
        command.stdin(if exec.stdin { next() } else { Stdio::null() });
        command.stdout(next()).stderr(next());
        let kept: Vec<OwnedFd> = fds.collect();
        let runtime = sys::spawn(&mut command, oom_score)?;
        self.running.push(Running {
            client: Some(client),
            request,
            kept: (!kept.is_empty()).then(|| Kept::new(kept)),
            runtime: Some(runtime),
            how: How::Runtime {
                pid_file: exec.pid_file,
            },
            process: None,
            ended: None,
            deadline: deadline(exec.timeout_ms),
            doom: None,
        });
        Ok(())
    }

    /// Runs a process without a runtime, with the descriptors that came with the request, which are as many as it says.
    pub(crate) fn begin_own(
        &mut self,
        (client, request): (u32, u64),
        run: Run,
        mut fds: Vec<OwnedFd>,
        home: &Home,
        target: &Target,
    ) -> io::Result<()> {
        let mut kept = Vec::new();
        let mut console = None;
        match &run.streams {
            Streams::Pipes { stdin, keep } => {
                let own = 2 + usize::from(*stdin);
                kept = fds.drain(own..own + usize::from(*keep)).collect();
                for fd in &fds[..own] {
                    create::give(fd, home.owner)?;
                }
            }
            Streams::Terminal { console: path } => console = Some(path.clone()),
        }
        // A terminal is kept once it is made.
        let outlives = !kept.is_empty() || console.is_some();
        let timeout = run.timeout_ms;
        let Begun { helper, ear } = entry::begin(run, fds, target)?;
        self.running.push(Running {
            client: Some(client),
            request,
            kept: outlives.then(|| Kept::new(kept)),
            runtime: Some(helper),
            how: How::Own {
                ear: Some(ear),
                console,
            },
            process: None,
            ended: None,
            deadline: deadline(timeout),
            doom: None,
        });
        Ok(())
    }

    /// Where processes are heard that do not run their programs yet.
    pub(crate) fn ears(&self) -> impl Iterator<Item = &OwnedFd> {
        self.running.iter().filter_map(|exec| match &exec.how {
            How::Own { ear: Some(ear), .. } => Some(ear.socket()),
            _ => None,
        })
    }

    /// Hears what processes tell that do not run their programs yet.
    pub(crate) fn listen(&mut self, home: &Home, news: &mut Vec<News>) {
        let mut at = 0;
        while at < self.running.len() {
            match self.running[at].hear(home) {
                Heard::Nothing => at += 1,
                Heard::Runs => {
                    self.running[at].started(news);
                    // Another may have its place afterwards, which is heard next.
                    if !self.settle(at, news) {
                        at += 1;
                    }
                }
                Heard::Fails(end) => self.finish(at, end, news),
            }
        }
    }

    /// Ends an exec of this monitor's own that is over; says whether it is.
    fn settle(&mut self, at: usize, news: &mut Vec<News>) -> bool {
        let exec = &self.running[at];
        let Some(status) = exec.ended else {
            return false;
        };
        if matches!(&exec.how, How::Own { ear: Some(_), .. }) {
            return false;
        }
        self.finish(at, ExecEnd::Exited { status }, news);
        true
    }

    /// A child ended. Whether it was an exec's, and news of it.
    pub(crate) fn child_ended(&mut self, pid: i32, status: ExitStatus, news: &mut Vec<News>) {
        let Some(at) = self.position(pid) else {
            return self.remember(pid, status);
        };
        let exec = &mut self.running[at];
        if let How::Own { .. } = &exec.how {
            if exec.runtime == Some(pid) {
                exec.runtime = None;
            } else {
                exec.ended = Some(status);
                self.settle(at, news);
            }
            return;
        }
        if exec.runtime == Some(pid) {
            exec.runtime = None;
            exec.process = exec.process.or_else(|| exec.filed());
            if exec.ended.is_none() {
                let stray = |(stray, _): &(i32, ExitStatus)| Some(*stray) == exec.process;
                exec.ended = self
                    .strays
                    .iter()
                    .position(stray)
                    .map(|n| self.strays.swap_remove(n).1);
            }
            if status.success() {
                exec.started(news);
            } else if exec.doom.is_none() || exec.process.is_none() {
                return self.finish(at, ExecEnd::RuntimeFailed { status }, news);
            }
        } else {
            exec.process = Some(pid);
            exec.ended = Some(status);
        }
        let exec = &self.running[at];
        match (exec.runtime, exec.process, exec.ended) {
            (None, _, Some(status)) => {
                self.finish(at, ExecEnd::Exited { status }, news);
            }
            (None, Some(process), None) if sys::is_child(process) => {
                // It escaped the kill that its runtime met.
                if exec.doom.is_some() {
                    tree::kill(&[process]);
                }
            }
            (None, _, None) => self.finish(at, ExecEnd::NoProcess, news),
            (Some(_), _, _) => {}
        }
        if self.running.iter().all(|exec| exec.runtime.is_none()) {
            self.strays = Vec::new();
        }
    }

    /// Keeps the end of a child that may turn out to be an exec's.
    fn remember(&mut self, pid: i32, status: ExitStatus) {
        if self.running.iter().any(|exec| exec.runtime.is_some()) {
            if self.strays.len() >= MAX_STRAYS {
                self.strays.remove(0);
            }
            self.strays.push((pid, status));
        }
    }

    /// Which exec a process belongs to. One that ends before its runtime is only known by the file.
    fn position(&self, pid: i32) -> Option<usize> {
        let known = |exec: &Running| exec.runtime == Some(pid) || exec.process == Some(pid);
        let filed = |exec: &Running| {
            exec.process.is_none() && exec.runtime.is_some() && exec.filed() == Some(pid)
        };
        self.running
            .iter()
            .position(known)
            .or_else(|| self.running.iter().position(filed))
    }

    fn finish(&mut self, at: usize, end: ExecEnd, news: &mut Vec<News>) {
        let exec = self.running.swap_remove(at);
        if let How::Runtime { pid_file } = &exec.how {
            let _ = pidfile::clear(pid_file);
            // Who wrote it removes it when the process runs, but may have been gone by then.
            let _ = fs::remove_file(pid_file.with_extension("json"));
        }
        // What ended by itself in time did so, even if it was to be killed just then.
        let what = What::Ended(exec.doom.unwrap_or(end));
        exec.tell(what, news);
    }

    /// When to look at the deadlines again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.running.iter().filter_map(|exec| exec.deadline).min()
    }

    /// Kills what took too long, and gives up on what was killed and did not end.
    pub(crate) fn expire(&mut self, now: Instant, news: &mut Vec<News>) {
        let due = |exec: &Running| exec.deadline.is_some_and(|deadline| deadline <= now);
        while let Some(at) = self.running.iter().position(due) {
            match self.running[at].doom {
                Some(doom) => self.finish(at, doom, news),
                None => self.running[at].kill(ExecEnd::TimedOut),
            }
        }
    }

    /// Kills what its client wants no more of.
    pub(crate) fn cancel(&mut self, client: u32, request: u64) {
        if let Some(exec) = self.of(client, request)
            && exec.doom.is_none()
        {
            exec.kill(ExecEnd::Cancelled);
        }
    }

    /// Lets all that a client asked for go on without it, now that it is gone. What has its output in nobody's hands
    /// then is killed.
    pub(crate) fn abandon(&mut self, client: u32) {
        for exec in self
            .running
            .iter_mut()
            .filter(|exec| exec.client == Some(client))
        {
            match &mut exec.kept {
                Some(kept) => {
                    exec.client = None;
                    kept.take_over();
                }
                None if exec.doom.is_none() => exec.kill(ExecEnd::Cancelled),
                None => {}
            }
        }
    }

    /// Keeps an exec's terminal.
    pub(crate) fn keep_terminal(&mut self, client: u32, request: u64, master: OwnedFd) {
        if let Some(kept) = self.of(client, request).and_then(|exec| exec.kept.as_mut()) {
            kept.add_terminal(master);
        }
    }

    /// Closes what is kept of an exec's output.
    pub(crate) fn release_output(&mut self, client: u32, request: u64) {
        if let Some(kept) = self.of(client, request).and_then(|exec| exec.kept.as_mut()) {
            kept.release();
        }
    }

    /// What has to be read of execs whose clients are gone, each with its place.
    pub(crate) fn unread(&self) -> impl Iterator<Item = ((usize, usize), &OwnedFd)> {
        let abandoned = |exec: &&Running| exec.client.is_none();
        (0..)
            .zip(&self.running)
            .filter(move |(_, exec)| abandoned(exec))
            .flat_map(|(at, exec)| {
                let outputs = exec.kept.iter().flat_map(Kept::outputs);
                (0..).zip(outputs).map(move |(n, fd)| ((at, n), fd))
            })
    }

    /// Reads what nobody else does. The place may have become another's that is read just as well, or nobody's.
    pub(crate) fn drop_output(&mut self, (at, n): (usize, usize), scratch: &mut [u8]) {
        if let Some(exec) = self.running.get_mut(at)
            && exec.client.is_none()
            && let Some(kept) = &mut exec.kept
        {
            kept.drain(n, scratch);
        }
    }

    fn of(&mut self, client: u32, request: u64) -> Option<&mut Running> {
        self.running
            .iter_mut()
            .find(|exec| exec.client == Some(client) && exec.request == request)
    }

    /// Kills all that is left when the container ended.
    pub(crate) fn cancel_all(&mut self) {
        for exec in self.running.iter_mut().filter(|exec| exec.doom.is_none()) {
            exec.kill(ExecEnd::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: ExitStatus = ExitStatus::Code { code: 0 };

    fn begun(runtime: i32, pid_file: PathBuf) -> Running {
        Running {
            client: Some(1),
            request: 2,
            kept: None,
            runtime: Some(runtime),
            how: How::Runtime { pid_file },
            process: None,
            ended: None,
            deadline: None,
            doom: None,
        }
    }

    #[test]
    fn a_process_that_ends_before_its_number_is_known_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("exec.pid");
        let mut execs = Execs {
            running: vec![begun(100, pid_file.clone())],
            strays: Vec::new(),
        };
        let mut news = Vec::new();
        let three = ExitStatus::Code { code: 3 };
        execs.child_ended(300, OK, &mut news);
        execs.child_ended(200, three, &mut news);
        assert!(news.is_empty(), "nobody knows whose they were");
        std::fs::write(&pid_file, "200").unwrap();
        execs.child_ended(100, OK, &mut news);
        assert!(matches!(news[0].what, What::Started(200)));
        assert!(matches!(news[1].what, What::Ended(ExecEnd::Exited { status }) if status == three));
        assert!(execs.is_empty() && execs.strays.is_empty());
    }

    #[test]
    fn ended_children_are_remembered_only_while_a_runtime_works_and_not_without_end() {
        let mut execs = Execs::default();
        execs.child_ended(7, OK, &mut Vec::new());
        assert!(execs.strays.is_empty());
        execs.running.push(begun(1, "/nonexistent".into()));
        for pid in 10..1000 {
            execs.child_ended(pid, OK, &mut Vec::new());
        }
        assert_eq!(execs.strays.len(), MAX_STRAYS);
    }
}
