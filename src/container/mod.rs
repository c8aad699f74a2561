//! Containers of a pod: what they are, and the jobs that make, run and end them.

pub(crate) mod adopt;
pub(crate) mod create;
pub mod error;
pub mod exec;
pub mod looks;
pub(crate) mod mapped;
pub(crate) mod reap;
pub mod record;
pub(crate) mod remove;
pub mod signal;
pub mod spec;
pub(crate) mod start;
pub mod state;
pub(crate) mod stop;
pub(crate) mod update;
pub mod view;
pub mod volumes;

use error::ContainerError;

use crate::{
    id::Id,
    monitor::{self, ExitRecord, Monitor},
    services::now,
};
use state::ExitCause;

/// What is needed to talk to a container that lives.
#[derive(Debug, Clone)]
pub struct LiveContainer {
    /// The container.
    pub id: Id,
    /// Its monitor.
    pub monitor: Monitor,
    /// Its runtime handler by name.
    pub handler: String,
    /// Its init was started.
    pub running: bool,
}

impl LiveContainer {
    /// Refuses one whose init was not started.
    pub fn check_running(&self) -> Result<(), ContainerError> {
        match self.running {
            true => Ok(()),
            false => Err(ContainerError::WrongState {
                id: self.id.clone(),
                state: "created",
                wanted: "running",
            }),
        }
    }
}

/// When and how a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// Unix nanoseconds.
    pub(crate) at: i64,
    /// What ended it.
    pub(crate) cause: ExitCause,
}

impl End {
    /// What the monitor said, or that it said nothing.
    pub(crate) fn from_monitor(said: monitor::End) -> Self {
        match said {
            monitor::End::Exited(record) => Self::from_record(&record),
            monitor::End::Lost => Self::lost(ExitCause::MonitorLost),
        }
    }

    /// An end of which only the cause is known.
    pub(crate) fn lost(cause: ExitCause) -> Self {
        Self { at: now(), cause }
    }

    /// What an exit record says.
    pub(crate) fn from_record(record: &ExitRecord) -> Self {
        Self {
            at: record.finished_at,
            cause: ExitCause::Process {
                code: record.status.shell_code(),
                oom_killed: record.oom_killed,
            },
        }
    }
}
