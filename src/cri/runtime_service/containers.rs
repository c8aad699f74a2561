//! Verbs of containers.

use std::{sync::Arc, time::Duration};

use crate::container::view::ContainerView;
use crate::cri::{
    api,
    backend::{Backend, Outcome},
    chunks::{Chunks, chunks},
    convert::{
        container, container_view,
        error::{At, FieldError},
        filter::ContainerFilter,
        resources,
    },
    detached::detached,
    lookup,
};

/// Longest time in seconds that means anything: a year.
const SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

pub(super) async fn create<B: Backend>(
    backend: &Arc<B>,
    request: api::CreateContainerRequest,
) -> Outcome<api::CreateContainerResponse> {
    let spec = container::spec(request.config)?;
    let pod = lookup::pod(&**backend, &request.pod_sandbox_id)?.id.clone();
    let backend = backend.clone();
    let id = detached(async move { backend.create_container(&pod, spec).await }).await?;
    Ok(api::CreateContainerResponse {
        container_id: id.to_string(),
    })
}

pub(super) async fn start<B: Backend>(
    backend: &Arc<B>,
    request: api::StartContainerRequest,
) -> Outcome<api::StartContainerResponse> {
    let id = lookup::container(&**backend, &request.container_id)?
        .id
        .clone();
    let backend = backend.clone();
    detached(async move { backend.start_container(&id).await }).await?;
    Ok(api::StartContainerResponse {})
}

pub(super) async fn stop<B: Backend>(
    backend: &Arc<B>,
    request: api::StopContainerRequest,
) -> Outcome<api::StopContainerResponse> {
    let grace = seconds(request.timeout)?;
    if let Some(id) = lookup::container_if_any(&**backend, &request.container_id)? {
        let backend = backend.clone();
        detached(async move { backend.stop_container(&id, grace).await }).await?;
    }
    Ok(api::StopContainerResponse {})
}

pub(super) async fn remove<B: Backend>(
    backend: &Arc<B>,
    request: api::RemoveContainerRequest,
) -> Outcome<api::RemoveContainerResponse> {
    if let Some(id) = lookup::container_if_any(&**backend, &request.container_id)? {
        let backend = backend.clone();
        detached(async move { backend.remove_container(&id).await }).await?;
    }
    Ok(api::RemoveContainerResponse {})
}

pub(super) async fn update<B: Backend>(
    backend: &Arc<B>,
    request: api::UpdateContainerResourcesRequest,
) -> Outcome<api::UpdateContainerResourcesResponse> {
    if request.windows.is_some() {
        let at = At::root("windows");
        return Err(at.wrong("is for Windows, this is Linux").into());
    }
    let resources = request
        .linux
        .map(|given| resources::resources(&At::root("linux"), given))
        .transpose()?;
    let id = lookup::container(&**backend, &request.container_id)?
        .id
        .clone();
    if let Some(resources) = resources {
        let backend = backend.clone();
        detached(async move { backend.update_container(&id, resources).await }).await?;
    }
    Ok(api::UpdateContainerResourcesResponse {})
}

pub(super) async fn reopen_log<B: Backend>(
    backend: &Arc<B>,
    request: api::ReopenContainerLogRequest,
) -> Outcome<api::ReopenContainerLogResponse> {
    let id = lookup::container(&**backend, &request.container_id)?
        .id
        .clone();
    let backend = backend.clone();
    detached(async move { backend.reopen_log(&id).await }).await?;
    Ok(api::ReopenContainerLogResponse {})
}

pub(super) fn status<B: Backend>(
    backend: &B,
    request: &api::ContainerStatusRequest,
) -> Outcome<api::ContainerStatusResponse> {
    let container = lookup::container(backend, &request.container_id)?;
    Ok(container_view::response(&container, request.verbose))
}

pub(super) fn list<B: Backend>(
    backend: &B,
    request: api::ListContainersRequest,
) -> Outcome<api::ListContainersResponse> {
    matching(backend, request.filter).map(api::ListContainersResponse::of)
}

pub(super) fn stream<B: Backend>(
    backend: &B,
    request: api::StreamContainersRequest,
) -> Outcome<Chunks<api::StreamContainersResponse>> {
    let containers = matching(backend, request.filter)?
        .into_iter()
        .map(|container| container_view::item(&container));
    Ok(chunks(containers, |containers| {
        api::StreamContainersResponse { containers }
    }))
}

/// The containers that pass, the newest first.
fn matching<B: Backend>(
    backend: &B,
    filter: Option<api::ContainerFilter>,
) -> Outcome<Vec<Arc<ContainerView>>> {
    let filter = ContainerFilter::new(filter)?;
    // Who asks by a whole ID pays for no others.
    let mut containers = match (filter.whole_id(), filter.whole_pod_id()) {
        (Some(id), _) => backend.container(&id).into_iter().collect(),
        (None, Some(pod)) => match backend.pod(&pod) {
            Some(pod) => pod.containers.clone(),
            None => Vec::new(),
        },
        (None, None) => backend.containers(),
    };
    containers.retain(|container| filter.matches(container));
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    Ok(containers)
}

/// A time given in seconds. More than a year is a year: some callers send the largest number for "long".
pub(super) fn seconds(given: i64) -> Result<Duration, FieldError> {
    match u64::try_from(given) {
        Ok(seconds) => Ok(Duration::from_secs(seconds.min(SECONDS_MAX))),
        Err(_) => Err(At::root("timeout").bad_number(given, "is not a number of seconds")),
    }
}
