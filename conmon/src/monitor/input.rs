//! The container's standard input.

use std::{io, os::fd::OwnedFd};

use corten_conmon::config::Stdin;

/// The writing end, and what could not be written yet: one packet at most.
#[derive(Debug)]
pub(crate) struct Input {
    fd: Option<OwnedFd>,
    pending: Vec<u8>,
    closing: bool,
    once: bool,
}

impl Input {
    /// Writes to `fd`, which does not block; everything goes nowhere without one.
    pub(crate) fn new(fd: Option<OwnedFd>, mode: Stdin) -> Self {
        Self {
            fd,
            pending: Vec::new(),
            closing: false,
            once: mode == Stdin::Once,
        }
    }

    /// Whether no more may be given for now.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What to wait on while blocked.
    pub(crate) fn blocked_on(&self) -> Option<&OwnedFd> {
        self.fd.as_ref().filter(|_| self.is_blocked())
    }

    /// Gives input to the container; only while not blocked.
    pub(crate) fn give(&mut self, data: &[u8]) {
        if !self.closing {
            self.pending = data.to_vec();
            self.push();
        }
    }

    /// Writes what can be written of what waits.
    pub(crate) fn push(&mut self) {
        while let (Some(fd), false) = (&self.fd, self.pending.is_empty()) {
            match rustix::io::write(fd, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => return,
                // Nobody reads any more.
                Err(_) => self.fd = None,
            }
        }
        self.pending = Vec::new();
        if self.closing {
            self.fd = None;
        }
    }

    /// Closes it once all that was given is written.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.push();
    }

    /// Says that a client's input ended.
    pub(crate) fn client_ended(&mut self) {
        if self.once {
            self.close();
        }
    }
}
