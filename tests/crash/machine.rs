//! A restart of the whole machine: what lives in memory is gone, what is on disk is there.

use corten::cri::api::{ContainerState, PodSandboxState};

use crate::support::{container, node, pod_net, processes_naming};

#[tokio::test]
async fn after_a_reboot_pods_are_gone_and_can_be_removed() {
    node(async |node| {
        let config = pod_net("rebooted");
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        node.kill();
        // As far as a test can: every process and every mount goes, and the directory in memory.
        for (pid, _) in processes_naming(node.scratch.path().to_str().unwrap()) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid as i32),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        for mount in node.scratch.mounts() {
            let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
        }
        std::fs::remove_dir_all(node.runroot()).unwrap();
        node.start().await;
        assert_eq!(
            node.pod_status(&pod).await.state(),
            PodSandboxState::SandboxNotready
        );
        let status = node.exit(&id).await;
        assert_eq!(status.state(), ContainerState::ContainerExited);
        assert_ne!(status.exit_code, 0);
        assert!(!node.image_list().await.is_empty());
        // A kubelet removes it and makes the next one.
        node.stop_pod(&pod).await.unwrap();
        node.remove_pod(&pod).await.unwrap();
        let mut config = config;
        config.metadata.as_mut().unwrap().attempt = 1;
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
    })
    .await;
}
