//! What an actor is told, and what its jobs report.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{create::PodUp, error::PodError, lane::Joinable, limits::PodResources};
use crate::{
    container::{
        End, LiveContainer,
        adopt::Adoption,
        create::{CreateFailure, CreatedContainer},
        error::ContainerError,
        spec::{ContainerSpec, Resources},
    },
    id::Id,
};

pub(super) type PodResult = Result<(), Arc<PodError>>;
pub(super) type PodWaiter = oneshot::Sender<PodResult>;
pub(super) type ContainerResult = Result<(), Arc<ContainerError>>;
pub(super) type ContainerWaiter = oneshot::Sender<ContainerResult>;

/// Requests and reports to one pod's actor.
pub(super) enum Msg {
    /// Do something with the sandbox.
    Pod { op: PodOp, waiter: PodWaiter },
    /// Make a container, or join the one of that name.
    Create {
        spec: Box<ContainerSpec>,
        answer: oneshot::Sender<Result<Id, Arc<ContainerError>>>,
    },
    /// Do something with a container.
    Container {
        id: Id,
        op: ContainerOp,
        waiter: ContainerWaiter,
    },
    /// Do something with every container; answered when all are done.
    EveryContainer {
        op: ContainerOp,
        answer: oneshot::Sender<ContainerResult>,
    },
    /// Hand out what is needed to talk to a running container.
    Lookup {
        id: Id,
        answer: oneshot::Sender<Result<LiveContainer, ContainerError>>,
    },
    /// A job of the sandbox reached a step.
    Step(String),
    /// A job of the sandbox ended.
    PodDone(PodOutcome),
    /// A job of a container ended.
    ContainerDone(Id, ContainerOutcome),
    /// A container's init is gone.
    Ended(Id, End),
    /// The infra process is gone.
    InfraEnded(String),
    /// Try a failed teardown again.
    Retry,
    /// Try a container's failed teardown again.
    RetryContainer(Id),
}

/// An operation on a sandbox.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PodOp {
    /// Namespaces, files, network.
    SetUp,
    /// Take up the sandbox as the last daemon left it.
    Recover,
    /// Stop containers and take the network down.
    Stop,
    /// Stop, and forget it.
    Remove,
    /// Change what it may use as a whole.
    Update(Box<PodResources>),
}

impl Joinable for PodOp {
    fn joins(&self, other: &Self) -> bool {
        !matches!(self, Self::Update(_)) && self == other
    }
}

/// An operation on a container.
#[derive(Debug, Clone)]
pub(super) enum ContainerOp {
    /// Make it.
    Create,
    /// Take it up as the last daemon left it.
    Adopt,
    /// Start its init.
    Start,
    /// Signal it, and kill it at the deadline.
    Stop(Instant),
    /// Change its limits.
    Update(Box<Resources>),
    /// Have the runtime forget what has exited.
    Reap,
    /// Kill it and forget it.
    Remove,
}

impl Joinable for ContainerOp {
    fn joins(&self, other: &Self) -> bool {
        !matches!(self, Self::Update(_))
            && std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// How a job of the sandbox ended.
pub(super) enum PodOutcome {
    SetUp(Result<Box<PodUp>, SetUpFailure>),
    Recovered(Result<Box<PodUp>, PodError>),
    Stopped(Result<(), PodError>),
    Removed(Result<(), PodError>),
    Updated(Result<Box<PodResources>, PodError>),
    /// The job panicked.
    Broke(String),
}

/// Why a sandbox could not be set up, and what could then not be taken down.
pub(super) struct SetUpFailure {
    pub(super) error: PodError,
    pub(super) left: Option<PodError>,
}

/// How a job of a container ended.
pub(super) enum ContainerOutcome {
    Created(Result<Box<CreatedContainer>, CreateFailure>),
    Adopted(Box<Adoption>),
    Started(Result<i64, ContainerError>),
    Stopped(Result<Option<End>, ContainerError>),
    Updated(Result<Box<Resources>, ContainerError>),
    Reaped(Result<(), ContainerError>),
    Removed(Result<Option<End>, ContainerError>),
    /// The job panicked.
    Broke(String),
}

/// The sending side of an actor's mailbox.
pub(super) type Mailbox = mpsc::Sender<Msg>;
