//! What happens when its time comes, and not because of anyone.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use corten_conmon::{ctl::Reply, log::Stamp};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Monitor, Next, Phase, ending::Written, output::Sinks};

impl Monitor {
    /// Does what is due.
    pub(super) fn pass_time(&mut self, now: Instant) -> Next {
        self.stdout.unpause(now);
        let mut news = Vec::new();
        self.execs.expire(now, &mut news);
        self.report(news);
        match &mut self.phase {
            Phase::Creating(creation) if creation.deadline() <= now => match creation.expire() {
                Some(failure) => self.not_created(failure),
                None => Next::Wait,
            },
            Phase::Ending(_) => self.conclude(now),
            _ => Next::Wait,
        }
    }

    /// Once output has ended, or had its time: the record, and then nothing is left to do.
    fn conclude(&mut self, now: Instant) -> Next {
        let Phase::Ending(ending) = &mut self.phase else {
            return Next::Wait;
        };
        if !ending.is_recorded() {
            let drained = self.stdout.source().is_none() && self.stderr.source().is_none();
            if !drained && ending.deadline > now {
                return Next::Wait;
            }
            let mut sinks = Sinks {
                log: self.log.as_mut(),
                attached: &mut self.attached,
            };
            self.stdout.end(&mut sinks);
            self.stderr.end(&mut sinks);
            let lost = self
                .log
                .as_mut()
                .is_some_and(|log| !log.settle(&Stamp::now()));
            ending.record(self.oom.killed(ending.status()), drained && !lost);
            self.execs.cancel_all();
        }
        match ending.write(&self.exit_record, Instant::now()) {
            Written::NotYet => Next::Wait,
            // Whoever listens need not wait for the disk; this monitor stays until it has taken the record.
            Written::Failed(record) => {
                self.clients.tell(Reply::Exited { record });
                Next::Wait
            }
            Written::Done(record) => {
                self.clients.tell(Reply::Exited { record });
                self.last_words()
            }
        }
    }

    /// Says of every exec how it ended: in another PID namespace they do not end with the container.
    fn last_words(&mut self) -> Next {
        while !self.execs.is_empty() {
            let now = Instant::now();
            let pause = self
                .execs
                .deadline()
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            let timeout = Timespec::try_from(pause).ok();
            let mut signals = [PollFd::new(&self.signals, PollFlags::IN)];
            let _ = rustix::event::poll(&mut signals, timeout.as_ref());
            self.reap();
            let mut news = Vec::new();
            self.execs.expire(Instant::now(), &mut news);
            self.report(news);
        }
        Next::Leave(ExitCode::SUCCESS)
    }
}
