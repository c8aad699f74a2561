//! Requests that cannot be right, or ask for what is not there.

use corten::cri::api;
use prost::Message;
use tonic::Code::{InvalidArgument, NotFound};

use super::raw::Caller;
use crate::support::{IMAGE, Node, args, container, image_spec, pod};

/// An ID that nothing has.
const NOBODY: &str = "feedfacefeedface";

pub(super) async fn call_all(node: &Node, caller: &mut Caller) {
    let (_, pod, container) = node.idle("bad").await;
    pods(node, caller).await;
    containers(caller, &pod, &container).await;
    streams(caller, &pod, &container).await;
    others(caller, &pod, &container).await;
    images(caller).await;
    // All of this has changed nothing.
    if node.containers(None).await.len() != 1 || node.pods(None).await.len() != 1 {
        caller.say("something was made or removed".to_owned());
    }
}

/// A method that takes nothing but an ID: refuses one that nothing has, and none.
async fn id_of<M: Message>(caller: &mut Caller, method: &str, with: impl Fn(String) -> M) {
    let request = with(NOBODY.to_owned()).encode_to_vec();
    caller.bad(method, request, NotFound).await;
    let request = with(String::new()).encode_to_vec();
    caller.bad(method, request, InvalidArgument).await;
}

/// A method that succeeds for what is not there: refuses no ID at all.
async fn no_id(caller: &mut Caller, method: &str, request: impl Message) {
    caller
        .bad(method, request.encode_to_vec(), InvalidArgument)
        .await;
}

async fn pods(node: &Node, caller: &mut Caller) {
    no_id(
        caller,
        "RunPodSandbox",
        api::RunPodSandboxRequest::default(),
    )
    .await;
    let request = api::RunPodSandboxRequest {
        config: Some(node.completed(&pod("bad-handler"))),
        runtime_handler: "no/handler".to_owned(),
    };
    no_id(caller, "RunPodSandbox", request).await;
    no_id(
        caller,
        "StopPodSandbox",
        api::StopPodSandboxRequest::default(),
    )
    .await;
    no_id(
        caller,
        "RemovePodSandbox",
        api::RemovePodSandboxRequest::default(),
    )
    .await;
    id_of(caller, "PodSandboxStatus", |pod_sandbox_id| {
        api::PodSandboxStatusRequest {
            pod_sandbox_id,
            verbose: false,
        }
    })
    .await;
    let filter = Some(api::PodSandboxFilter {
        state: Some(api::PodSandboxStateValue { state: 7 }),
        ..Default::default()
    });
    let request = api::ListPodSandboxRequest {
        filter: filter.clone(),
    };
    no_id(caller, "ListPodSandbox", request).await;
    let request = api::StreamPodSandboxesRequest { filter };
    no_id(caller, "StreamPodSandboxes", request).await;
    id_of(caller, "PodSandboxStats", |pod_sandbox_id| {
        api::PodSandboxStatsRequest { pod_sandbox_id }
    })
    .await;
    id_of(caller, "UpdatePodSandboxResources", |pod_sandbox_id| {
        api::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id,
            ..Default::default()
        }
    })
    .await;
}

async fn containers(caller: &mut Caller, pod: &str, id: &str) {
    let config = Some(container("other", &["true"]));
    id_of(caller, "CreateContainer", |pod_sandbox_id| {
        api::CreateContainerRequest {
            pod_sandbox_id,
            config: config.clone(),
            sandbox_config: None,
        }
    })
    .await;
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        ..Default::default()
    };
    no_id(caller, "CreateContainer", request).await;
    id_of(caller, "StartContainer", |container_id| {
        api::StartContainerRequest { container_id }
    })
    .await;
    let request = api::StopContainerRequest {
        container_id: id.to_owned(),
        timeout: -1,
    };
    no_id(caller, "StopContainer", request).await;
    no_id(
        caller,
        "RemoveContainer",
        api::RemoveContainerRequest::default(),
    )
    .await;
    let filter = Some(api::ContainerFilter {
        state: Some(api::ContainerStateValue { state: 9 }),
        ..Default::default()
    });
    let request = api::ListContainersRequest {
        filter: filter.clone(),
    };
    no_id(caller, "ListContainers", request).await;
    let request = api::StreamContainersRequest { filter };
    no_id(caller, "StreamContainers", request).await;
    id_of(caller, "ContainerStatus", |container_id| {
        api::ContainerStatusRequest {
            container_id,
            verbose: false,
        }
    })
    .await;
    id_of(caller, "ContainerStats", |container_id| {
        api::ContainerStatsRequest { container_id }
    })
    .await;
    id_of(caller, "ReopenContainerLog", |container_id| {
        api::ReopenContainerLogRequest { container_id }
    })
    .await;
    let update = |container_id, cpu_shares| api::UpdateContainerResourcesRequest {
        container_id,
        linux: Some(api::LinuxContainerResources {
            cpu_shares,
            ..Default::default()
        }),
        ..Default::default()
    };
    id_of(caller, "UpdateContainerResources", |id| update(id, 512)).await;
    no_id(caller, "UpdateContainerResources", update(id.to_owned(), 1)).await;
}

async fn streams(caller: &mut Caller, pod: &str, container: &str) {
    let sync = |container_id, cmd: &[&str], timeout| api::ExecSyncRequest {
        container_id,
        cmd: args(cmd),
        timeout,
    };
    id_of(caller, "ExecSync", |id| sync(id, &["true"], 0)).await;
    no_id(caller, "ExecSync", sync(container.to_owned(), &[], 0)).await;
    no_id(
        caller,
        "ExecSync",
        sync(container.to_owned(), &["true"], -5),
    )
    .await;
    let exec = |container_id, cmd: &[&str], tty| api::ExecRequest {
        container_id,
        cmd: args(cmd),
        tty,
        stdin: true,
        stdout: true,
        stderr: true,
    };
    id_of(caller, "Exec", |id| exec(id, &["true"], false)).await;
    no_id(caller, "Exec", exec(container.to_owned(), &[], false)).await;
    // A terminal has one stream of output.
    no_id(caller, "Exec", exec(container.to_owned(), &["true"], true)).await;
    let attach = |container_id, stdout| api::AttachRequest {
        container_id,
        stdout,
        ..Default::default()
    };
    id_of(caller, "Attach", |id| attach(id, true)).await;
    no_id(caller, "Attach", attach(container.to_owned(), false)).await;
    let forward = |pod_sandbox_id, port| api::PortForwardRequest {
        pod_sandbox_id,
        port: vec![port],
    };
    id_of(caller, "PortForward", |id| forward(id, 80)).await;
    no_id(caller, "PortForward", forward(pod.to_owned(), 0)).await;
    no_id(caller, "PortForward", forward(pod.to_owned(), 65536)).await;
}

async fn others(caller: &mut Caller, pod_id: &str, container_id: &str) {
    let request = api::UpdateRuntimeConfigRequest {
        runtime_config: Some(api::RuntimeConfig {
            network_config: Some(api::NetworkConfig {
                pod_cidr: "10.0.0.0/33".to_owned(),
            }),
        }),
    };
    no_id(caller, "UpdateRuntimeConfig", request).await;
    let checkpoint = |container_id, location: &str| api::CheckpointContainerRequest {
        container_id,
        location: location.to_owned(),
        timeout: 0,
    };
    id_of(caller, "CheckpointContainer", |id| checkpoint(id, "/file")).await;
    let request = checkpoint(container_id.to_owned(), "file");
    no_id(caller, "CheckpointContainer", request).await;
    let checkpoint = |pod_sandbox_id, output_path: &str| api::CheckpointPodRequest {
        pod_sandbox_id,
        output_path: output_path.to_owned(),
        ..Default::default()
    };
    id_of(caller, "CheckpointPod", |id| checkpoint(id, "/file")).await;
    let request = checkpoint(pod_id.to_owned(), "file");
    no_id(caller, "CheckpointPod", request).await;
    let request = api::RestorePodRequest {
        checkpoint_path: "file".to_owned(),
        config: Some(pod("restored")),
        ..Default::default()
    };
    no_id(caller, "RestorePod", request).await;
}

async fn images(caller: &mut Caller) {
    no_id(caller, "ImageStatus", api::ImageStatusRequest::default()).await;
    no_id(caller, "PullImage", api::PullImageRequest::default()).await;
    let request = api::PullImageRequest {
        image: Some(api::ImageSpec {
            runtime_handler: "nobody".to_owned(),
            ..image_spec(IMAGE)
        }),
        ..Default::default()
    };
    no_id(caller, "PullImage", request).await;
    no_id(caller, "RemoveImage", api::RemoveImageRequest::default()).await;
}
