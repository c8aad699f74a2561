//! What a fault of the machine, of a program that corten runs, or of a container does: the request at hand ends in
//! an error that says what failed, or is tried again and says so, and the rest of the node works meanwhile.

mod clock;
mod containers;
mod descriptors;
mod disk;
mod front;
mod fuse;
mod line;
mod logs;
mod monitors;
mod network;
mod records;
mod registry;
mod runtime;
mod volumes;
mod wire;

use tonic::Status;

use crate::support::{Node, container, pod};

/// A pod lives its whole life while something else is out of order.
async fn others_work(node: &Node, name: &str) {
    let config = pod(name);
    let pod = node.pod(&config).await;
    let id = node
        .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
        .await;
    assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
    assert!(node.pods(None).await.iter().any(|one| one.id == pod));
    node.stop_container(&id, 0).await.unwrap();
    node.remove_container(&id).await.unwrap();
    node.stop_pod(&pod).await.unwrap();
    node.remove_pod(&pod).await.unwrap();
}

/// Panics unless the message has all the words.
#[track_caller]
fn says(error: &Status, words: &[&str]) {
    let message = error.message().to_lowercase();
    for word in words {
        assert!(
            message.contains(&word.to_lowercase()),
            "it should name {word:?}: {error}"
        );
    }
}
