//! Signals that end `corten run`.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::error::CliError;

/// The signals that ask us to stop.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Came while it had to wait.
    pending: Option<Caught>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caught(u8);

impl Caught {
    /// What a shell reports for a program ended by it.
    pub(super) fn exit_code(self) -> u8 {
        128 + self.0
    }
}

impl Signals {
    /// From here on the signals no longer end the process.
    pub(super) fn new() -> Result<Self, CliError> {
        let of = |kind| signal(kind).map_err(|e| CliError::System("wait for signals", e));
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hangup: of(SignalKind::hangup())?,
            pending: None,
        })
    }

    /// Waits for the next.
    pub(super) async fn next(&mut self) -> Caught {
        match self.pending.take() {
            Some(caught) => caught,
            None => self.receive().await,
        }
    }

    /// Waits for a second one; the first is kept for [`Signals::next`] should this be given up.
    pub(super) async fn second(&mut self) -> Caught {
        if self.pending.is_none() {
            self.pending = Some(self.receive().await);
        }
        self.receive().await
    }

    /// The one that came meanwhile.
    pub(super) fn pending(&self) -> Option<Caught> {
        self.pending
    }

    async fn receive(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught(2),
            _ = self.terminate.recv() => Caught(15),
            _ = self.hangup.recv() => Caught(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_signal_that_had_to_wait_is_not_lost() {
        let mut signals = Signals::new().unwrap();
        // Sent to this very process, which has just asked to be told of it.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).unwrap();
        while signals.pending().is_none() {
            let given_up = timeout(std::time::Duration::from_millis(20), signals.second()).await;
            assert!(given_up.is_err());
        }
        assert_eq!(signals.pending(), Some(Caught(1)));
        assert_eq!(signals.next().await.exit_code(), 129);
        assert_eq!(signals.pending(), None);
    }
}
