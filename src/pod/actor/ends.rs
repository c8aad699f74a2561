//! How the ends of containers come to be known.

use tracing::info;

use super::Actor;
use crate::{
    causes::whole,
    container::{
        End,
        error::ContainerError,
        state::{ContainerState, Event, ExitCause},
    },
    id::Id,
    pod::msg::ContainerOp,
    services::now,
};

impl Actor {
    /// What could not be started has ended, with the runtime's reason.
    pub(super) async fn start_failed(&mut self, id: &Id, error: &ContainerError) {
        let end = End {
            at: now(),
            cause: ExitCause::StartFailed {
                message: whole(error),
            },
        };
        self.end(id, end).await;
        // The runtime knows why an init never became the command; its exit code would say less.
        if let Some(slot) = self.containers.get_mut(id) {
            slot.early_end = None;
        }
    }

    /// Takes an end that came before its start was done.
    pub(super) async fn end_early(&mut self, id: &Id) {
        let slot = self.containers.get_mut(id);
        if let Some(end) = slot.and_then(|slot| slot.early_end.take()) {
            self.end(id, end).await;
        }
    }

    /// Shows that a container ended before it is gone.
    pub(super) fn ended_by_removal(&mut self, id: &Id, end: Option<End>) {
        if let Some(End { at, cause }) = end
            && self.step_state(id, Event::Ended { at, cause })
        {
            self.publish();
        }
    }

    /// An init is gone. One that is being started may end before the runtime has returned: then the start
    /// is told first, or why it failed.
    pub(super) async fn container_ended(&mut self, id: &Id, end: End) {
        let Some(slot) = self.containers.get_mut(id) else {
            return;
        };
        if matches!(slot.lane.running(), Some(ContainerOp::Start)) {
            slot.early_end.get_or_insert(end);
            return;
        }
        self.end(id, end).await;
    }

    /// Has the runtime forget what had exited before the daemon started, unless it is known to have done so.
    pub(super) fn reap_settled(&mut self, id: &Id) {
        if let Some(slot) = self.containers.get_mut(id)
            && !slot.record.reaped
        {
            slot.lane.submit(ContainerOp::Reap, None);
        }
    }

    /// The runtime has nothing of a container any more.
    pub(super) async fn reaped(&mut self, id: &Id) {
        if let Some(slot) = self.containers.get_mut(id) {
            slot.record.reaped = true;
        }
        self.note(id).await;
        self.quiet(id);
    }

    async fn end(&mut self, id: &Id, end: End) {
        let Some(slot) = self.containers.get_mut(id) else {
            return;
        };
        if matches!(slot.record.state, ContainerState::Exited(_)) {
            return;
        }
        info!(container = %id, cause = ?end.cause, "exited");
        slot.lane.submit(ContainerOp::Reap, None);
        self.event(
            id,
            Event::Ended {
                at: end.at,
                cause: end.cause,
            },
        )
        .await;
        self.advance_container(id).await;
    }
}
