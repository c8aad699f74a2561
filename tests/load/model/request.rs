//! What is asked, and what is answered.

use super::world::Nature;

/// How much time a stop leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grace {
    /// None: it is killed.
    None,
    /// Some: it is asked to end first.
    Some,
}

/// Something that is asked of the daemon, for one pod. Containers have numbers, by which they are named, besides IDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Run,
    StopPod(String),
    RemovePod(String),
    Create(String, u32, Nature),
    Start(String),
    Stop(String, Grace),
    Remove(String),
    /// A command that exits with this code.
    Exec(String, i32),
    /// New CPU shares.
    Update(String, i64),
}

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    WrongState,
    Exists,
    /// For a reason that is never lawful here.
    Other(String),
}

/// What the daemon said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Made(String),
    Code(i32),
    Refused(Refusal),
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered(Answer),
    /// The daemon died before it answered.
    Lost,
}
