//! A container from its creation to its removal.

use corten::cri::api::{ContainerState, Signal};
use serde_json::json;
use tonic::Code;

use crate::support::{Packing, busybox, container, node, pod, shell, until, userless};

#[tokio::test]
async fn a_container_is_created_started_stopped_and_removed() {
    node(async |node| {
        let config = pod("life");
        let pod = node.pod(&config).await;
        let main = container("main", &["sleep", "1000000"]);
        let id = node.create(&pod, &config, &main).await;
        assert_eq!(id.len(), 64);
        let status = node.status(&id).await;
        assert_eq!(status.state(), ContainerState::ContainerCreated);
        assert_eq!((status.started_at, status.finished_at), (0, 0));
        assert!(status.created_at > 0);
        node.start_container(&id).await.unwrap();
        let status = node.status(&id).await;
        assert_eq!(status.state(), ContainerState::ContainerRunning);
        assert!(status.started_at >= status.created_at);
        assert_eq!(status.finished_at, 0);
        node.stop_container(&id, 0).await.unwrap();
        let status = node.status(&id).await;
        assert_eq!(status.state(), ContainerState::ContainerExited);
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
        assert!(status.finished_at >= status.started_at);
        node.remove_container(&id).await.unwrap();
        assert_eq!(
            node.try_status(&id).await.unwrap_err().code(),
            Code::NotFound
        );
    })
    .await;
}

#[tokio::test]
async fn exit_codes_and_reasons_are_told() {
    node(async |node| {
        for (script, code, reason) in [
            ("exit 0", 0, "Completed"),
            ("exit 7", 7, "Error"),
            ("exit 255", 255, "Error"),
            ("sh -c 'kill -SEGV $$'; exit $?", 139, "Error"),
        ] {
            let (status, _) = node.run_once(&pod("ends"), &shell("main", script)).await;
            assert_eq!(status.exit_code, code, "{script}");
            assert_eq!(status.reason, reason, "{script}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_starts_once() {
    node(async |node| {
        let (_, _, running) = node.idle("running").await;
        let error = node.start_container(&running).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        node.stop_container(&running, 0).await.unwrap();
        let error = node.start_container(&running).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains(&running), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_stop_is_a_signal_and_then_the_end() {
    node(async |node| {
        let config = pod("graceful");
        let pod = node.pod(&config).await;
        let heeds = shell(
            "heeds",
            "trap 'echo heard; exit 3' TERM; echo up; while :; do sleep 0.1; done",
        );
        let id = node.launch(&pod, &config, &heeds).await;
        until("it runs", async || node.output(&config, &heeds) == "up\n").await;
        node.stop_container(&id, 60).await.unwrap();
        assert_eq!(node.status(&id).await.exit_code, 3);
        assert_eq!(node.output(&config, &heeds), "up\nheard\n");

        let ignores = shell(
            "ignores",
            "trap '' TERM; echo up; while :; do sleep 0.1; done",
        );
        let id = node.launch(&pod, &config, &ignores).await;
        until("it runs", async || node.output(&config, &ignores) == "up\n").await;
        node.stop_container(&id, 1).await.unwrap();
        assert_eq!(node.status(&id).await.exit_code, 137);
    })
    .await;
}

#[tokio::test]
async fn a_later_stop_may_shorten_the_grace() {
    node(async |node| {
        let config = pod("shortened");
        let pod = node.pod(&config).await;
        let deaf = shell("deaf", "trap '' TERM; echo up; while :; do sleep 1; done");
        let id = node.launch(&pod, &config, &deaf).await;
        until("it runs", async || node.output(&config, &deaf) == "up\n").await;
        let patient = async {
            // It heeds no signal: this alone would take for ever.
            node.stop_container(&id, 100_000).await
        };
        let brief = async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            node.stop_container(&id, 0).await
        };
        let (one, two) = tokio::join!(patient, brief);
        one.unwrap();
        two.unwrap();
        assert_eq!(node.status(&id).await.exit_code, 137);
    })
    .await;
}

const TRAPS: &str = "for s in USR1 INT TERM QUIT; do trap \"echo $s; exit 0\" $s; done; \
                     echo up; while :; do sleep 0.1; done";

#[tokio::test]
async fn the_stop_signal_is_the_images_or_the_requests() {
    node(async |node| {
        let image = busybox()
            .layer(&[], Packing::Gzip)
            .with("StopSignal", json!("SIGUSR1"));
        node.load(&image, "localhost/stops:usr1").await;
        let config = pod("signals");
        let pod = node.pod(&config).await;
        for (name, image, signal, heard, told) in [
            (
                "default",
                crate::support::IMAGE,
                Signal::RuntimeDefault,
                "TERM",
                Signal::Sigterm,
            ),
            (
                "of-image",
                "localhost/stops:usr1",
                Signal::RuntimeDefault,
                "USR1",
                Signal::Sigusr1,
            ),
            (
                "of-request",
                "localhost/stops:usr1",
                Signal::Sigint,
                "INT",
                Signal::Sigint,
            ),
        ] {
            let mut main = shell(name, TRAPS);
            main.image = userless("", image).image;
            main.stop_signal = signal as i32;
            let id = node.launch(&pod, &config, &main).await;
            until("it runs", async || node.output(&config, &main) == "up\n").await;
            assert_eq!(node.status(&id).await.stop_signal(), told, "{name}");
            node.stop_container(&id, 60).await.unwrap();
            assert_eq!(
                node.output(&config, &main),
                format!("up\n{heard}\n"),
                "{name}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn removing_a_running_container_stops_it() {
    node(async |node| {
        let (_, _, id) = node.idle("forced").await;
        let pid = node.init_pid(&id).await;
        node.remove_container(&id).await.unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        assert!(node.containers(None).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_created_container_can_be_stopped_and_removed() {
    node(async |node| {
        let config = pod("unstarted");
        let pod = node.pod(&config).await;
        let one = node
            .create(&pod, &config, &container("one", &["true"]))
            .await;
        node.stop_container(&one, 10).await.unwrap();
        assert_eq!(
            node.status(&one).await.state(),
            ContainerState::ContainerExited
        );
        node.remove_container(&one).await.unwrap();
        let two = node
            .create(&pod, &config, &container("two", &["true"]))
            .await;
        node.remove_container(&two).await.unwrap();
        assert!(node.containers(None).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn every_process_of_a_container_ends_with_it() {
    node(async |node| {
        let config = pod("families");
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "for i in 1 2 3; do (trap '' TERM HUP; sleep 1000000) & done; wait",
        );
        let id = node.launch(&pod, &config, &main).await;
        node.stop_container(&id, 0).await.unwrap();
        let name = node.scratch.path().to_str().unwrap().to_owned();
        until("no process is left", async || {
            crate::support::processes_naming(&name)
                .iter()
                .all(|(pid, what)| *pid == node.pid() || !what.contains("sleep"))
        })
        .await;
    })
    .await;
}
