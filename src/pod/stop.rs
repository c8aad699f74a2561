//! Stopping a sandbox: its containers end, its place in the network and its namespaces go.

use std::{path::PathBuf, sync::Arc};

use tokio::{sync::oneshot, time::Instant};

use super::{
    create::failed,
    error::PodError,
    infra,
    msg::{ContainerOp, Mailbox, Msg},
    record::PodRecord,
    spec::Shared,
};
use crate::{
    id::Id,
    monitor::Monitor,
    services::Services,
    step::{self, Step},
    sys::{mount, namespaces},
};

/// Kills the containers, then takes the sandbox down.
pub(super) async fn stop(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
    infra: Option<Monitor>,
    me: &Mailbox,
) -> Result<(), PodError> {
    every_container(me, ContainerOp::Stop(Instant::now()), "stopping containers").await?;
    tear_down(services, id, record, infra).await
}

/// Has the actor do the same to all containers.
pub(super) async fn every_container(
    me: &Mailbox,
    op: ContainerOp,
    step: &str,
) -> Result<(), PodError> {
    let _ = me.send(Msg::Step(step.to_owned())).await;
    let (answer, done) = oneshot::channel();
    let _ = me.send(Msg::EveryContainer { op, answer }).await;
    match done.await {
        Ok(result) => result.map_err(PodError::Container),
        Err(_) => Ok(()),
    }
}

/// Takes down whatever of the sandbox is there. Every step is tried even if one before it failed;
/// the first error is returned.
pub(super) async fn tear_down(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
    infra: Option<Monitor>,
) -> Result<(), PodError> {
    let infra = infra::stop(services, id, record, infra).await;
    let network = match record.spec.namespaces.network {
        Shared::Pod => services.network.del(id).await.map_err(PodError::Network),
        Shared::Node => Ok(()),
    };
    // The namespaces are the last to go: the plugins may need them to release what they hold.
    let namespaces = if network.is_ok() {
        release_namespaces(services, id).await
    } else {
        Ok(())
    };
    infra.and(network).and(namespaces)
}

async fn release_namespaces(services: &Arc<Services>, id: &Id) -> Result<(), PodError> {
    let namespaces = namespaces::unpin(&services.layout.sandbox_namespaces(id))
        .await
        .map_err(PodError::Namespaces);
    let shm = services.layout.sandbox(id).join("shm");
    let shm = tokio::task::spawn_blocking(move || {
        mount::detach_all(&shm).map_err(failed("unmounting", &shm))?;
        step::reached(Step::ShmUnmounted);
        Ok(())
    })
    .await
    .map_err(|e| PodError::Panicked(e.to_string()))?;
    namespaces.and(shm)
}

/// Pinned network namespace of the pod, unless it uses the host's.
pub(super) fn own_netns(services: &Services, id: &Id, record: &PodRecord) -> Option<PathBuf> {
    (record.spec.namespaces.network == Shared::Pod)
        .then(|| services.layout.sandbox_namespaces(id).join("net"))
}
