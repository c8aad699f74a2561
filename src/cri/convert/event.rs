//! Events, for answers.

use super::pod_view;
use crate::{
    cri::api,
    events::{Event, Kind},
};

/// An event with the statuses of its moment.
pub fn to_api(event: &Event) -> api::ContainerEventResponse {
    let kind = match event.kind {
        Kind::Created => api::ContainerEventType::ContainerCreatedEvent,
        Kind::Started => api::ContainerEventType::ContainerStartedEvent,
        Kind::Stopped => api::ContainerEventType::ContainerStoppedEvent,
        Kind::Deleted => api::ContainerEventType::ContainerDeletedEvent,
    };
    api::ContainerEventResponse {
        container_id: event.id.to_string(),
        container_event_type: kind as i32,
        created_at: event.at,
        pod_sandbox_status: Some(pod_view::status(&event.pod)),
        containers_statuses: pod_view::containers(&event.pod),
    }
}
