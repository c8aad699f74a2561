//! A pod's life, in which each method is called as a kubelet does.

use corten::cri::api::{self, ContainerEventType as Kind};
use tonic::Code;

use super::raw::Caller;
use crate::support::{IMAGE, Node, args, image_spec, pod_net, shell};
use prost::Message;

/// A pod with a container.
struct Pair {
    pod: String,
    container: String,
}

pub(super) async fn call_all(node: &Node, caller: &mut Caller, name: &str) {
    let request = api::GetEventsRequest {}.encode_to_vec();
    let events = caller.begin("GetContainerEvents", request).await;
    about_the_node(caller).await;
    about_images(caller, name).await;
    let pair = begin(node, caller).await;
    lists(caller, &pair).await;
    streams(caller, &pair).await;
    statistics(caller, &pair).await;
    changes(node, caller, &pair).await;
    checkpoints(node, caller, &pair).await;
    end(caller, &pair).await;
    let mut events = match events {
        Ok(events) => events,
        Err(status) => return caller.say(format!("GetContainerEvents: {status}")),
    };
    for (id, kind) in [
        (&pair.pod, Kind::ContainerCreatedEvent),
        (&pair.pod, Kind::ContainerStartedEvent),
        (&pair.container, Kind::ContainerCreatedEvent),
        (&pair.container, Kind::ContainerStartedEvent),
        (&pair.container, Kind::ContainerStoppedEvent),
    ] {
        let event: api::ContainerEventResponse = events.message().await.unwrap().unwrap();
        if (&event.container_id, event.container_event_type()) != (id, kind) {
            caller.say(format!("GetContainerEvents: {event:?}, and not {kind:?}"));
        }
    }
}

async fn about_the_node(caller: &mut Caller) {
    let right = |a: &api::VersionResponse| a.runtime_api_version == "v1";
    caller
        .good("Version", api::VersionRequest::default(), right)
        .await;
    let request = api::StatusRequest { verbose: true };
    let right =
        |a: &api::StatusResponse| !a.info.is_empty() && a.status.is_some() && a.features.is_some();
    caller.good("Status", request, right).await;
    let right = |a: &api::RuntimeConfigResponse| a.linux.is_some();
    caller
        .good("RuntimeConfig", api::RuntimeConfigRequest {}, right)
        .await;
    let request = api::UpdateRuntimeConfigRequest {
        runtime_config: Some(api::RuntimeConfig {
            network_config: Some(api::NetworkConfig {
                pod_cidr: "10.1.2.0/24,fd00:1::/64".into(),
            }),
        }),
    };
    let right = |_: &api::UpdateRuntimeConfigResponse| true;
    caller.good("UpdateRuntimeConfig", request, right).await;
}

async fn about_images(caller: &mut Caller, name: &str) {
    let image = Some(image_spec(name));
    let request = api::PullImageRequest {
        image: image.clone(),
        ..Default::default()
    };
    let right = |a: &api::PullImageResponse| a.image_ref.starts_with("sha256:");
    let id = caller.good("PullImage", request, right).await.image_ref;
    let request = api::ImageStatusRequest {
        image: image.clone(),
        verbose: false,
    };
    let right = |a: &api::ImageStatusResponse| a.image.as_ref().is_some_and(|i| i.id == id);
    caller.good("ImageStatus", request, right).await;
    // The image of the tests has the same content: it is one image of two names.
    let is_it = |images: &[api::Image]| images.len() == 1 && images[0].repo_tags.len() == 2;
    let filter = Some(api::ImageFilter {
        image: image.clone(),
    });
    let request = api::ListImagesRequest {
        filter: filter.clone(),
    };
    let right = |a: &api::ListImagesResponse| is_it(&a.images);
    caller.good("ListImages", request, right).await;
    let right = |a: &api::StreamImagesResponse| is_it(&a.images);
    caller
        .good("StreamImages", api::StreamImagesRequest { filter }, right)
        .await;
    let right = |a: &api::ImageFsInfoResponse| !a.image_filesystems.is_empty();
    caller
        .good("ImageFsInfo", api::ImageFsInfoRequest {}, right)
        .await;
    let request = api::RemoveImageRequest { image };
    let right = |_: &api::RemoveImageResponse| true;
    caller.good("RemoveImage", request, right).await;
}

async fn begin(node: &Node, caller: &mut Caller) -> Pair {
    // Removing one name has removed the image.
    node.load(&crate::support::busybox(), IMAGE).await;
    let config = node.completed(&pod_net("every"));
    let request = api::RunPodSandboxRequest {
        config: Some(config.clone()),
        runtime_handler: String::new(),
    };
    let right = |a: &api::RunPodSandboxResponse| !a.pod_sandbox_id.is_empty();
    let pod = caller.good("RunPodSandbox", request, right).await;
    let pod = pod.pod_sandbox_id;
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(api::ContainerConfig {
            stdin: true,
            ..shell(
                "main",
                "echo up; trap exit TERM; cat; while :; do sleep 0.1; done",
            )
        }),
        sandbox_config: Some(config),
    };
    let right = |a: &api::CreateContainerResponse| !a.container_id.is_empty();
    let made = caller.good("CreateContainer", request, right).await;
    let container = made.container_id;
    let request = api::StartContainerRequest {
        container_id: container.clone(),
    };
    let right = |_: &api::StartContainerResponse| true;
    caller.good("StartContainer", request, right).await;
    Pair { pod, container }
}

async fn lists(caller: &mut Caller, pair: &Pair) {
    let Pair { pod, container } = pair;
    let request = api::PodSandboxStatusRequest {
        pod_sandbox_id: pod.clone(),
        verbose: true,
    };
    let right = |a: &api::PodSandboxStatusResponse| {
        a.status.as_ref().is_some_and(|s| s.id == *pod) && a.containers_statuses.len() == 1
    };
    caller.good("PodSandboxStatus", request, right).await;
    let filter = Some(api::PodSandboxFilter {
        id: pod.clone(),
        ..Default::default()
    });
    let is_it = |pods: &[api::PodSandbox]| pods.len() == 1 && pods[0].id == *pod;
    let request = api::ListPodSandboxRequest {
        filter: filter.clone(),
    };
    let right = |a: &api::ListPodSandboxResponse| is_it(&a.items);
    caller.good("ListPodSandbox", request, right).await;
    let request = api::StreamPodSandboxesRequest { filter };
    let right = |a: &api::StreamPodSandboxesResponse| is_it(&a.pod_sandboxes);
    caller.good("StreamPodSandboxes", request, right).await;
    let request = api::ContainerStatusRequest {
        container_id: container.clone(),
        verbose: true,
    };
    let right = |a: &api::ContainerStatusResponse| {
        let running = api::ContainerState::ContainerRunning;
        a.status
            .as_ref()
            .is_some_and(|s| s.id == *container && s.state() == running)
    };
    caller.good("ContainerStatus", request, right).await;
    let filter = Some(api::ContainerFilter {
        pod_sandbox_id: pod.clone(),
        ..Default::default()
    });
    let is_it = |found: &[api::Container]| found.len() == 1 && found[0].id == *container;
    let request = api::ListContainersRequest {
        filter: filter.clone(),
    };
    let right = |a: &api::ListContainersResponse| is_it(&a.containers);
    caller.good("ListContainers", request, right).await;
    let request = api::StreamContainersRequest { filter };
    let right = |a: &api::StreamContainersResponse| is_it(&a.containers);
    caller.good("StreamContainers", request, right).await;
}

async fn streams(caller: &mut Caller, pair: &Pair) {
    let Pair { pod, container } = pair;
    let request = api::ExecSyncRequest {
        container_id: container.clone(),
        cmd: args(&["sh", "-c", "echo out; echo err >&2; exit 3"]),
        timeout: 0,
    };
    let right = |a: &api::ExecSyncResponse| {
        a.stdout == b"out\n" && a.stderr == b"err\n" && a.exit_code == 3
    };
    caller.good("ExecSync", request, right).await;
    // Who asks twice gets two different tokens; what they are good for is tested where there are clients.
    let is_url = |url: &str| url.starts_with("http://127.0.0.1:") && url.len() > 40;
    for _ in 0..2 {
        let request = api::ExecRequest {
            container_id: container.clone(),
            cmd: args(&["true"]),
            stdout: true,
            ..Default::default()
        };
        let right = |a: &api::ExecResponse| is_url(&a.url);
        caller.good("Exec", request, right).await;
    }
    let request = api::AttachRequest {
        container_id: container.clone(),
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let right = |a: &api::AttachResponse| is_url(&a.url);
    caller.good("Attach", request, right).await;
    let request = api::PortForwardRequest {
        pod_sandbox_id: pod.clone(),
        port: vec![80],
    };
    let right = |a: &api::PortForwardResponse| is_url(&a.url);
    caller.good("PortForward", request, right).await;
}

async fn statistics(caller: &mut Caller, pair: &Pair) {
    let Pair { pod, container } = pair;
    let is_container = |stats: &api::ContainerStats| {
        let id = stats.attributes.as_ref().map(|a| &a.id);
        id == Some(container) && stats.cpu.is_some() && stats.memory.is_some()
    };
    let request = api::ContainerStatsRequest {
        container_id: container.clone(),
    };
    let right = |a: &api::ContainerStatsResponse| a.stats.as_ref().is_some_and(is_container);
    caller.good("ContainerStats", request, right).await;
    let request = api::ListContainerStatsRequest::default();
    let right = |a: &api::ListContainerStatsResponse| a.stats.iter().all(is_container);
    caller.good("ListContainerStats", request, right).await;
    let request = api::StreamContainerStatsRequest::default();
    let right = |a: &api::StreamContainerStatsResponse| a.container_stats.iter().all(is_container);
    caller.good("StreamContainerStats", request, right).await;
    let is_pod = |stats: &api::PodSandboxStats| {
        let id = stats.attributes.as_ref().map(|a| &a.id);
        let linux = stats.linux.as_ref();
        id == Some(pod) && linux.is_some_and(|l| l.cpu.is_some() && l.network.is_some())
    };
    let request = api::PodSandboxStatsRequest {
        pod_sandbox_id: pod.clone(),
    };
    let right = |a: &api::PodSandboxStatsResponse| a.stats.as_ref().is_some_and(is_pod);
    caller.good("PodSandboxStats", request, right).await;
    let request = api::ListPodSandboxStatsRequest::default();
    let right = |a: &api::ListPodSandboxStatsResponse| a.stats.iter().all(is_pod);
    caller.good("ListPodSandboxStats", request, right).await;
    let request = api::StreamPodSandboxStatsRequest::default();
    let right = |a: &api::StreamPodSandboxStatsResponse| a.pod_sandbox_stats.iter().all(is_pod);
    caller.good("StreamPodSandboxStats", request, right).await;
    metrics(caller, pod).await;
}

async fn metrics(caller: &mut Caller, pod: &str) {
    let request = api::ListMetricDescriptorsRequest {};
    let right = |a: &api::ListMetricDescriptorsResponse| {
        a.descriptors
            .iter()
            .any(|d| d.name == "container_memory_working_set_bytes")
    };
    caller.good("ListMetricDescriptors", request, right).await;
    let is_pod = |metrics: &api::PodSandboxMetrics| {
        metrics.pod_sandbox_id == pod && !metrics.container_metrics.is_empty()
    };
    let request = api::ListPodSandboxMetricsRequest {};
    let right = |a: &api::ListPodSandboxMetricsResponse| a.pod_metrics.iter().any(is_pod);
    caller.good("ListPodSandboxMetrics", request, right).await;
    let request = api::StreamPodSandboxMetricsRequest {};
    let right = |a: &api::StreamPodSandboxMetricsResponse| a.pod_sandbox_metrics.iter().any(is_pod);
    caller.good("StreamPodSandboxMetrics", request, right).await;
}

async fn changes(node: &Node, caller: &mut Caller, pair: &Pair) {
    let resources = api::LinuxContainerResources {
        cpu_shares: 512,
        ..Default::default()
    };
    let request = api::UpdateContainerResourcesRequest {
        container_id: pair.container.clone(),
        linux: Some(resources.clone()),
        ..Default::default()
    };
    let right = |_: &api::UpdateContainerResourcesResponse| true;
    caller
        .good("UpdateContainerResources", request, right)
        .await;
    if let Ok(status) = node.try_status(&pair.container).await {
        let linux = status.resources.and_then(|r| r.linux).unwrap_or_default();
        if linux.cpu_shares != 512 {
            caller.say(format!("UpdateContainerResources: {linux:?}"));
        }
    }
    let request = api::UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pair.pod.clone(),
        overhead: None,
        resources: Some(resources),
    };
    let right = |_: &api::UpdatePodSandboxResourcesResponse| true;
    caller
        .good("UpdatePodSandboxResources", request, right)
        .await;
    let request = api::ReopenContainerLogRequest {
        container_id: pair.container.clone(),
    };
    let right = |_: &api::ReopenContainerLogResponse| true;
    caller.good("ReopenContainerLog", request, right).await;
}

/// What is asked for is right, and is refused all the same.
async fn checkpoints(node: &Node, caller: &mut Caller, pair: &Pair) {
    let file = node.scratch.join("checkpoint").to_str().unwrap().to_owned();
    let request = api::CheckpointContainerRequest {
        container_id: pair.container.clone(),
        location: file.clone(),
        timeout: 0,
    };
    let no = Code::Unimplemented;
    caller
        .bad("CheckpointContainer", request.encode_to_vec(), no)
        .await;
    let request = api::CheckpointPodRequest {
        pod_sandbox_id: pair.pod.clone(),
        output_path: file.clone(),
        ..Default::default()
    };
    caller
        .bad("CheckpointPod", request.encode_to_vec(), no)
        .await;
    let request = api::RestorePodRequest {
        checkpoint_path: file,
        config: Some(node.completed(&pod_net("restored"))),
        ..Default::default()
    };
    caller.bad("RestorePod", request.encode_to_vec(), no).await;
}

async fn end(caller: &mut Caller, pair: &Pair) {
    let request = api::StopContainerRequest {
        container_id: pair.container.clone(),
        timeout: 10,
    };
    let right = |_: &api::StopContainerResponse| true;
    caller.good("StopContainer", request, right).await;
    let request = api::RemoveContainerRequest {
        container_id: pair.container.clone(),
    };
    let right = |_: &api::RemoveContainerResponse| true;
    caller.good("RemoveContainer", request, right).await;
    let request = api::StopPodSandboxRequest {
        pod_sandbox_id: pair.pod.clone(),
    };
    let right = |_: &api::StopPodSandboxResponse| true;
    caller.good("StopPodSandbox", request, right).await;
    let request = api::RemovePodSandboxRequest {
        pod_sandbox_id: pair.pod.clone(),
    };
    let right = |_: &api::RemovePodSandboxResponse| true;
    caller.good("RemovePodSandbox", request, right).await;
}
