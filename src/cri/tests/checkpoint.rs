use tonic::Code;

use super::{Served, refused};
use crate::cri::api;

#[tokio::test]
async fn containers() {
    let served = Served::start().await;
    let (_, container) = served.backend.add(1);
    let mut runtime = served.runtime();
    let mut ask = async |container_id: &str, location: &str, timeout| {
        let request = api::CheckpointContainerRequest {
            container_id: container_id.into(),
            location: location.into(),
            timeout,
        };
        refused(runtime.checkpoint_container(request).await)
    };
    let (code, message) = ask(container.as_str(), "/tmp/x.tar", 0).await;
    assert_eq!(code, Code::Unimplemented);
    assert!(message.contains("CRIU"), "{message}");
    for (id, location, timeout, expected, word) in [
        ("feedface", "/x", 0, Code::NotFound, "feedface"),
        ("", "/x", 0, Code::InvalidArgument, "container_id"),
        (container.as_str(), "", 0, Code::InvalidArgument, "location"),
        (
            container.as_str(),
            "x.tar",
            0,
            Code::InvalidArgument,
            "location",
        ),
        (
            container.as_str(),
            "/a\0b",
            0,
            Code::InvalidArgument,
            "location",
        ),
        (
            container.as_str(),
            "/x",
            -1,
            Code::InvalidArgument,
            "timeout",
        ),
    ] {
        let (code, message) = ask(id, location, timeout).await;
        assert_eq!(code, expected, "{message}");
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test]
async fn pods() {
    let served = Served::start().await;
    let (pod, container) = served.backend.add(1);
    let mut runtime = served.runtime();
    let mut ask = async |pod: &str, path: &str, containers: &[&str]| {
        let request = api::CheckpointPodRequest {
            pod_sandbox_id: pod.into(),
            output_path: path.into(),
            container_ids: containers.iter().map(|&id| id.to_owned()).collect(),
            options: Default::default(),
        };
        refused(runtime.checkpoint_pod(request).await)
    };
    let (pod, container) = (pod.as_str(), container.as_str());
    assert_eq!(ask(pod, "/x", &[container]).await.0, Code::Unimplemented);
    assert_eq!(ask(pod, "/x", &[]).await.0, Code::Unimplemented);
    assert_eq!(ask("feedface", "/x", &[]).await.0, Code::NotFound);
    assert_eq!(ask(pod, "x", &[]).await.0, Code::InvalidArgument);
    let (code, message) = ask(pod, "/x", &[container, "feedface"]).await;
    assert_eq!(code, Code::NotFound);
    assert!(message.starts_with("container_ids[1]: "), "{message}");
}

#[tokio::test]
async fn restoring() {
    let served = Served::start().await;
    let mut runtime = served.runtime();
    let config = Some(api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: "a".into(),
            uid: "b".into(),
            namespace: "c".into(),
            attempt: 0,
        }),
        ..Default::default()
    });
    let good = api::RestorePodRequest {
        checkpoint_path: "/x".into(),
        config,
        ..Default::default()
    };
    let (code, _) = refused(runtime.restore_pod(good.clone()).await);
    assert_eq!(code, Code::Unimplemented);
    for (bad, word) in [
        (
            api::RestorePodRequest {
                checkpoint_path: "x".into(),
                ..good.clone()
            },
            "checkpoint_path",
        ),
        (
            api::RestorePodRequest {
                config: None,
                ..good.clone()
            },
            "config",
        ),
        (
            api::RestorePodRequest {
                container_configs: vec![api::ContainerConfig::default()],
                ..good
            },
            "metadata",
        ),
    ] {
        let (code, message) = refused(runtime.restore_pod(bad).await);
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains(word), "{message}");
    }
}
