//! Signals that end `corten run`.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::error::CliError;

/// The signals that ask us to stop.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
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
        })
    }

    /// Waits for the next.
    pub(super) async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught(2),
            _ = self.terminate.recv() => Caught(15),
            _ = self.hangup.recv() => Caught(1),
        }
    }

    /// Waits for the one after the next.
    pub(super) async fn second(&mut self) -> Caught {
        self.next().await;
        self.next().await
    }
}
