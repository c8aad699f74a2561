//! The daemon's side of the monitors: one small process per container that outlives the daemon.
//!
//! [`spawn`] starts a monitor and has it create the container; [`adopt`] finds one again after a restart
//! of the daemon. Both give a [`Monitor`], a handle on the one connection to it.

mod adopt;
mod client;
mod error;
mod exec;
mod link;
mod pipe;
mod processes;
mod request;
mod spawn;
mod vigil;
mod words;

pub use adopt::{Adopted, MonitorPaths, adopt, dismiss, read_exit_record, read_exit_record_now};
pub use client::{About, Monitor, TerminalSize};
pub use error::MonitorError;
pub use exec::{
    ExecEnd, ExecRequest, ExecResult, OWN, Output, RemovedFile, RunningExec, StartExec, Unread,
    Way, can_be_told,
};
pub use request::{CreateRequest, End, ExitRecord, ExitStatus};
pub use spawn::{Created, MonitorBinary, spawn};

pub use corten_conmon::{
    config::{LogConfig, MIN_LOG_SIZE, Stdin, StdioOwner},
    ctl::{
        Capabilities, CreateFailure, Filter, Phase, Refusal, Rlimit, Run, Stage, Step, Streams,
        User as RunUser,
    },
};

#[cfg(test)]
mod tests;
