//! Views of what an actor holds.

use std::sync::Arc;

use super::{
    record::PodRecord,
    slot::Slot,
    state::PodState,
    stop,
    view::{PodView, PodViewState},
};
use crate::{
    container::{
        state::ContainerState,
        view::{self, ContainerView, User},
    },
    id::Id,
    kept::Kept,
    services::Services,
};

/// The view of a sandbox.
pub(super) fn pod(
    services: &Services,
    id: &Id,
    record: &PodRecord,
    entry: &Kept,
    step: Option<&String>,
    containers: Vec<Arc<ContainerView>>,
) -> PodView {
    PodView {
        id: id.clone(),
        spec: record.spec.clone(),
        state: match record.state {
            PodState::Ready => PodViewState::Ready,
            _ => PodViewState::NotReady,
        },
        created_at: record.created_at,
        ips: record
            .attachment
            .as_ref()
            .map(crate::network::Attachment::addresses)
            .unwrap_or_default(),
        handler: record.handler.clone(),
        netns: stop::own_netns(services, id, record),
        pid: record.infra_pid,
        step: progress(step, record.state.trouble()),
        resources: record.resources(),
        containers,
        entry: entry.clone(),
    }
}

/// The step that runs now, and what the last try failed on.
fn progress(step: Option<&String>, trouble: Option<&str>) -> Option<String> {
    match (step, trouble) {
        (Some(step), Some(trouble)) => Some(format!("{step}; the last try failed: {trouble}")),
        (Some(step), None) => Some(step.clone()),
        (None, trouble) => trouble.map(str::to_owned),
    }
}

/// The view of a container.
pub(super) fn container(services: &Services, id: &Id, slot: &Slot) -> ContainerView {
    let record = &slot.record;
    ContainerView {
        id: id.clone(),
        pod_id: record.pod.clone(),
        spec: record.spec.clone(),
        image_id: record.image_id.clone(),
        image_ref: record.image_ref.clone(),
        state: state(&record.state),
        created_at: record.created_at,
        log_path: record.log_path.clone(),
        user: record.user.as_ref().map(|user| User {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
        }),
        resources: record.resources.clone(),
        stop_signal: record.stop_signal,
        pid: record.state.pid(),
        monitor: slot
            .monitor
            .as_ref()
            .filter(|_| record.state.pid().is_some())
            .map(|monitor| monitor.about().clone()),
        mount_images: record.mount_images.clone(),
        runtime_spec: Some(services.layout.bundle(id).join("config.json")),
        step: slot.trouble.clone(),
        entry: slot.entry.clone(),
    }
}

fn state(state: &ContainerState) -> view::ContainerState {
    match state {
        ContainerState::Creating | ContainerState::Created { .. } => view::ContainerState::Created,
        ContainerState::Running { started_at, .. } => view::ContainerState::Running {
            started_at: *started_at,
        },
        ContainerState::Exited(exit) => view::ContainerState::Exited {
            started_at: exit.started_at,
            finished_at: exit.finished_at,
            exit_code: exit.code(),
            reason: exit.reason().to_owned(),
            message: exit.message().to_owned(),
        },
    }
}
