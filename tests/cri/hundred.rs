//! A hundred pods, ten at a time, and nothing of them left.

use corten::cri::api::{ContainerState, PodSandboxState};
use futures_util::{StreamExt, stream};

use crate::support::{container, node, pod_net};

#[tokio::test]
async fn a_hundred_pods_come_and_go() {
    node(async |node| {
        let pods: Vec<(String, String)> = stream::iter(0..100)
            .map(|n| async move {
                let config = pod_net(&format!("pod-{n}"));
                let pod = node.pod(&config).await;
                let id = node
                    .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
                    .await;
                (pod, id)
            })
            .buffer_unordered(10)
            .collect()
            .await;
        let listed = node.pods(None).await;
        assert_eq!(listed.len(), 100);
        assert!(
            listed
                .iter()
                .all(|pod| pod.state() == PodSandboxState::SandboxReady)
        );
        let containers = node.containers(None).await;
        assert_eq!(containers.len(), 100);
        assert!(
            containers
                .iter()
                .all(|c| c.state() == ContainerState::ContainerRunning)
        );
        let mut addresses = std::collections::BTreeSet::new();
        for (pod, _) in &pods {
            addresses.insert(node.pod_status(pod).await.network.unwrap().ip);
        }
        assert_eq!(addresses.len(), 100);
        stream::iter(&pods)
            .for_each_concurrent(10, |(pod, _)| async move {
                node.stop_pod(pod).await.unwrap();
                node.remove_pod(pod).await.unwrap();
            })
            .await;
        assert!(node.pods(None).await.is_empty());
        assert!(node.containers(None).await.is_empty());
        node.nothing_left().await;
    })
    .await;
}
