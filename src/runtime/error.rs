//! Why a call failed, in the words that runc has for it: who calls tells failures apart by them.

use std::{io, path::PathBuf};

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// There is no such container.
    #[error("container does not exist")]
    NoContainer,
    /// There is one already.
    #[error("container with id {0} exists already")]
    Exists(String),
    /// Its process is gone.
    #[error("container not running")]
    NotRunning,
    /// It was started before.
    #[error("cannot start an already running container")]
    Started,
    /// Its process ended before it was started, or after.
    #[error("cannot start a container that has stopped")]
    Stopped,
    /// Its processes are frozen.
    #[error("cannot exec in a paused container")]
    Paused,
    /// It runs, and nobody said that it may be killed.
    #[error("cannot delete container {id} that is not stopped: {status}")]
    Alive {
        /// Which.
        id: String,
        /// What it does.
        status: &'static str,
    },
    /// Something that this runtime cannot do.
    #[error("{0} is not supported by this runtime; configure an external one for it")]
    Unsupported(String),
    /// A specification that makes no sense.
    #[error("invalid specification: {0}")]
    Spec(String),
    /// A file that cannot be read or understood.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that the kernel would not do.
    #[error("{what}")]
    Step {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Limits or states of a cgroup.
    #[error("{0}")]
    Cgroup(String),
    /// Processes that cannot be got rid of.
    #[error("processes {0:?} do not end, even killed")]
    Deathless(Vec<i32>),
    /// A process that does not come to run.
    #[error("unable to start container process: {0}")]
    Process(String),
    /// Any of these in a further process of a container.
    #[error("exec failed")]
    Exec(#[source] Box<Failure>),
}

impl Failure {
    /// For `map_err`: what was tried when the kernel refused.
    pub(super) fn step<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Step {
            what,
            source: source.into(),
        }
    }

    /// Children say what happened in whole sentences: where one begins as this error does, it is told once.
    pub(super) fn without_repetition(self) -> Self {
        const BEGIN: &str = "unable to start container process: ";
        match self {
            Self::Process(text) => match text.strip_prefix(BEGIN) {
                Some(rest) => Self::Process(rest.to_owned()),
                None => Self::Process(text),
            },
            other => other,
        }
    }
}
