//! The container's output, read into the log and to whoever is attached.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use corten_conmon::{
    attach,
    log::{LineBuffer, LogWriter, READ_SIZE, Stamp, Stream},
};

use super::{fanout::Fanout, logfile::LogFile, sys::Pages};

/// How long a terminal that nobody has open is left alone.
const TERMINAL_PAUSE: Duration = Duration::from_millis(500);

/// One stream of output.
#[derive(Debug)]
pub(crate) struct Output {
    fd: Option<OwnedFd>,
    stream: Stream,
    lines: LineBuffer<Pages>,
    paused_until: Option<Instant>,
}

/// Where output goes.
pub(crate) struct Sinks<'a> {
    pub(crate) log: Option<&'a mut LogWriter<LogFile>>,
    pub(crate) attached: &'a mut Fanout,
}

impl Output {
    /// Nothing to read yet. Lines are cut at `limit`.
    pub(crate) fn new(stream: Stream, limit: usize) -> io::Result<Self> {
        let lines = LineBuffer::new(Pages::new(limit + READ_SIZE)?, limit);
        Ok(Self {
            fd: None,
            stream,
            lines,
            paused_until: None,
        })
    }

    /// Reads from `fd` from now on, which does not block.
    pub(crate) fn read_from(&mut self, fd: OwnedFd) {
        self.fd = Some(fd);
    }

    /// Where it is read from, until it ended.
    pub(crate) fn source(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }

    /// What to wait on now.
    pub(crate) fn ready_on(&self) -> Option<&OwnedFd> {
        self.fd.as_ref().filter(|_| self.paused_until.is_none())
    }

    /// When to look again without being told to.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends the pause when its time has come.
    pub(crate) fn unpause(&mut self, now: Instant) {
        self.paused_until = self.paused_until.filter(|&until| until > now);
    }

    /// Ends every pause: nobody will open the terminal again.
    pub(crate) fn unpause_for_good(&mut self) {
        self.paused_until = None;
    }

    /// Reads once. `alive` says whether a terminal without users may get some again.
    pub(crate) fn pump(&mut self, sinks: &mut Sinks<'_>, alive: bool) {
        let Some(fd) = &self.fd else { return };
        let n = match rustix::io::read(fd, self.lines.room()) {
            Ok(n) => n,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            // All have closed the terminal.
            Err(rustix::io::Errno::IO) if alive => {
                self.paused_until = Some(Instant::now() + TERMINAL_PAUSE);
                return;
            }
            Err(_) => 0,
        };
        if n == 0 {
            return self.end(sinks);
        }
        let number = match self.stream {
            Stream::Stdout => attach::STDOUT,
            Stream::Stderr => attach::STDERR,
        };
        sinks.attached.send(number, self.lines.filled(n));
        self.write(sinks, false);
    }

    /// Stops reading and writes down the line that was begun.
    pub(crate) fn end(&mut self, sinks: &mut Sinks<'_>) {
        self.fd = None;
        self.write(sinks, true);
    }

    fn write(&mut self, sinks: &mut Sinks<'_>, ended: bool) {
        match &mut sinks.log {
            Some(log) => log.write(&mut self.lines, self.stream, &Stamp::now(), ended),
            None => while self.lines.next_piece().is_some() {},
        }
    }

    /// Gives memory back that holds nothing.
    pub(crate) fn release_memory(&mut self) {
        if self.lines.is_empty() {
            self.lines.memory().release();
        }
    }
}
