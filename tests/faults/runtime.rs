//! An OCI runtime that hangs, dies, says nonsense or comes back late.

use std::time::Duration;

use corten::cri::api::ContainerState;
use tonic::Code;

use super::{
    front::{Front, HOLD},
    others_work, says,
};
use crate::support::{Node, Options, container, node_with, pod, until};

/// A runtime in front, which is given little time.
fn hurried(front: &Front) -> Options {
    let mut options = front.as_handler();
    options.args.push("--create-timeout=2s".into());
    options.args.push("--runtime-timeout=2s".into());
    options
}

/// A pod of the odd handler.
async fn odd_pod(node: &Node, name: &str) -> String {
    node.try_pod_by("odd", &pod(name)).await.unwrap()
}

#[tokio::test]
async fn a_runtime_that_hangs_is_given_up() {
    let front = Front::runtime();
    node_with(hurried(&front), async |node| {
        let config = pod("hangs");
        let id = odd_pod(node, "hangs").await;
        let main = container("main", &["sleep", "1000000"]);

        front.set("create", HOLD);
        let create = node.try_create(&id, &config, &main);
        let (error, ()) = tokio::join!(create, others_work(node, "during-create"));
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        says(&error, &["took too long"]);
        assert!(node.containers(None).await.is_empty());
        front.clear("create");

        let slow = node.create(&id, &config, &main).await;
        front.set("start", HOLD);
        let start = node.start_container(&slow);
        let (error, ()) = tokio::join!(start, others_work(node, "during-start"));
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        says(&error, &["start of container", &slow]);
        front.clear("start");
        // What did not start is told to have ended, with the reason.
        let status = node.exit(&slow).await;
        assert_eq!(status.reason, "StartError", "{status:?}");
        assert!(status.message.contains("start of container"), "{status:?}");
        node.remove_container(&slow).await.unwrap();

        let stays = node.launch(&id, &config, &main).await;
        front.set("delete", HOLD);
        let remove = node.remove_container(&stays);
        let (error, ()) = tokio::join!(remove, others_work(node, "during-delete"));
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        says(&error, &["delete of container", &stays]);
        front.clear("delete");
        // It is tried again without anyone asking.
        until("the container is gone", async || {
            node.containers(None).await.is_empty()
        })
        .await;
        node.remove_all().await;
        front.quiet().await;
    })
    .await;
}

#[tokio::test]
async fn a_runtime_that_is_killed_is_told_by_its_signal() {
    let front = Front::runtime();
    node_with(front.as_handler(), async |node| {
        let config = pod("killed");
        let id = odd_pod(node, "killed").await;
        let main = container("main", &["sleep", "1000000"]);

        front.set("create", "kill -KILL $$");
        let error = node.try_create(&id, &config, &main).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{error}");
        says(&error, &["runtime", "signal 9"]);
        front.clear("create");

        let unlucky = node.create(&id, &config, &main).await;
        front.set("start", "kill -SEGV $$");
        let error = node.start_container(&unlucky).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{error}");
        says(&error, &["start of container", "signal: 11"]);
        front.clear("start");
        assert_eq!(node.exit(&unlucky).await.reason, "StartError");
        node.remove_container(&unlucky).await.unwrap();

        let runs = node.launch(&id, &config, &main).await;
        front.set("exec", "kill -KILL $$");
        let error = node.try_exec(&runs, &["true"], 0).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{error}");
        says(&error, &["exec", "signal 9"]);
        front.clear("exec");
        assert_eq!(node.exec(&runs, &["echo", "well"]).await, "well");

        // Killed half way through its work, after the container is gone.
        front.set("delete", "/usr/sbin/runc \"$@\"; kill -KILL $$");
        let error = node.remove_container(&runs).await.unwrap_err();
        says(&error, &["delete of container", "signal: 9"]);
        front.clear("delete");
        node.remove_container(&runs).await.unwrap();
        others_work(node, "after").await;
    })
    .await;
}

#[tokio::test]
async fn a_runtime_that_says_nonsense_is_quoted() {
    let front = Front::runtime();
    node_with(front.as_handler(), async |node| {
        let config = pod("nonsense");
        let id = odd_pod(node, "nonsense").await;
        let main = container("main", &["sleep", "1000000"]);

        front.set(
            "create",
            "head -c 100000 /dev/zero >&2; echo gibberish >&2; exit 1",
        );
        let error = node.try_create(&id, &config, &main).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{error}");
        assert!(error.message().len() < 10_000);
        // Success without a container is none.
        front.set("create", "echo '{]'; echo gibberish >&2; exit 0");
        let error = node.try_create(&id, &config, &main).await.unwrap_err();
        says(&error, &["no process number"]);
        front.set("create", "echo gibberish > init.pid; exit 0");
        let error = node.try_create(&id, &config, &main).await.unwrap_err();
        says(&error, &["no process number"]);
        // Nor is one that is another's process.
        front.set("create", "printf 2 > init.pid; exit 0");
        let error = node.try_create(&id, &config, &main).await.unwrap_err();
        says(&error, &["process 2 is not a descendant"]);
        front.clear("create");

        let quoted = node.create(&id, &config, &main).await;
        front.set("start", "printf 'gibberish \\377\\001'; exit 7");
        let error = node.start_container(&quoted).await.unwrap_err();
        says(&error, &["start of container", "gibberish"]);
        front.clear("start");
        let status = node.exit(&quoted).await;
        assert!(status.message.contains("gibberish"), "{status:?}");
        node.remove_container(&quoted).await.unwrap();

        // Asked where a container is that may have been started while no daemon was there.
        let created = node.create(&id, &config, &main).await;
        node.kill();
        front.set("state", "echo gibberish; exit 0");
        node.start().await;
        let status = node.status(&created).await;
        assert_eq!(status.state(), ContainerState::ContainerCreated);
        front.clear("state");
        node.start_container(&created).await.unwrap();
        assert_eq!(node.exec(&created, &["echo", "well"]).await, "well");
        others_work(node, "after").await;
    })
    .await;
}

#[tokio::test]
async fn a_runtime_that_comes_back_late_is_waited_for_by_who_asks_again() {
    let front = Front::runtime();
    node_with(front.as_handler(), async |node| {
        let config = pod("late");
        let id = odd_pod(node, "late").await;
        let main = container("main", &["sleep", "1000000"]);
        let hasty = Duration::from_millis(300);

        front.set("create", HOLD);
        for _ in 0..3 {
            let create = node.try_create(&id, &config, &main);
            assert!(tokio::time::timeout(hasty, create).await.is_err());
        }
        let again = async {
            front.called("create", 1).await;
            front.clear("create");
        };
        let (made, ()) = tokio::join!(node.create(&id, &config, &main), again);
        assert_eq!(front.calls("create"), 1);

        front.set("start", HOLD);
        for _ in 0..3 {
            let start = node.start_container(&made);
            assert!(tokio::time::timeout(hasty, start).await.is_err());
        }
        let again = async {
            front.called("start", 1).await;
            // What runs already is not started again, and says so: the last one is to ask before.
            tokio::time::sleep(5 * hasty).await;
            front.clear("start");
        };
        let (started, ()) = tokio::join!(node.start_container(&made), again);
        started.unwrap();
        assert_eq!(front.calls("start"), 1);
        assert_eq!(node.exec(&made, &["echo", "well"]).await, "well");

        front.set("delete", HOLD);
        for _ in 0..3 {
            let remove = node.remove_container(&made);
            assert!(tokio::time::timeout(hasty, remove).await.is_err());
        }
        front.called("delete", 1).await;
        let before = front.calls("delete");
        let again = async {
            tokio::time::sleep(hasty).await;
            assert_eq!(front.calls("delete"), before);
            front.clear("delete");
        };
        let (removed, ()) = tokio::join!(node.remove_container(&made), again);
        removed.unwrap();
        front.quiet().await;
    })
    .await;
}
