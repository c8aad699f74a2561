//! What can go wrong between daemon and monitor.

use std::{io, path::PathBuf, time::Duration};

use corten_conmon::{
    ctl::{CreateFailure, Refusal, Step},
    record::RecordError,
    wire::WireError,
};

use super::ExitStatus;

/// A monitor could not be started, reached, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The monitor's program could not be run.
    #[error("cannot run the monitor {}", binary.display())]
    Start {
        /// Its path.
        binary: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The monitor's program did not detach itself.
    #[error("the monitor {} did not detach itself: {status}", binary.display())]
    Detach {
        /// Its path.
        binary: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A socket to the monitor could not be made or used.
    #[error("cannot talk to the monitor")]
    Socket(#[source] io::Error),
    /// The monitor's control socket could not be reached.
    #[error("cannot connect to the monitor's socket {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A message could not be encoded, or the monitor's not decoded.
    #[error("the monitor's protocol is broken")]
    Wire(#[from] WireError),
    /// The monitor answered something else.
    #[error("the monitor gave no fitting answer to {0}")]
    Unexpected(&'static str),
    /// The monitor did not answer in time.
    #[error("the monitor did not answer {operation} within {after:?}")]
    Timeout {
        /// What was asked.
        operation: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The monitor is gone, or left before it answered.
    #[error("the monitor is gone")]
    Gone,
    /// The container was not created. The runtime's own words are in the failure's text.
    #[error("{}: {}{}", .0.stage, ended(.0), .0.text.trim_end())]
    Create(CreateFailure),
    /// The monitor refused a request.
    #[error("the monitor refuses {operation}: {text}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Why, for programs.
        kind: Refusal,
        /// Why, for people.
        text: String,
    },
    /// The OCI runtime did not start the exec's process.
    #[error("the OCI runtime's exec ended with {status}: {}", stderr.trim_end())]
    ExecRuntime {
        /// How the runtime ended.
        status: ExitStatus,
        /// What it wrote.
        stderr: String,
    },
    /// The monitor could not start the exec's process.
    #[error("{words}")]
    ExecStart {
        /// How far it came.
        step: Step,
        /// What is wrong, in a runtime's words.
        words: String,
    },
    /// The OCI runtime could not be run for an exec.
    #[error("cannot run the OCI runtime for an exec")]
    ExecSpawn(#[source] io::Error),
    /// The OCI runtime's exec succeeded and left no process that could be waited for.
    #[error("the OCI runtime's exec left no process to wait for")]
    ExecNoProcess,
    /// An exec's output could not be read.
    #[error("cannot read the output of an exec")]
    ExecOutput(#[source] io::Error),
    /// An exec's streams could not be made.
    #[error("cannot make the streams of an exec")]
    ExecStreams(#[source] io::Error),
    /// The OCI runtime sent no terminal.
    #[error("no terminal came of the OCI runtime's exec")]
    ExecTerminal(#[source] io::Error),
    /// The exit record's file could not be read.
    #[error("cannot read the exit record {}", path.display())]
    ReadRecord {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The exit record's file holds something else.
    #[error("exit record {} is broken", path.display())]
    BrokenRecord {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RecordError,
    },
}

fn ended(failure: &CreateFailure) -> String {
    failure
        .status
        .map(|status| format!("{status}: "))
        .unwrap_or_default()
}
