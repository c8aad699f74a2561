//! Requests of control clients, and answers to them.

use std::os::fd::OwnedFd;

use corten_conmon::ctl::{Exec, ExecEnd, Phase as Told, Refusal, Reply, Run, Step, Streams, Verb};

use super::{
    Monitor, Phase,
    control::Wish,
    entry::Target,
    exec::{News, What},
    terminal,
};

impl Monitor {
    pub(super) fn report(&mut self, news: Vec<News>) {
        for News {
            client,
            request,
            what,
        } in news
        {
            let reply = match what {
                What::Started(pid) => Reply::ExecStarted { pid },
                What::Ended(end) => Reply::ExecEnded { end },
            };
            if let Wish::Gone = self.clients.answer(client, request, reply) {
                self.execs.abandon(client);
            }
        }
    }

    pub(super) fn fulfil(&mut self, client: u32, id: u64, verb: Verb, fds: Vec<OwnedFd>) -> Wish {
        let result = match verb {
            // Answered before it comes here.
            Verb::Hello => return Wish::Nothing,
            Verb::State => Ok(Reply::State { phase: self.told() }),
            Verb::Subscribe => {
                self.clients.subscribe(client);
                Ok(Reply::State { phase: self.told() })
            }
            Verb::ReopenLog => self.reopen_log(),
            Verb::Resize { width, height } => self.resize(width, height),
            Verb::CloseStdin => {
                self.input.close();
                Ok(Reply::Done)
            }
            Verb::Exec { exec } => match self.exec((client, id), exec, fds) {
                // It is answered as it goes on.
                Ok(None) => return Wish::Nothing,
                Ok(Some(reply)) => Ok(reply),
                Err(refusal) => Err(refusal),
            },
            Verb::Run { run } => match self.run_in((client, id), *run, fds) {
                Ok(None) => return Wish::Nothing,
                Ok(Some(reply)) => Ok(reply),
                Err(refusal) => Err(refusal),
            },
            Verb::CancelExec { exec } => {
                self.execs.cancel(client, exec);
                return Wish::Nothing;
            }
            Verb::KeepTerminal { exec } => {
                for master in fds {
                    self.execs.keep_terminal(client, exec, master);
                }
                return Wish::Nothing;
            }
            Verb::ReleaseOutput { exec } => {
                self.execs.release_output(client, exec);
                return Wish::Nothing;
            }
        };
        match result {
            Ok(reply) => self.clients.answer(client, id, reply),
            Err((kind, text)) => self.clients.refuse(client, id, kind, &text),
        }
    }

    fn told(&self) -> Told {
        match &self.phase {
            Phase::Creating(_) => Told::Creating,
            Phase::Running { pid } => Told::Running { pid: *pid },
            Phase::Ending(ending) => match ending.unwritten() {
                Some(record) => Told::Exited { record },
                None => Told::Ending { pid: ending.pid },
            },
        }
    }

    fn reopen_log(&mut self) -> Result<Reply, (Refusal, String)> {
        let log = self
            .log
            .as_mut()
            .ok_or((Refusal::NotThere, "the container has no log".to_owned()))?;
        let size = log
            .target()
            .reopen()
            .map_err(|error| (Refusal::Failed, error.to_string()))?;
        log.reopened(size);
        Ok(Reply::Done)
    }

    fn resize(&self, width: u16, height: u16) -> Result<Reply, (Refusal, String)> {
        let none = || {
            (
                Refusal::NotThere,
                "the container has no terminal".to_owned(),
            )
        };
        terminal::resize(self.terminal.as_ref().ok_or_else(none)?, width, height)
            .map_err(|error| (Refusal::Failed, error.to_string()))?;
        Ok(Reply::Done)
    }

    fn exec(
        &mut self,
        asker: (u32, u64),
        exec: Exec,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Reply>, (Refusal, String)> {
        self.room_for_exec()?;
        let promised = 2 + usize::from(exec.stdin) + usize::from(exec.keep.0);
        if exec.runtime.is_empty() || fds.len() != promised {
            return Err((
                Refusal::NotUnderstood,
                "a command line and its descriptors are needed".to_owned(),
            ));
        }
        match self
            .execs
            .begin(asker, exec, fds, &self.home, self.oom_score)
        {
            Ok(()) => Ok(None),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                Ok(Some(Reply::ExecEnded {
                    end: ExecEnd::NoRuntime { errno },
                }))
            }
        }
    }

    fn run_in(
        &mut self,
        asker: (u32, u64),
        run: Run,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Reply>, (Refusal, String)> {
        let init = self.room_for_exec()?;
        let promised = usize::from(run.filter.is_some())
            + match &run.streams {
                Streams::Pipes { stdin, keep } => 2 + usize::from(*stdin) + usize::from(*keep),
                Streams::Terminal { .. } => 0,
            };
        if run.args.is_empty() || fds.len() != promised {
            return Err((
                Refusal::NotUnderstood,
                "a command line and its descriptors are needed".to_owned(),
            ));
        }
        let target = Target {
            init,
            oom_score: self.oom_score,
        };
        match self.execs.begin_own(asker, run, fds, &self.home, &target) {
            Ok(()) => Ok(None),
            Err(error) => {
                let end = ExecEnd::NotStarted {
                    step: Step::Fork,
                    errno: error.raw_os_error().unwrap_or(libc::EINVAL),
                    place: 0,
                };
                Ok(Some(Reply::ExecEnded { end }))
            }
        }
    }

    /// The init that an exec may be run beside now.
    fn room_for_exec(&self) -> Result<i32, (Refusal, String)> {
        let Phase::Running { pid } = self.phase else {
            return Err((
                Refusal::NotRunning,
                "the container is not running".to_owned(),
            ));
        };
        match self.execs.is_full() {
            false => Ok(pid),
            true => Err((Refusal::Busy, "too many execs are under way".to_owned())),
        }
    }
}
