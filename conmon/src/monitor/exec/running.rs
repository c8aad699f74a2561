//! One process run in the container, from its beginning to its end.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use corten_conmon::{
    ctl::{ExecEnd, Step},
    record::ExitStatus,
};

use super::{DEATH, Home, News, What};
use crate::monitor::{
    entry::{self, Ear, Word},
    kept::Kept,
    pidfile, sys, tree,
};

/// An exec under way.
#[derive(Debug)]
pub(super) struct Running {
    /// Who asked for it, until it is gone.
    pub(super) client: Option<u32>,
    pub(super) request: u64,
    /// What its output is read from once its client is gone; of one that ends then, `None`.
    pub(super) kept: Option<Kept>,
    /// The runtime, or the process that stands for it, until it ended.
    pub(super) runtime: Option<i32>,
    pub(super) how: How,
    /// The process, once it is known.
    pub(super) process: Option<i32>,
    /// How it ended.
    pub(super) ended: Option<ExitStatus>,
    pub(super) deadline: Option<Instant>,
    /// Why it was killed.
    pub(super) doom: Option<ExecEnd>,
}

/// How a process comes to be, and how its number is known.
#[derive(Debug)]
pub(super) enum How {
    /// By a runtime, which writes it to this file.
    Runtime { pid_file: PathBuf },
    /// By this monitor, which hears it from the process itself.
    Own {
        /// Where it is heard, until it runs its program.
        ear: Option<Ear>,
        /// Where its terminal is sent.
        console: Option<PathBuf>,
    },
}

/// What was heard of a process on its way.
pub(super) enum Heard {
    Nothing,
    Runs,
    Fails(ExecEnd),
}

/// When a time is over that begins now.
pub(super) fn deadline(timeout_ms: Option<u64>) -> Option<Instant> {
    timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)))
}

impl Running {
    /// Hears what its process has told so far.
    pub(super) fn hear(&mut self, home: &Home) -> Heard {
        let How::Own { ear, console } = &mut self.how else {
            return Heard::Nothing;
        };
        while let Some(word) = ear.as_ref().and_then(Ear::hear) {
            match word {
                Word::Alive(process) => {
                    self.process = Some(process);
                    if self.doom.is_some() {
                        tree::kill(&[process]);
                    }
                }
                Word::Terminal(master) => {
                    let sent = console
                        .take()
                        .map(|path| entry::send_terminal(&home.bundle, &path, &master));
                    if let (Some(Err(_)), Some(process)) = (sent, self.process) {
                        // Whoever asked for it does not want it any more.
                        tree::kill(&[process]);
                    }
                    if let Some(kept) = &mut self.kept {
                        kept.add_terminal(master);
                    }
                }
                Word::Failed(end) => return Heard::Fails(end),
                Word::Over => {
                    *ear = None;
                    return match self.process {
                        Some(_) => Heard::Runs,
                        None => Heard::Fails(ExecEnd::NotStarted {
                            step: Step::Lost,
                            errno: 0,
                            place: 0,
                        }),
                    };
                }
            }
        }
        Heard::Nothing
    }

    /// The process, as far as a runtime has told it.
    pub(super) fn filed(&self) -> Option<i32> {
        match &self.how {
            How::Runtime { pid_file } => pidfile::read(pid_file),
            How::Own { .. } => None,
        }
    }

    pub(super) fn started(&self, news: &mut Vec<News>) {
        if let Some(process) = self.process {
            self.tell(What::Started(process), news);
        }
    }

    pub(super) fn tell(&self, what: What, news: &mut Vec<News>) {
        if let Some(client) = self.client {
            news.push(News {
                client,
                request: self.request,
                what,
            });
        }
    }

    pub(super) fn kill(&mut self, why: ExecEnd) {
        self.doom = Some(why);
        self.deadline = Some(Instant::now() + DEATH);
        // Neither was reaped, so the numbers are theirs.
        let process = self
            .process
            .or_else(|| self.filed().filter(|&pid| sys::is_child(pid)));
        let process = process.filter(|_| self.ended.is_none());
        let roots: Vec<i32> = self.runtime.into_iter().chain(process).collect();
        tree::kill(&roots);
    }
}
