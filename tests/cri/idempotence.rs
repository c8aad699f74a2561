//! Doing it again is no error, and gives what the first time gave.

use crate::support::{Packing, busybox, container, node, pod, pod_net};

const UNKNOWN: &str = "00000000000000000000000000000000000000000000000000000000feedface";

#[tokio::test]
async fn stops_and_removals_of_nothing_succeed() {
    node(async |node| {
        for id in [UNKNOWN, "feedface"] {
            node.stop_pod(id).await.unwrap();
            node.remove_pod(id).await.unwrap();
            node.stop_container(id, 5).await.unwrap();
            node.remove_container(id).await.unwrap();
        }
        node.remove_image("localhost/no/such:image").await.unwrap();
        node.remove_image(&format!("sha256:{UNKNOWN}"))
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn stops_and_removals_succeed_twice() {
    node(async |node| {
        let (_, pod, id) = node.idle("twice").await;
        for _ in 0..2 {
            node.stop_container(&id, 0).await.unwrap();
        }
        for _ in 0..2 {
            node.remove_container(&id).await.unwrap();
        }
        node.stop_container(&id, 0).await.unwrap();
        for _ in 0..2 {
            node.stop_pod(&pod).await.unwrap();
        }
        for _ in 0..2 {
            node.remove_pod(&pod).await.unwrap();
        }
        node.stop_pod(&pod).await.unwrap();
        let other = busybox().layer(&[], Packing::Zstd);
        node.load(&other, "localhost/other:1").await;
        for _ in 0..2 {
            node.remove_image("localhost/other:1").await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn many_at_once_do_it_once() {
    node(async |node| {
        let config = pod_net("joined");
        let (a, b, c) = tokio::join!(node.pod(&config), node.pod(&config), node.pod(&config));
        assert!(a == b && b == c, "{a} {b} {c}");
        let main = container("main", &["sleep", "1000000"]);
        let (x, y) = tokio::join!(
            node.create(&a, &config, &main),
            node.create(&a, &config, &main)
        );
        assert_eq!(x, y);
        node.start_container(&x).await.unwrap();
        let (one, two, three) = tokio::join!(
            node.stop_container(&x, 1),
            node.stop_container(&x, 0),
            node.remove_container(&x)
        );
        one.unwrap();
        two.unwrap();
        three.unwrap();
        let (one, two, three) =
            tokio::join!(node.stop_pod(&a), node.stop_pod(&a), node.remove_pod(&a));
        one.unwrap();
        two.unwrap();
        three.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_repeated_create_returns_the_first() {
    node(async |node| {
        let config = pod("repeated");
        let first = node.pod(&config).await;
        assert_eq!(node.pod(&config).await, first);
        let main = container("main", &["sleep", "1000000"]);
        let id = node.create(&first, &config, &main).await;
        assert_eq!(node.create(&first, &config, &main).await, id);
        assert_eq!(node.pods(None).await.len(), 1);
        assert_eq!(node.containers(None).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_gives_up_does_not_end_the_work() {
    node(async |node| {
        let config = pod_net("impatient");
        let hasty =
            tokio::time::timeout(std::time::Duration::from_millis(15), node.try_pod(&config));
        let _ = hasty.await;
        let id = node.pod(&config).await;
        assert_eq!(node.pods(None).await.len(), 1);
        assert_eq!(node.pod_status(&id).await.id, id);
    })
    .await;
}

#[tokio::test]
async fn a_name_is_free_again_after_its_removal() {
    node(async |node| {
        let config = pod("reborn");
        let first = node.pod(&config).await;
        node.remove_pod(&first).await.unwrap();
        let second = node.pod(&config).await;
        assert_ne!(first, second);
    })
    .await;
}
