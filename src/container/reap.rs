//! Having the runtime forget a container whose init is gone.

use super::{error::ContainerError, record::ContainerRecord};
use crate::{id::Id, services::Services};

/// Kills what is left of the container and removes its cgroup and the runtime's state of it.
pub(crate) async fn reap(
    services: &Services,
    id: &Id,
    record: &ContainerRecord,
) -> Result<(), ContainerError> {
    let handler = services.handler(&record.handler)?;
    handler
        .delete(id)
        .await
        .map_err(|source| ContainerError::Runtime {
            id: id.clone(),
            source,
        })
}
