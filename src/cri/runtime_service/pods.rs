//! Verbs of sandboxes.

use std::sync::Arc;

use crate::cri::{
    api,
    backend::{Backend, Outcome},
    chunks::{Chunks, chunks},
    convert::{error::At, filter::PodFilter, pod, pod_view, resources},
    detached::detached,
    lookup,
};
use crate::pod::{limits::PodResources, view::PodView};

pub(super) async fn run<B: Backend>(
    backend: &Arc<B>,
    request: api::RunPodSandboxRequest,
) -> Outcome<api::RunPodSandboxResponse> {
    let spec = pod::spec(request.config, request.runtime_handler)?;
    let backend = backend.clone();
    let id = detached(async move { backend.run_pod(spec).await }).await?;
    Ok(api::RunPodSandboxResponse {
        pod_sandbox_id: id.to_string(),
    })
}

pub(super) async fn stop<B: Backend>(
    backend: &Arc<B>,
    request: api::StopPodSandboxRequest,
) -> Outcome<api::StopPodSandboxResponse> {
    if let Some(id) = lookup::pod_if_any(&**backend, &request.pod_sandbox_id)? {
        let backend = backend.clone();
        detached(async move { backend.stop_pod(&id).await }).await?;
    }
    Ok(api::StopPodSandboxResponse {})
}

pub(super) async fn remove<B: Backend>(
    backend: &Arc<B>,
    request: api::RemovePodSandboxRequest,
) -> Outcome<api::RemovePodSandboxResponse> {
    if let Some(id) = lookup::pod_if_any(&**backend, &request.pod_sandbox_id)? {
        let backend = backend.clone();
        detached(async move { backend.remove_pod(&id).await }).await?;
    }
    Ok(api::RemovePodSandboxResponse {})
}

pub(super) fn status<B: Backend>(
    backend: &B,
    request: &api::PodSandboxStatusRequest,
) -> Outcome<api::PodSandboxStatusResponse> {
    // Before the look: what happens after it has a later time, and is not taken for older news.
    let now = super::now();
    let pod = lookup::pod(backend, &request.pod_sandbox_id)?;
    Ok(pod_view::response(&pod, request.verbose, now))
}

pub(super) async fn update_resources<B: Backend>(
    backend: &Arc<B>,
    request: api::UpdatePodSandboxResourcesRequest,
) -> Outcome<api::UpdatePodSandboxResourcesResponse> {
    let given = |name: &'static str, limits: Option<_>| {
        let convert = |limits| resources::resources(&At::root(name), limits);
        limits.map(convert).transpose()
    };
    let changes = PodResources {
        overhead: given("overhead", request.overhead)?,
        containers: given("resources", request.resources)?,
    };
    let id = lookup::pod(&**backend, &request.pod_sandbox_id)?.id.clone();
    if changes != PodResources::default() {
        let backend = backend.clone();
        detached(async move { backend.update_pod(&id, changes).await }).await?;
    }
    Ok(api::UpdatePodSandboxResourcesResponse {})
}

pub(super) fn list<B: Backend>(
    backend: &B,
    request: api::ListPodSandboxRequest,
) -> Outcome<api::ListPodSandboxResponse> {
    matching(backend, request.filter).map(api::ListPodSandboxResponse::of)
}

pub(super) fn stream<B: Backend>(
    backend: &B,
    request: api::StreamPodSandboxesRequest,
) -> Outcome<Chunks<api::StreamPodSandboxesResponse>> {
    let pods = matching(backend, request.filter)?
        .into_iter()
        .map(|pod| pod_view::item(&pod));
    Ok(chunks(pods, |pod_sandboxes| {
        api::StreamPodSandboxesResponse { pod_sandboxes }
    }))
}

/// The sandboxes that pass, the newest first.
fn matching<B: Backend>(
    backend: &B,
    filter: Option<api::PodSandboxFilter>,
) -> Outcome<Vec<Arc<PodView>>> {
    let filter = PodFilter::new(filter)?;
    // Who asks by a whole ID pays for no others.
    let mut pods = match filter.whole_id() {
        Some(id) => backend.pod(&id).into_iter().collect(),
        None => backend.pods(),
    };
    pods.retain(|pod| filter.matches(pod));
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));
    Ok(pods)
}
