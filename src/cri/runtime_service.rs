//! `RuntimeService`: each method checks its request, asks the backend and converts the answer.

mod checkpoint;
mod containers;
mod events;
mod exec;
mod node;
mod pods;
mod stats;
mod streams;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tonic::{Request, Response, Status, async_trait};

use super::{
    api::{self, runtime_service_server::RuntimeService},
    backend::{Backend, Outcome},
    chunks::Chunks,
};

/// The service on top of a backend.
#[derive(Debug)]
pub struct Runtime<B> {
    backend: Arc<B>,
}

impl<B: Backend> Runtime<B> {
    /// A service that answers from `backend`.
    pub fn new(backend: Arc<B>) -> Self {
        Self { backend }
    }
}

fn answer<T>(outcome: Outcome<T>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(Status::from)
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|t| i64::try_from(t.as_nanos()).ok())
        .unwrap_or(0)
}

#[async_trait]
impl<B: Backend> RuntimeService for Runtime<B> {
    type StreamPodSandboxesStream = Chunks<api::StreamPodSandboxesResponse>;
    type StreamContainersStream = Chunks<api::StreamContainersResponse>;
    type StreamContainerStatsStream = Chunks<api::StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Chunks<api::StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = Chunks<api::StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = Chunks<api::ContainerEventResponse>;

    async fn version(
        &self,
        _: Request<api::VersionRequest>,
    ) -> Result<Response<api::VersionResponse>, Status> {
        answer(Ok(node::version()))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<api::RunPodSandboxRequest>,
    ) -> Result<Response<api::RunPodSandboxResponse>, Status> {
        answer(pods::run(&self.backend, request.into_inner()).await)
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<api::StopPodSandboxRequest>,
    ) -> Result<Response<api::StopPodSandboxResponse>, Status> {
        answer(pods::stop(&self.backend, request.into_inner()).await)
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<api::RemovePodSandboxRequest>,
    ) -> Result<Response<api::RemovePodSandboxResponse>, Status> {
        answer(pods::remove(&self.backend, request.into_inner()).await)
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<api::PodSandboxStatusRequest>,
    ) -> Result<Response<api::PodSandboxStatusResponse>, Status> {
        answer(pods::status(&*self.backend, request.get_ref()))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<api::ListPodSandboxRequest>,
    ) -> Result<Response<api::ListPodSandboxResponse>, Status> {
        answer(pods::list(&*self.backend, request.into_inner()))
    }

    async fn stream_pod_sandboxes(
        &self,
        request: Request<api::StreamPodSandboxesRequest>,
    ) -> Result<Response<Self::StreamPodSandboxesStream>, Status> {
        answer(pods::stream(&*self.backend, request.into_inner()))
    }

    async fn create_container(
        &self,
        request: Request<api::CreateContainerRequest>,
    ) -> Result<Response<api::CreateContainerResponse>, Status> {
        answer(containers::create(&self.backend, request.into_inner()).await)
    }

    async fn start_container(
        &self,
        request: Request<api::StartContainerRequest>,
    ) -> Result<Response<api::StartContainerResponse>, Status> {
        answer(containers::start(&self.backend, request.into_inner()).await)
    }

    async fn stop_container(
        &self,
        request: Request<api::StopContainerRequest>,
    ) -> Result<Response<api::StopContainerResponse>, Status> {
        answer(containers::stop(&self.backend, request.into_inner()).await)
    }

    async fn remove_container(
        &self,
        request: Request<api::RemoveContainerRequest>,
    ) -> Result<Response<api::RemoveContainerResponse>, Status> {
        answer(containers::remove(&self.backend, request.into_inner()).await)
    }

    async fn list_containers(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Result<Response<api::ListContainersResponse>, Status> {
        answer(containers::list(&*self.backend, request.into_inner()))
    }

    async fn stream_containers(
        &self,
        request: Request<api::StreamContainersRequest>,
    ) -> Result<Response<Self::StreamContainersStream>, Status> {
        answer(containers::stream(&*self.backend, request.into_inner()))
    }

    async fn container_status(
        &self,
        request: Request<api::ContainerStatusRequest>,
    ) -> Result<Response<api::ContainerStatusResponse>, Status> {
        answer(containers::status(&*self.backend, request.get_ref()))
    }

    async fn update_container_resources(
        &self,
        request: Request<api::UpdateContainerResourcesRequest>,
    ) -> Result<Response<api::UpdateContainerResourcesResponse>, Status> {
        answer(containers::update(&self.backend, request.into_inner()).await)
    }

    async fn reopen_container_log(
        &self,
        request: Request<api::ReopenContainerLogRequest>,
    ) -> Result<Response<api::ReopenContainerLogResponse>, Status> {
        answer(containers::reopen_log(&self.backend, request.into_inner()).await)
    }

    async fn exec_sync(
        &self,
        request: Request<api::ExecSyncRequest>,
    ) -> Result<Response<api::ExecSyncResponse>, Status> {
        answer(exec::sync(&*self.backend, request.into_inner()).await)
    }

    async fn update_runtime_config(
        &self,
        request: Request<api::UpdateRuntimeConfigRequest>,
    ) -> Result<Response<api::UpdateRuntimeConfigResponse>, Status> {
        answer(node::update_runtime_config(&self.backend, request.get_ref()).await)
    }

    async fn status(
        &self,
        request: Request<api::StatusRequest>,
    ) -> Result<Response<api::StatusResponse>, Status> {
        answer(Ok(node::status(&*self.backend, request.get_ref())))
    }

    async fn runtime_config(
        &self,
        _: Request<api::RuntimeConfigRequest>,
    ) -> Result<Response<api::RuntimeConfigResponse>, Status> {
        answer(Ok(node::runtime_config(&*self.backend)))
    }

    async fn exec(
        &self,
        request: Request<api::ExecRequest>,
    ) -> Result<Response<api::ExecResponse>, Status> {
        answer(streams::exec(&*self.backend, request.into_inner()))
    }

    async fn attach(
        &self,
        request: Request<api::AttachRequest>,
    ) -> Result<Response<api::AttachResponse>, Status> {
        answer(streams::attach(&*self.backend, request.into_inner()))
    }

    async fn port_forward(
        &self,
        request: Request<api::PortForwardRequest>,
    ) -> Result<Response<api::PortForwardResponse>, Status> {
        answer(streams::port_forward(&*self.backend, request.into_inner()))
    }

    async fn container_stats(
        &self,
        request: Request<api::ContainerStatsRequest>,
    ) -> Result<Response<api::ContainerStatsResponse>, Status> {
        answer(stats::container(&*self.backend, request.get_ref()).await)
    }

    async fn list_container_stats(
        &self,
        request: Request<api::ListContainerStatsRequest>,
    ) -> Result<Response<api::ListContainerStatsResponse>, Status> {
        answer(stats::list_containers(&*self.backend, request.into_inner()).await)
    }

    async fn stream_container_stats(
        &self,
        request: Request<api::StreamContainerStatsRequest>,
    ) -> Result<Response<Self::StreamContainerStatsStream>, Status> {
        answer(stats::stream_containers(&*self.backend, request.into_inner()).await)
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<api::PodSandboxStatsRequest>,
    ) -> Result<Response<api::PodSandboxStatsResponse>, Status> {
        answer(stats::pod(&*self.backend, request.get_ref()).await)
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<api::ListPodSandboxStatsRequest>,
    ) -> Result<Response<api::ListPodSandboxStatsResponse>, Status> {
        answer(stats::list_pods(&*self.backend, request.into_inner()).await)
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<api::StreamPodSandboxStatsRequest>,
    ) -> Result<Response<Self::StreamPodSandboxStatsStream>, Status> {
        answer(stats::stream_pods(&*self.backend, request.into_inner()).await)
    }

    async fn checkpoint_container(
        &self,
        request: Request<api::CheckpointContainerRequest>,
    ) -> Result<Response<api::CheckpointContainerResponse>, Status> {
        answer(checkpoint::container(&*self.backend, request.get_ref()))
    }

    async fn checkpoint_pod(
        &self,
        request: Request<api::CheckpointPodRequest>,
    ) -> Result<Response<api::CheckpointPodResponse>, Status> {
        answer(checkpoint::pod(&*self.backend, request.into_inner()))
    }

    async fn restore_pod(
        &self,
        request: Request<api::RestorePodRequest>,
    ) -> Result<Response<api::RestorePodResponse>, Status> {
        answer(checkpoint::restore(request.into_inner()))
    }

    async fn get_container_events(
        &self,
        _: Request<api::GetEventsRequest>,
    ) -> Result<Response<Self::GetContainerEventsStream>, Status> {
        answer(events::subscribe(&*self.backend))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<api::ListMetricDescriptorsRequest>,
    ) -> Result<Response<api::ListMetricDescriptorsResponse>, Status> {
        answer(Ok(stats::descriptors()))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<api::ListPodSandboxMetricsRequest>,
    ) -> Result<Response<api::ListPodSandboxMetricsResponse>, Status> {
        answer(stats::list_metrics(&*self.backend).await)
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<api::StreamPodSandboxMetricsRequest>,
    ) -> Result<Response<Self::StreamPodSandboxMetricsStream>, Status> {
        answer(stats::stream_metrics(&*self.backend).await)
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<api::UpdatePodSandboxResourcesRequest>,
    ) -> Result<Response<api::UpdatePodSandboxResourcesResponse>, Status> {
        answer(pods::update_resources(&self.backend, request.into_inner()).await)
    }
}
