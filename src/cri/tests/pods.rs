use super::{Served, refused};
use crate::cri::api;
use tonic::Code;

fn run(name: &str) -> api::RunPodSandboxRequest {
    api::RunPodSandboxRequest {
        config: Some(api::PodSandboxConfig {
            metadata: Some(api::PodSandboxMetadata {
                name: name.into(),
                uid: "u".into(),
                namespace: "n".into(),
                attempt: 0,
            }),
            ..Default::default()
        }),
        runtime_handler: String::new(),
    }
}

fn status(id: &str) -> api::PodSandboxStatusRequest {
    api::PodSandboxStatusRequest {
        pod_sandbox_id: id.into(),
        verbose: true,
    }
}

fn by_id(id: &str) -> api::ListPodSandboxRequest {
    api::ListPodSandboxRequest {
        filter: Some(api::PodSandboxFilter {
            id: id.into(),
            ..Default::default()
        }),
    }
}

#[tokio::test]
async fn from_run_to_remove() {
    let served = Served::start().await;
    let mut runtime = served.runtime();
    let id = runtime
        .run_pod_sandbox(run("web"))
        .await
        .unwrap()
        .into_inner()
        .pod_sandbox_id;
    let again = runtime
        .run_pod_sandbox(run("web"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.pod_sandbox_id, id);
    let answer = runtime
        .pod_sandbox_status(status(&id))
        .await
        .unwrap()
        .into_inner();
    assert!(answer.info["info"].contains(&id) && answer.timestamp > 0);
    assert_eq!(answer.status.unwrap().network.unwrap().ip, "10.0.0.1");

    let pod_sandbox_id = id[..8].to_owned();
    for _ in 0..2 {
        let request = api::StopPodSandboxRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
        };
        runtime.stop_pod_sandbox(request).await.unwrap();
    }
    assert!(served.backend.saw(&format!("stop_pod {id}")));
    for _ in 0..2 {
        let request = api::RemovePodSandboxRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
        };
        runtime.remove_pod_sandbox(request).await.unwrap();
    }
    let list = runtime
        .list_pod_sandbox(by_id(""))
        .await
        .unwrap()
        .into_inner();
    assert!(list.items.is_empty());
}

#[tokio::test]
async fn names_that_are_not_there() {
    let served = Served::start().await;
    let mut runtime = served.runtime();
    let unknown = "ab".repeat(32);
    for id in [unknown.as_str(), "abc"] {
        let (code, message) = refused(runtime.pod_sandbox_status(status(id)).await);
        assert_eq!(code, Code::NotFound);
        assert!(message.contains(id), "{message}");
    }
    let (code, message) = refused(runtime.pod_sandbox_status(status("")).await);
    assert_eq!(
        (code, message.as_str()),
        (Code::InvalidArgument, "pod_sandbox_id: is empty")
    );
    let (code, message) = refused(runtime.pod_sandbox_status(status("../x")).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("\"../x\""), "{message}");

    // Stopping and removing what is not there succeeds, whatever it is called.
    for id in [
        unknown.as_str(),
        "abc",
        "0b7a0a30-8c9d-4b0e-a8a5-0f1f6b1c2d3e",
    ] {
        let pod_sandbox_id = id.to_owned();
        let stop = api::StopPodSandboxRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
        };
        runtime.stop_pod_sandbox(stop).await.unwrap();
        let remove = api::RemovePodSandboxRequest { pod_sandbox_id };
        runtime.remove_pod_sandbox(remove).await.unwrap();
        assert!(
            runtime
                .list_pod_sandbox(by_id(id))
                .await
                .unwrap()
                .into_inner()
                .items
                .is_empty()
        );
    }
    let stop = api::StopPodSandboxRequest::default();
    assert_eq!(
        refused(runtime.stop_pod_sandbox(stop).await).0,
        Code::InvalidArgument
    );
    let remove = api::RemovePodSandboxRequest::default();
    assert_eq!(
        refused(runtime.remove_pod_sandbox(remove).await).0,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn an_ambiguous_prefix_names_its_candidates() {
    let served = Served::start().await;
    // IDs of 0x11… and 0x12…
    let ((a, _), (b, _)) = (served.backend.add(0x11), served.backend.add(0x12));
    let mut runtime = served.runtime();
    let (code, message) = refused(runtime.pod_sandbox_status(status("1")).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(
        message.contains(a.as_str()) && message.contains(b.as_str()),
        "{message}"
    );
    let remove = api::RemovePodSandboxRequest {
        pod_sandbox_id: "1".into(),
    };
    assert_eq!(
        refused(runtime.remove_pod_sandbox(remove).await).0,
        Code::InvalidArgument
    );
    let answer = runtime
        .pod_sandbox_status(status("12"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status.unwrap().id, b.as_str());
    assert_eq!(answer.containers_statuses.len(), 1);
}

#[tokio::test]
async fn refusals_name_the_field() {
    let served = Served::start().await;
    let mut runtime = served.runtime();
    let mut request = run("");
    assert_eq!(
        refused(runtime.run_pod_sandbox(request.clone()).await),
        (
            Code::InvalidArgument,
            "config.metadata.name: is required".into()
        )
    );
    request.config = None;
    assert_eq!(
        refused(runtime.run_pod_sandbox(request).await),
        (Code::InvalidArgument, "config: is required".into())
    );
    assert!(!served.backend.saw("run_pod"));
}

#[tokio::test]
async fn a_client_that_leaves_stops_nothing() {
    let served = Served::start().await;
    let gate = served
        .backend
        .gate
        .acquire_many(u32::MAX >> 3)
        .await
        .unwrap();
    let held = served.backend.gate.available_permits();
    served.backend.gate.forget_permits(held);
    let mut runtime = served.runtime();
    let mut hasty = served.runtime();
    let first = tokio::spawn(async move { hasty.run_pod_sandbox(run("web")).await });
    while !served.backend.saw("run_pod") {
        tokio::task::yield_now().await;
    }
    first.abort();
    let _ = first.await;
    drop(gate);
    let id = runtime
        .run_pod_sandbox(run("web"))
        .await
        .unwrap()
        .into_inner()
        .pod_sandbox_id;
    let list = runtime
        .list_pod_sandbox(by_id(&id))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.items.len(), 1);
    assert!(served.backend.saw("made"));
}

#[tokio::test]
async fn streams_carry_what_lists_do() {
    let served = Served::start().await;
    for n in 1..=20 {
        served.backend.add(n);
    }
    let mut runtime = served.runtime();
    let list = runtime
        .list_pod_sandbox(by_id(""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.items.len(), 20);
    assert!(
        list.items
            .is_sorted_by_key(|p| std::cmp::Reverse(p.created_at))
    );
    let mut stream = runtime
        .stream_pod_sandboxes(api::StreamPodSandboxesRequest { filter: None })
        .await
        .unwrap()
        .into_inner();
    let mut streamed = vec![];
    while let Some(chunk) = stream.message().await.unwrap() {
        streamed.extend(chunk.pod_sandboxes);
    }
    assert_eq!(streamed, list.items);
}

#[tokio::test]
async fn resources_of_a_whole_pod() {
    let served = Served::start().await;
    let (pod, _) = served.backend.add(1);
    let mut runtime = served.runtime();
    let limits = |memory| {
        Some(api::LinuxContainerResources {
            memory_limit_in_bytes: memory,
            ..Default::default()
        })
    };
    let request = api::UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pod.to_string(),
        overhead: limits(5),
        resources: limits(7),
    };
    runtime
        .update_pod_sandbox_resources(request.clone())
        .await
        .unwrap();
    let status = api::PodSandboxStatusRequest {
        pod_sandbox_id: pod.to_string(),
        verbose: true,
    };
    let status = runtime.pod_sandbox_status(status).await.unwrap();
    let info: serde_json::Value = serde_json::from_str(&status.into_inner().info["info"]).unwrap();
    assert_eq!(info["overhead"]["memory_limit"], 5);
    assert_eq!(info["resources"]["memory_limit"], 7);
    for (bad, expected, word) in [
        (
            api::UpdatePodSandboxResourcesRequest {
                pod_sandbox_id: "feedface".into(),
                ..request.clone()
            },
            Code::NotFound,
            "feedface",
        ),
        (
            api::UpdatePodSandboxResourcesRequest {
                overhead: limits(-5),
                ..request.clone()
            },
            Code::InvalidArgument,
            "overhead.memory_limit_in_bytes: -5",
        ),
        (
            api::UpdatePodSandboxResourcesRequest {
                resources: limits(-5),
                ..request
            },
            Code::InvalidArgument,
            "resources.memory_limit_in_bytes: -5",
        ),
    ] {
        let (code, message) = refused(runtime.update_pod_sandbox_resources(bad).await);
        assert_eq!(code, expected, "{message}");
        assert!(message.contains(word), "{message}");
    }
}
