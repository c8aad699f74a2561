//! Changing what a whole pod may use.

use std::sync::Arc;

use super::{
    error::PodError,
    limits::{self, PodResources},
    record::PodRecord,
};
use crate::{id::Id, services::Services};

/// Applies `changes` to the pod's cgroup, where that is corten's own, and returns what then holds. A cgroup that the
/// caller named is the caller's: it sets that itself.
pub(super) async fn update(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
    changes: PodResources,
) -> Result<PodResources, PodError> {
    let before = record.resources();
    let after = before.clone().changed(changes);
    let own = services.own_pod_cgroup(id, &record.spec);
    if let Some(group) = own.filter(|_| record.state.is_ready()) {
        let (version, wanted) = (services.node.cgroup, after.clone());
        tokio::task::spawn_blocking(move || limits::apply(&group, version, &before, &wanted))
            .await
            .map_err(|e| PodError::Panicked(e.to_string()))?
            .map_err(PodError::Limits)?;
    }
    Ok(after)
}
