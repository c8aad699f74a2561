//! Changing what a whole pod may use.

use std::sync::Arc;

use super::{
    error::PodError,
    limits::{self, PodResources},
    record::PodRecord,
    spec::PodSpec,
};
use crate::{id::Id, services::Services};

/// Applies `changes` to the pod's cgroup and returns what then holds.
pub(super) async fn update(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
    changes: PodResources,
) -> Result<PodResources, PodError> {
    let before = record.resources();
    let after = before.clone().changed(changes);
    if record.state.is_ready() {
        set(services, id, &record.spec, before, after.clone()).await?;
    }
    Ok(after)
}

/// Sets what a pod may use on its cgroup, where that is corten's own: one that the caller named is the caller's, who
/// sets that too.
pub(super) async fn set(
    services: &Services,
    id: &Id,
    spec: &PodSpec,
    before: PodResources,
    after: PodResources,
) -> Result<(), PodError> {
    let Some(group) = services.own_pod_cgroup(id, spec) else {
        return Ok(());
    };
    let version = services.node.cgroup;
    tokio::task::spawn_blocking(move || limits::apply(&group, version, &before, &after))
        .await
        .map_err(|e| PodError::Panicked(e.to_string()))?
        .map_err(PodError::Limits)
}
