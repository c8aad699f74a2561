//! What a killed daemon had begun goes on by itself once it is started again: nobody has to ask for it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use corten::cri::api::{ContainerState, NamespaceMode, PodSandboxState};

use crate::support::{
    Node, Options, Scratch, container, namespaces, node_with, pod, pod_net, runtime_behind, until,
};

fn with_steps() -> Options {
    Options {
        steps: true,
        ..Options::default()
    }
}

/// Has the daemon killed at a step of what `request` asks for, and starts it again.
async fn killed_at(node: &Node, step: &str, request: impl Future) {
    node.arm(step, 1);
    request.await;
    assert!(node.killed(crate::support::patience()).await, "{step}");
    node.start().await;
}

/// A program that can be run, of a shell's script.
fn program(scratch: &Scratch, name: &str, script: &str) -> PathBuf {
    scratch.program(name, format!("#!/bin/sh\n{script}\n"))
}

/// A line of a script that waits until a file is there.
fn wait_for(file: &Path) -> String {
    format!("while [ ! -e {} ]; do sleep 0.02; done", file.display())
}

/// A pod with a network and processes of its own, and a running container in it.
async fn full(node: &Node, name: &str) -> (String, String) {
    let mut config = pod_net(name);
    namespaces(&mut config).pid = NamespaceMode::Pod as i32;
    let pod = node.pod(&config).await;
    let main = container("main", &["sleep", "1000000"]);
    let id = node.launch(&pod, &config, &main).await;
    (pod, id)
}

#[tokio::test]
async fn a_sandbox_half_removed_is_removed() {
    node_with(with_steps(), async |node| {
        for step in ["sandbox-noted", "pod-link-deleted", "sandbox-forgotten"] {
            let (pod, _) = full(node, step).await;
            killed_at(node, step, node.remove_pod(&pod)).await;
            until("it is gone", async || node.pods(None).await.is_empty()).await;
            node.nothing_left().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_sandbox_half_stopped_is_stopped() {
    node_with(with_steps(), async |node| {
        for step in ["sandbox-noted", "signal-sent", "pod-link-deleted"] {
            let (pod, id) = full(node, step).await;
            killed_at(node, step, node.stop_pod(&pod)).await;
            let pins = node.runroot().join("ns").join(&pod);
            let attached = node.root().join("cni").join(format!("{pod}.intent"));
            until("its network and namespaces are gone", async || {
                !pins.exists() && !attached.exists()
            })
            .await;
            assert_eq!(
                node.pod_status(&pod).await.state(),
                PodSandboxState::SandboxNotready
            );
            let status = node.exit(&id).await;
            assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
            node.remove_all().await;
            node.nothing_left().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_half_made_or_half_removed_is_removed() {
    node_with(with_steps(), async |node| {
        let config = pod("home");
        let home = node.pod(&config).await;
        let main = container("main", &["sleep", "1000000"]);
        // Directories that are made with the first of their kind stay.
        let first = node.launch(&home, &config, &main).await;
        node.remove_container(&first).await.unwrap();
        let mut before = node.files();
        until("its files are deleted", async || {
            let earlier = std::mem::replace(&mut before, node.files());
            earlier == before && !before.iter().any(|path| path.contains("/trash/"))
        })
        .await;
        for step in ["rootfs-mounted", "monitor-detached", "monitor-answered"] {
            killed_at(node, step, node.try_create(&home, &config, &main)).await;
            until("nothing is left of it", async || node.files() == before).await;
        }
        for step in ["container-noted", "runtime-deleted", "rootfs-unmounted"] {
            let id = node.launch(&home, &config, &main).await;
            killed_at(node, step, node.remove_container(&id)).await;
            until("nothing is left of it", async || node.files() == before).await;
            // It is listed until its record is gone, and shown as gone right after.
            until("it is listed no more", async || {
                node.containers(None).await.is_empty()
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_runtime_forgets_what_has_ended() {
    node_with(with_steps(), async |node| {
        let (_, _, id) = node.idle("ended").await;
        let known = || {
            let files = node.files();
            files
                .iter()
                .any(|path| path.contains("/runtimes/") && path.ends_with(&id))
        };
        assert!(known());
        killed_at(node, "container-noted", node.stop_container(&id, 0)).await;
        until("the runtime has forgotten it", async || !known()).await;
        assert_eq!(
            node.status(&id).await.state(),
            ContainerState::ContainerExited
        );
        // What is known to be done is not done again.
        until("that is on record", async || {
            let note = node.root().join(format!("records/containers/{id}.note"));
            std::fs::read_to_string(note).is_ok_and(|text| text.contains("\"reaped\":true"))
        })
        .await;
        node.kill();
        node.follow();
        node.start().await;
        until("it is taken up", async || {
            node.followed()
                .iter()
                .any(|step| step == "container-adopted")
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let steps = node.follow_no_more();
        assert!(
            !steps.iter().any(|step| step == "runtime-delete-called"),
            "{steps:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_teardown_that_fails_is_tried_again_and_says_so() {
    let plugins = Scratch::new();
    let willing = plugins.join("willing");
    let script = format!(
        "if [ \"$CNI_COMMAND\" = DEL ] && [ ! -e {} ]; then\n\
         echo '{{\"cniVersion\":\"1.0.0\",\"code\":11,\"msg\":\"not now\"}}'; exit 1\nfi\n\
         exec /usr/lib/cni/bridge",
        willing.display()
    );
    program(&plugins, "unwilling", &script);
    let dir = plugins.path().to_str().unwrap().to_owned();
    let options = Options {
        args: vec!["--cni-plugin-dir".to_owned(), dir],
        ..with_steps()
    };
    node_with(options, async |node| {
        node.configure_network_by("unwilling");
        node.restart().await;
        let (stopped, _) = full(node, "stopped").await;
        killed_at(node, "sandbox-noted", node.stop_pod(&stopped)).await;
        let (removed, _) = full(node, "removed").await;
        killed_at(node, "cni-del-called", node.remove_pod(&removed)).await;
        for pod in [&stopped, &removed] {
            until("it says why it is still there", async || {
                let status = node.try_pod_status(pod, true).await.unwrap();
                status.info.values().any(|text| text.contains("not now"))
            })
            .await;
        }
        std::fs::write(&willing, "").unwrap();
        until("the removal succeeds", async || {
            node.pods(None).await.iter().all(|pod| pod.id != removed)
        })
        .await;
        let attached = node.root().join("cni").join(format!("{stopped}.intent"));
        until("the stop succeeds", async || !attached.exists()).await;
    })
    .await;
}

#[tokio::test]
async fn a_network_plugin_that_is_still_at_work_is_outlasted() {
    let plugins = Scratch::new();
    let go = plugins.join("go");
    let script = format!(
        "[ \"$CNI_COMMAND\" != ADD ] || {}\nexec /usr/lib/cni/bridge",
        wait_for(&go)
    );
    program(&plugins, "slow", &script);
    let options = Options {
        args: vec![
            "--cni-plugin-dir".to_owned(),
            plugins.path().to_str().unwrap().to_owned(),
        ],
        ..with_steps()
    };
    node_with(options, async |node| {
        node.configure_network_by("slow");
        node.restart().await;
        let config = pod_net("slow");
        killed_at(node, "plugin-runs", node.try_pod(&config)).await;
        // Time enough to undo what was begun, were it done at once: the plugin would do it after that.
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::fs::write(&go, "").unwrap();
        let pod = node.pod(&config).await;
        assert_eq!(node.pods(None).await.len(), 1);
        node.remove_pod(&pod).await.unwrap();
        node.nothing_left().await;
    })
    .await;
}

#[tokio::test]
async fn a_runtime_that_is_still_at_work_is_outlasted() {
    let programs = Scratch::new();
    let go = programs.join("go");
    let does = format!("case \" $* \" in *\" start \"*) {};; esac", wait_for(&go));
    let runtime = runtime_behind(&programs, "slow", &does);
    let options = Options {
        args: vec![format!("--runtime=slow={}", runtime.display())],
        ..with_steps()
    };
    node_with(options, async |node| {
        let config = pod("slow");
        let pod = node.try_pod_by("slow", &config).await.unwrap();
        let id = node
            .create(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        killed_at(node, "runtime-runs", node.start_container(&id)).await;
        // Asked now, the runtime would say that it is not started.
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::fs::write(&go, "").unwrap();
        until("it is known to run", async || {
            node.status(&id).await.state() == ContainerState::ContainerRunning
        })
        .await;
        node.start_container(&id).await.unwrap();
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
    })
    .await;
}
