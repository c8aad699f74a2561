//! A container as its pod's actor holds it.

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{
    lane::Lane,
    msg::{ContainerOp, ContainerWaiter},
};
use crate::{
    container::{
        End, LiveContainer, error::ContainerError, record::ContainerRecord, state::ContainerState,
    },
    kept::Kept,
    monitor::Monitor,
};

/// One container of a pod.
pub(super) struct Slot {
    pub(super) record: ContainerRecord,
    /// For its views.
    pub(super) entry: Kept,
    pub(super) monitor: Option<Monitor>,
    pub(super) lane: Lane<ContainerOp, ContainerWaiter>,
    /// When a stop becomes a kill: the earliest that anyone asked for.
    pub(super) stop_by: watch::Sender<Option<Instant>>,
    /// Failed tries of a teardown in a row.
    pub(super) tries: u32,
    /// What a teardown failed on.
    pub(super) trouble: Option<String>,
    /// Who wants to talk to it as soon as it is taken up.
    pub(super) lookups: Vec<oneshot::Sender<Result<LiveContainer, ContainerError>>>,
    /// An end that came while its start was under way.
    pub(super) early_end: Option<End>,
    /// It was started by an earlier daemon, and nobody knows whether that one could still say so.
    pub(super) untold_start: bool,
    /// What it has become since it was recorded is still to be written down.
    pub(super) unwritten: bool,
    /// Nothing is left of it but this.
    pub(super) gone: bool,
}

impl Slot {
    pub(super) fn new(record: ContainerRecord) -> Self {
        Self {
            record,
            entry: Kept::default(),
            monitor: None,
            lane: Lane::new(),
            stop_by: watch::Sender::new(None),
            tries: 0,
            trouble: None,
            lookups: Vec::new(),
            early_end: None,
            untold_start: false,
            unwritten: false,
            gone: false,
        }
    }

    /// Clients are told of it.
    pub(super) fn is_visible(&self) -> bool {
        !matches!(self.record.state, ContainerState::Creating)
    }

    /// Whether a request to start it may be the repeat of one whose answer was lost with an earlier daemon. That
    /// can only be so of the first request: whoever sent it has an answer then.
    pub(super) fn take_untold_start(&mut self) -> bool {
        let started = match &self.record.state {
            ContainerState::Running { .. } => true,
            ContainerState::Exited(exit) => exit.started_at.is_some(),
            ContainerState::Creating | ContainerState::Created { .. } => false,
        };
        let untold = std::mem::take(&mut self.untold_start);
        untold && started && !self.record.removing
    }

    /// Makes a running or waiting stop no later than `deadline`.
    pub(super) fn sharpen(&self, deadline: Instant) {
        self.stop_by.send_modify(|by| {
            *by = Some(by.map_or(deadline, |earlier| earlier.min(deadline)));
        });
    }
}
