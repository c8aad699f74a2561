//! What can go wrong in a command, and what to do about it.

use std::{error::Error, io, path::PathBuf};

use tonic::{Code, Status};

use crate::{
    causes::whole,
    config::{ConfigError, UnixAddress},
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The arguments make no sense together.
    #[error("{0}\nSee `corten {1} --help`.")]
    Usage(String, &'static str),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody answers.
    #[error(
        "nobody answers at {address}\nIs the daemon running? Start it with `corten serve` or `systemctl start corten`; if it listens elsewhere, name its socket with --listen or CORTEN_LISTEN."
    )]
    NoDaemon {
        /// Where.
        address: UnixAddress,
        /// Why.
        source: io::Error,
    },
    /// The socket is there, but not for this user.
    #[error(
        "permission denied on {address}\nThe socket belongs to root: run the command as root, or with sudo."
    )]
    Denied {
        /// Where.
        address: UnixAddress,
        /// Why.
        source: io::Error,
    },
    /// The connection failed in another way.
    #[error("cannot connect to {address}: {}", whole(source.as_ref()))]
    Connect {
        /// Where.
        address: UnixAddress,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The daemon refused.
    #[error("cannot {doing}: {}{}", explain(status), remedy(status))]
    Rpc {
        /// What was asked.
        doing: String,
        /// The answer.
        status: Box<Status>,
    },
    /// An answer lacks what it must have.
    #[error("cannot {doing}: the daemon's answer lacks {lacks}; is it another version of corten?")]
    Answer {
        /// What was asked.
        doing: String,
        /// What is missing.
        lacks: &'static str,
    },
    /// There is nothing of that name.
    #[error("there is no {kind} {name:?}\n{hint}")]
    NotFound {
        /// Of what kind.
        kind: &'static str,
        /// Which.
        name: String,
        /// Where to look.
        hint: &'static str,
    },
    /// A name that fits several.
    #[error("{name:?} fits several: {}\nGive a longer ID, or POD/CONTAINER.", candidates.join(", "))]
    Ambiguous {
        /// Which.
        name: String,
        /// What it could be.
        candidates: Vec<String>,
    },
    /// It is in no state for that.
    #[error("{0}")]
    State(String),
    /// A file of the caller's.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was done.
        doing: &'static str,
        /// With which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Our own output or input.
    #[error("cannot {0}: {1}")]
    Stdio(&'static str, #[source] io::Error),
    /// Something the system should always give.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The daemon ended with an error.
    #[error("{}", whole(.0.as_ref()))]
    Daemon(Box<dyn Error + Send + Sync>),
}

impl CliError {
    /// Whether the caller's arguments are at fault.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(..))
    }

    /// Whether whoever read our output went away, which is no fault.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Stdio(_, e) if e.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Makes an error of a refused call, for `map_err`.
    pub(super) fn rpc(doing: impl Into<String>) -> impl FnOnce(Status) -> Self {
        let doing = doing.into();
        |status| Self::Rpc {
            doing,
            status: Box::new(status),
        }
    }

    /// Whether the connection to the daemon was lost.
    pub(super) fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Rpc { status, .. } if is_lost(status))
    }

    /// Whether the daemon answered with this code.
    pub(super) fn has_code(&self, code: Code) -> bool {
        matches!(self, Self::Rpc { status, .. } if status.code() == code)
    }
}

/// Whether the answer was made here, of a connection that failed: one from the daemon has no cause.
fn is_lost(status: &Status) -> bool {
    status.source().is_some()
}

fn explain(status: &Status) -> String {
    match status.message() {
        _ if is_lost(status) => whole(status),
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

fn remedy(status: &Status) -> &'static str {
    match status.code() {
        _ if is_lost(status) => {
            "\nThe connection to the daemon was lost; if it is restarting, try again."
        }
        Code::Unimplemented => "\nThis daemon cannot do that; is it another version of corten?",
        _ => "",
    }
}
