//! Volumes on a file system whose server is dead, or answers with errors.

use corten::cri::api::{ContainerConfig, ContainerState, Mount};
use tonic::Code;

use super::{fuse::Fuse, others_work, says};
use crate::support::{Node, container, node, pod, shell, until};

/// The container with a directory of the host mounted at `/volume`.
pub(super) fn with_volume(mut config: ContainerConfig, host_path: &str) -> ContainerConfig {
    config.mounts.push(Mount {
        container_path: "/volume".into(),
        host_path: host_path.to_owned(),
        ..Mount::default()
    });
    config
}

/// A file system of this test, and where it is mounted.
pub(super) fn volume(node: &Node) -> (Fuse, String) {
    let target = node.scratch.dir("volume");
    let fuse = Fuse::mount(&target);
    (fuse, target.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_volume_that_does_not_answer_is_named_and_holds_up_no_other_pod() {
    node(async |node| {
        let (fuse, path) = volume(node);
        let config = pod("stuck");
        let pod = node.pod(&config).await;
        let main = with_volume(container("main", &["sleep", "1000000"]), &path);
        // It works while the server does.
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(node.exec(&id, &["ls", "/volume"]).await, "");
        node.remove_container(&id).await.unwrap();

        fuse.fall_silent();
        let deep = with_volume(container("deep", &["true"]), &format!("{path}/below/it"));
        let (one, two, ()) = tokio::join!(
            node.try_create(&pod, &config, &main),
            node.try_create(&pod, &config, &deep),
            others_work(node, "beside"),
        );
        for error in [one.unwrap_err(), two.unwrap_err()] {
            assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
            says(&error, &["config.mounts", &path, "no answer"]);
        }
        // A daemon that is killed now can be followed by another, though a thread of it hangs in the kernel.
        node.restart().await;
        assert!(node.containers(None).await.is_empty());
        others_work(node, "after").await;

        drop(fuse);
        let again = Fuse::mount(std::path::Path::new(&path));
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(node.exec(&id, &["ls", "/volume"]).await, "");
        node.remove_pod(&pod).await.unwrap();
        drop(again);
    })
    .await;
}

#[tokio::test]
async fn a_volume_that_dies_under_its_container_holds_up_that_container_alone() {
    node(async |node| {
        let (fuse, path) = volume(node);
        let config = pod("dies");
        let pod = node.pod(&config).await;
        let main = with_volume(
            shell(
                "main",
                "until [ -e /go ]; do sleep 0.1; done; echo going; ls /volume",
            ),
            &path,
        );
        let id = node.launch(&pod, &config, &main).await;
        fuse.fall_silent();
        node.exec(&id, &["touch", "/go"]).await;
        until("it hangs", async || {
            node.output(&config, &main) == "going\n"
        })
        .await;
        // Another process in it need not.
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        assert_eq!(
            node.status(&id).await.state(),
            ContainerState::ContainerRunning
        );
        let hangs = node.try_exec(&id, &["ls", "/volume"], 1).await;
        let error = hangs.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        let (stopped, ()) = tokio::join!(node.stop_container(&id, 1), others_work(node, "beside"));
        // The shell dies; whether what it waits for can die is the kernel's affair.
        if let Err(error) = stopped {
            assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
            says(&error, &["stuck in the kernel", &id]);
        }
        drop(fuse);
        until("it ends", async || {
            node.status(&id).await.state() == ContainerState::ContainerExited
        })
        .await;
        node.remove_pod(&pod).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_volume_that_answers_with_errors_is_named() {
    node(async |node| {
        let (fuse, path) = volume(node);
        let config = pod("broken");
        let pod = node.pod(&config).await;
        let main = with_volume(container("main", &["sleep", "1000000"]), &path);
        for (errno, words) in [
            (libc::EIO, "input/output error"),
            (libc::ENOTCONN, "endpoint is not connected"),
        ] {
            fuse.fail(errno);
            let error = node.try_create(&pod, &config, &main).await.unwrap_err();
            assert_eq!(error.code(), Code::Internal, "{error}");
            says(&error, &[&path, words]);
            others_work(node, "beside").await;
        }
        fuse.recover();
        let id = node.launch(&pod, &config, &main).await;
        fuse.fail(libc::EIO);
        let done = node.try_exec(&id, &["ls", "/volume"], 0).await.unwrap();
        assert_ne!(done.exit_code, 0);
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(words.contains("Input/output error"), "{words}");
        node.remove_pod(&pod).await.unwrap();
        drop(fuse);
    })
    .await;
}
