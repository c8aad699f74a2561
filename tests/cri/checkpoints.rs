//! Checkpoints, which are refused with a reason.

use corten::cri::api::{CheckpointContainerRequest, CheckpointPodRequest, RestorePodRequest};
use tonic::Code;

use crate::support::{node, pod};

#[tokio::test]
async fn checkpoints_are_refused_with_a_reason() {
    node(async |node| {
        let (_, sandbox, id) = node.idle("kept").await;
        let location = node.scratch.join("checkpoint.tar");
        let path = location.to_str().unwrap();
        for (id, location, expected) in [
            (id.as_str(), path, Code::Unimplemented),
            ("feedface", path, Code::NotFound),
            (&id, "", Code::InvalidArgument),
            (&id, "relative.tar", Code::InvalidArgument),
        ] {
            let request = CheckpointContainerRequest {
                container_id: id.to_owned(),
                location: location.to_owned(),
                timeout: 0,
            };
            let reply = node.runtime().checkpoint_container(request).await;
            assert_eq!(reply.unwrap_err().code(), expected);
        }
        for (pod, containers, path, expected) in [
            (
                sandbox.as_str(),
                vec![id.clone()],
                path,
                Code::Unimplemented,
            ),
            ("feedface", vec![], path, Code::NotFound),
            (&sandbox, vec!["feedface".into()], path, Code::NotFound),
            (&sandbox, vec![], "relative", Code::InvalidArgument),
        ] {
            let request = CheckpointPodRequest {
                pod_sandbox_id: pod.to_owned(),
                output_path: path.to_owned(),
                container_ids: containers,
                ..Default::default()
            };
            let reply = node.runtime().checkpoint_pod(request).await;
            assert_eq!(reply.unwrap_err().code(), expected);
        }
        for (path, config, expected) in [
            (path, Some(pod("restored")), Code::Unimplemented),
            (path, None, Code::InvalidArgument),
            ("", Some(pod("restored")), Code::InvalidArgument),
        ] {
            let request = RestorePodRequest {
                checkpoint_path: path.to_owned(),
                config,
                ..Default::default()
            };
            let reply = node.runtime().restore_pod(request).await;
            assert_eq!(reply.unwrap_err().code(), expected);
        }
        assert!(!location.exists());
        assert_eq!(node.pods(None).await.len(), 1);
        assert_eq!(node.exec(&id, &["echo", "still"]).await, "still");
    })
    .await;
}
