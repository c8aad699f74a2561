//! Starting a container.

use super::{error::ContainerError, record::ContainerRecord};
use crate::{
    id::Id,
    services::{Services, now},
};

/// Has the runtime start init; returns when that was, in Unix nanoseconds.
pub(crate) async fn start(
    services: &Services,
    id: &Id,
    record: &ContainerRecord,
) -> Result<i64, ContainerError> {
    let handler = services.handler(&record.handler)?;
    handler
        .start(id)
        .await
        .map_err(|source| ContainerError::Runtime {
            id: id.clone(),
            source,
        })?;
    Ok(now())
}

/// Whether the runtime says that init was started.
pub(crate) async fn is_started(services: &Services, id: &Id, record: &ContainerRecord) -> bool {
    let Ok(handler) = services.handler(&record.handler) else {
        return false;
    };
    match handler.state(id).await {
        Ok(state) => matches!(state.status.as_str(), "running" | "paused"),
        Err(_) => false,
    }
}
