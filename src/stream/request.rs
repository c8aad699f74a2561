//! What a stream is asked for.

use super::session::Wanted;
use crate::id::Id;

/// A request for a stream, checked, as a token stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Runs a command in a container.
    Exec {
        /// The container.
        container: Id,
        /// The command line.
        command: Vec<String>,
        /// Its streams.
        wanted: Wanted,
    },
    /// Joins a container's own input and output.
    Attach {
        /// The container.
        container: Id,
        /// The streams.
        wanted: Wanted,
    },
    /// Connects to ports of a pod.
    Forward {
        /// The sandbox.
        pod: Id,
        /// Ports that the request named.
        ports: Vec<u16>,
    },
}

/// Which of them; also the first part of the URL's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A command.
    Exec,
    /// A container's own input and output.
    Attach,
    /// Ports.
    Forward,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Exec, Self::Attach, Self::Forward];

    /// As it stands in a path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::Forward => "portforward",
        }
    }
}

impl Request {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Exec { .. } => Kind::Exec,
            Self::Attach { .. } => Kind::Attach,
            Self::Forward { .. } => Kind::Forward,
        }
    }
}
