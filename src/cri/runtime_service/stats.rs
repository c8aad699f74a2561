//! What sandboxes and containers use.

use std::sync::Arc;

use crate::{
    cri::{
        api,
        backend::{Backend, Measured, Outcome},
        chunks::{Chunks, chunks},
        convert::{
            filter::{ContainerFilter, PodFilter},
            metrics, stats,
        },
        lookup,
        status::{Failure, Kind},
    },
    pod::view::PodViewState,
    stats::{
        metrics::{families, of},
        sample::{ContainerSample, Detail, PodSample},
    },
};

pub(super) async fn container<B: Backend>(
    backend: &B,
    request: &api::ContainerStatsRequest,
) -> Outcome<api::ContainerStatsResponse> {
    let view = lookup::container(backend, &request.container_id)?;
    let sample = backend.measure_containers(vec![view]).await?.pop();
    // It went away while it was being measured.
    let sample = sample.ok_or_else(|| gone("container", &request.container_id))?;
    Ok(api::ContainerStatsResponse {
        stats: Some(stats::container(&sample)),
    })
}

pub(super) async fn list_containers<B: Backend>(
    backend: &B,
    request: api::ListContainerStatsRequest,
) -> Outcome<api::ListContainerStatsResponse> {
    let samples = matching_containers(backend, request.filter).await?;
    Ok(api::ListContainerStatsResponse {
        stats: samples.iter().map(stats::container).collect(),
    })
}

pub(super) async fn stream_containers<B: Backend>(
    backend: &B,
    request: api::StreamContainerStatsRequest,
) -> Outcome<Chunks<api::StreamContainerStatsResponse>> {
    let samples = matching_containers(backend, request.filter).await?;
    let samples = samples.into_iter().map(|sample| stats::container(&sample));
    Ok(chunks(samples, |container_stats| {
        api::StreamContainerStatsResponse { container_stats }
    }))
}

pub(super) async fn pod<B: Backend>(
    backend: &B,
    request: &api::PodSandboxStatsRequest,
) -> Outcome<api::PodSandboxStatsResponse> {
    let view = lookup::pod(backend, &request.pod_sandbox_id)?;
    let sample = backend.measure_pods(vec![view], Detail::Stats).await?;
    let sample = sample.pods.first();
    let sample = sample.ok_or_else(|| gone("sandbox", &request.pod_sandbox_id))?;
    Ok(api::PodSandboxStatsResponse {
        stats: Some(stats::pod(sample)),
    })
}

pub(super) async fn list_pods<B: Backend>(
    backend: &B,
    request: api::ListPodSandboxStatsRequest,
) -> Outcome<api::ListPodSandboxStatsResponse> {
    let samples = matching_pods(backend, request.filter).await?;
    Ok(api::ListPodSandboxStatsResponse {
        stats: samples.iter().map(stats::pod).collect(),
    })
}

pub(super) async fn stream_pods<B: Backend>(
    backend: &B,
    request: api::StreamPodSandboxStatsRequest,
) -> Outcome<Chunks<api::StreamPodSandboxStatsResponse>> {
    let samples = matching_pods(backend, request.filter).await?;
    let samples = samples.into_iter().map(|sample| stats::pod(&sample));
    Ok(chunks(samples, |pod_sandbox_stats| {
        api::StreamPodSandboxStatsResponse { pod_sandbox_stats }
    }))
}

pub(super) fn descriptors() -> api::ListMetricDescriptorsResponse {
    api::ListMetricDescriptorsResponse {
        descriptors: families().map(metrics::descriptor).collect(),
    }
}

pub(super) async fn list_metrics<B: Backend>(
    backend: &B,
) -> Outcome<api::ListPodSandboxMetricsResponse> {
    Ok(api::ListPodSandboxMetricsResponse {
        pod_metrics: all_metrics(backend).await?.collect(),
    })
}

pub(super) async fn stream_metrics<B: Backend>(
    backend: &B,
) -> Outcome<Chunks<api::StreamPodSandboxMetricsResponse>> {
    Ok(chunks(all_metrics(backend).await?, |pod_sandbox_metrics| {
        api::StreamPodSandboxMetricsResponse {
            pod_sandbox_metrics,
        }
    }))
}

/// The containers that pass, measured, the newest first.
async fn matching_containers<B: Backend>(
    backend: &B,
    filter: Option<api::ContainerStatsFilter>,
) -> Outcome<Vec<ContainerSample>> {
    let filter = ContainerFilter::of_stats(filter);
    let mut views = backend.containers();
    views.retain(|view| filter.matches(view));
    views.sort_by_key(|view| std::cmp::Reverse(view.created_at));
    backend.measure_containers(views).await
}

/// The sandboxes that pass, measured, the newest first.
async fn matching_pods<B: Backend>(
    backend: &B,
    filter: Option<api::PodSandboxStatsFilter>,
) -> Outcome<Vec<PodSample>> {
    let filter = PodFilter::of_stats(filter);
    let mut views = backend.pods();
    views.retain(|view| filter.matches(view));
    views.sort_by_key(|view| std::cmp::Reverse(view.created_at));
    let measured = backend.measure_pods(views, Detail::Stats).await?;
    Ok(Arc::unwrap_or_clone(measured.pods))
}

/// Metrics of the sandboxes that are up. They are put together when they are about to be sent.
async fn all_metrics<B: Backend>(
    backend: &B,
) -> Outcome<impl Iterator<Item = api::PodSandboxMetrics> + Send + use<B>> {
    let mut views = backend.pods();
    views.retain(|view| view.state == PodViewState::Ready);
    let Measured { pods, machine } = backend.measure_pods(views, Detail::Metrics).await?;
    let pods = Arc::unwrap_or_clone(pods);
    Ok(pods
        .into_iter()
        .map(move |pod| metrics::pod(of(&pod, &machine))))
}

fn gone(what: &str, id: &str) -> Failure {
    Failure::new(
        Kind::NotFound,
        format!("{what} {id:?} has just been removed"),
    )
}
