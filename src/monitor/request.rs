//! What a monitor is asked to create, and what it says of the end.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use corten_conmon::{
    config::{Config, LogConfig, Stdin, StdioOwner},
    record,
};
use serde::{Deserialize, Serialize};

use crate::id::Id;

/// A container for a monitor to create.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// The container; seen in the monitor's command line, used for nothing else.
    pub id: Id,
    /// Command line of the OCI runtime's `create`. Its working directory is the bundle.
    pub runtime_argv: Vec<OsString>,
    /// Bundle directory.
    pub bundle: PathBuf,
    /// File the runtime writes init's process number to, as in `runtime_argv`.
    pub pid_file: PathBuf,
    /// The container has a terminal, and the runtime sends it here, as in `runtime_argv`. A name without
    /// a directory lies in the bundle, for the monitor as for the runtime: runtimes cannot connect to
    /// paths of more than 107 bytes, so that is the best choice.
    pub console_socket: Option<PathBuf>,
    /// Standard input.
    pub stdin: Stdin,
    /// Who the pipes of standard input, output and error are given to, of execs too; `None` leaves them
    /// root's.
    pub owner: Option<StdioOwner>,
    /// Log file. `None` discards the output.
    pub log: Option<LogConfig>,
    /// File for the exit record; its directory must exist.
    pub exit_record: PathBuf,
    /// Control socket; its directory must exist.
    pub ctl_socket: PathBuf,
    /// Attach socket; its directory must exist.
    pub attach_socket: Option<PathBuf>,
    /// cgroup directories (one for each hierarchy) that the monitor moves itself into; made when missing.
    /// Empty leaves it in the daemon's.
    pub cgroups: Vec<PathBuf>,
    /// The container's `memory.events` (v2) or `memory.oom_control` (v1). `None` finds it.
    pub oom_file: Option<PathBuf>,
    /// The whole environment of the runtime.
    pub env: Vec<(OsString, OsString)>,
    /// How long the runtime may take.
    pub create_timeout: Duration,
    /// How long output may still come once init is gone and something else holds its pipes.
    pub drain: Duration,
}

impl CreateRequest {
    /// Time for output that outlives init.
    pub const DRAIN: Duration = Duration::from_secs(2);

    pub(super) fn config(self) -> Config {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Config {
            create_timeout_ms: millis(self.create_timeout),
            drain_ms: millis(self.drain),
            runtime: self.runtime_argv,
            bundle: self.bundle,
            pid_file: self.pid_file,
            console_socket: self.console_socket,
            stdin: self.stdin,
            owner: self.owner,
            log: self.log,
            exit_record: self.exit_record,
            ctl_socket: self.ctl_socket,
            attach_socket: self.attach_socket,
            cgroups: self.cgroups,
            oom_file: self.oom_file,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl ExitStatus {
    /// As a shell would say it: the code, or 128 and the signal's number.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl From<record::ExitStatus> for ExitStatus {
    fn from(status: record::ExitStatus) -> Self {
        match status {
            record::ExitStatus::Code { code } => Self::Code(code),
            record::ExitStatus::Signal { signal } => Self::Signal(signal),
        }
    }
}

/// How and when a container ended; written by its monitor, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExitRecord {
    /// How init ended.
    pub status: ExitStatus,
    /// The kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// When, in nanoseconds since 1970 (UTC).
    pub finished_at: i64,
    /// All output up to its end is in the log.
    pub log_drained: bool,
}

impl From<record::ExitRecord> for ExitRecord {
    fn from(record: record::ExitRecord) -> Self {
        Self {
            status: record.status.into(),
            oom_killed: record.oom_killed,
            finished_at: record.finished_at,
            log_drained: record.log_drained,
        }
    }
}

/// How a container's monitor left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The container ended.
    Exited(ExitRecord),
    /// The monitor is gone without a record: how the container ends, or ended, cannot be known.
    Lost,
}
