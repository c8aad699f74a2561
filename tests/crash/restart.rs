//! What a new daemon finds.

use corten::cri::api::{ContainerState, NamespaceMode, PodSandboxState};

use crate::support::{container, namespaces, node, pod, pod_net, security, shell, until};

#[tokio::test]
async fn everything_is_as_it_was() {
    node(async |node| {
        let mut config = pod_net("kept");
        config.labels.insert("a".into(), "b".into());
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done",
        );
        let running = node.launch(&pod, &config, &main).await;
        let created = node
            .create(&pod, &config, &container("created", &["sleep", "1000000"]))
            .await;
        let exited = node.launch(&pod, &config, &shell("exited", "exit 5")).await;
        node.exit(&exited).await;
        let (_, stopped, _) = node.idle("stopped").await;
        node.stop_pod(&stopped).await.unwrap();
        let before = (
            node.pod_status(&pod).await,
            node.status(&running).await,
            node.status(&created).await,
            node.status(&exited).await,
            node.pod_status(&stopped).await,
            node.image_list().await,
        );
        let pid = node.init_pid(&running).await;
        node.kill();
        let lines = node.log(&config, &main).len();
        until("it goes on logging", async || {
            node.log(&config, &main).len() > lines + 5
        })
        .await;
        node.start().await;
        let after = (
            node.pod_status(&pod).await,
            node.status(&running).await,
            node.status(&created).await,
            node.status(&exited).await,
            node.pod_status(&stopped).await,
            node.image_list().await,
        );
        assert_eq!(before, after);
        assert_eq!(node.init_pid(&running).await, pid);
        assert_eq!(after.1.state(), ContainerState::ContainerRunning);
        assert_eq!(after.4.state(), PodSandboxState::SandboxNotready);
        // All still works.
        assert_eq!(node.exec(&running, &["echo", "well"]).await, "well");
        node.start_container(&created).await.unwrap();
        assert_eq!(node.exec(&created, &["echo", "well"]).await, "well");
        node.launch(&pod, &config, &container("new", &["sleep", "1000000"]))
            .await;
        node.stop_container(&running, 0).await.unwrap();
        let output = node.output(&config, &main);
        for (number, line) in output.lines().enumerate() {
            assert_eq!(line, number.to_string());
        }
    })
    .await;
}

#[tokio::test]
async fn exit_codes_of_the_time_between_are_known() {
    node(async |node| {
        let config = pod("between");
        let pod = node.pod(&config).await;
        let mut ids = Vec::new();
        for code in [0, 3, 137] {
            let script = format!("while [ ! -e /go ]; do sleep 0.05; done; echo bye; exit {code}");
            let main = shell(&format!("main-{code}"), &script);
            ids.push((node.launch(&pod, &config, &main).await, code, main));
        }
        let killed = node
            .launch(&pod, &config, &container("killed", &["sleep", "1000000"]))
            .await;
        let pid = node.init_pid(&killed).await;
        for (id, ..) in &ids {
            // They end a moment after the daemon has.
            node.exec(
                id,
                &["sh", "-c", "(sleep 0.5; touch /go) >/dev/null 2>&1 &"],
            )
            .await;
        }
        node.kill();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid as i32),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        for (_, _, main) in &ids {
            until("it has said so", async || {
                node.output(&config, main) == "bye\n"
            })
            .await;
        }
        node.start().await;
        for (id, code, _) in &ids {
            let status = node.exit(id).await;
            assert_eq!(status.exit_code, *code);
            assert!(status.finished_at > status.started_at);
        }
        let status = node.exit(&killed).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    })
    .await;
}

#[tokio::test]
async fn a_start_whose_answer_may_be_lost_can_be_asked_for_again() {
    node(async |node| {
        let (config, pod, running) = node.idle("started").await;
        let created = node
            .create(&pod, &config, &container("created", &["sleep", "1000000"]))
            .await;
        let short = shell("short", "exit 4");
        let ended = node.launch(&pod, &config, &short).await;
        node.exit(&ended).await;
        node.restart().await;
        for (id, state) in [
            (&running, ContainerState::ContainerRunning),
            (&ended, ContainerState::ContainerExited),
            (&created, ContainerState::ContainerRunning),
        ] {
            node.start_container(id).await.unwrap();
            assert_eq!(node.status(id).await.state(), state);
            // This daemon has answered, and knows it.
            let error = node.start_container(id).await.unwrap_err();
            assert_eq!(error.code(), tonic::Code::FailedPrecondition, "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_shared_pid_namespace_is_found_again() {
    node(async |node| {
        let mut config = pod("shared");
        namespaces(&mut config).pid = NamespaceMode::Pod as i32;
        let pod = node.pod(&config).await;
        node.restart().await;
        let mut main = container("main", &["sleep", "1000000"]);
        security(&mut main).namespace_options = Some(namespaces(&mut config).clone());
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        assert_eq!(
            node.pod_status(&pod).await.state(),
            PodSandboxState::SandboxReady
        );
    })
    .await;
}

#[tokio::test]
async fn killed_while_it_makes_pods_it_leaves_nothing_unknown() {
    node(async |node| {
        for round in 0..4u64 {
            let making = async {
                let pods = (0..8).map(|n| {
                    let config = pod_net(&format!("round-{round}-{n}"));
                    async move {
                        let pod = node.try_pod(&config).await?;
                        let id = node
                            .try_create(&pod, &config, &container("main", &["sleep", "1000000"]))
                            .await?;
                        node.start_container(&id).await
                    }
                });
                futures_util::future::join_all(pods).await
            };
            let killing = async {
                tokio::time::sleep(std::time::Duration::from_millis(60 + 170 * round)).await;
                node.kill();
            };
            let _ = tokio::join!(making, killing);
            node.start().await;
            // What was asked for can be asked for again.
            let config = pod_net(&format!("round-{round}-0"));
            let pod = node.pod(&config).await;
            let id = node
                .create(&pod, &config, &container("main", &["sleep", "1000000"]))
                .await;
            if node.status(&id).await.state() == ContainerState::ContainerCreated {
                node.start_container(&id).await.unwrap();
            }
            assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
            // Every name that exists is one that is listed.
            node.remove_all().await;
            node.nothing_left().await;
        }
    })
    .await;
}

#[tokio::test]
async fn killed_while_it_removes_pods_it_removes_them_later() {
    node(async |node| {
        for round in 0..3u64 {
            let mut pods = Vec::new();
            for n in 0..4 {
                let config = pod_net(&format!("round-{round}-{n}"));
                let pod = node.pod(&config).await;
                node.launch(&pod, &config, &container("main", &["sleep", "1000000"]))
                    .await;
                pods.push(pod);
            }
            let removing =
                futures_util::future::join_all(pods.iter().map(|pod| node.remove_pod(pod)));
            let killing = async {
                tokio::time::sleep(std::time::Duration::from_millis(20 + 60 * round)).await;
                node.kill();
            };
            let _ = tokio::join!(removing, killing);
            node.start().await;
            for pod in &pods {
                node.remove_pod(pod).await.unwrap();
            }
            assert!(node.pods(None).await.is_empty());
            node.nothing_left().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_lost_monitor_is_noticed_and_no_code_is_invented() {
    node(async |node| {
        let (_, pod, id) = node.idle("lost").await;
        let pid = node.init_pid(&id).await;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let monitor: i32 = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        for pid in [monitor, pid as i32] {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            )
            .unwrap();
        }
        let status = node.exit(&id).await;
        assert_eq!(status.reason, "MonitorLost", "{status:?}");
        node.remove_container(&id).await.unwrap();
        node.remove_pod(&pod).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_set_aside() {
    node(async |node| {
        let (_, pod, id) = node.idle("whole").await;
        let (_, _, broken) = node.idle("broken").await;
        node.kill();
        let records = node.root().join("records");
        let mut spoilt = 0;
        for kind in std::fs::read_dir(&records).unwrap().flatten() {
            for file in std::fs::read_dir(kind.path()).unwrap().flatten() {
                if file.file_name().to_string_lossy().contains(&broken) {
                    std::fs::write(file.path(), "{ \"cut").unwrap();
                    spoilt += 1;
                }
            }
        }
        assert!(
            spoilt > 0,
            "no record of {broken} below {}",
            records.display()
        );
        node.start().await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        assert_eq!(
            node.pod_status(&pod).await.state(),
            PodSandboxState::SandboxReady
        );
        // It is kept for whoever wants to know; what it was the record of goes with its pod.
        let aside = records.join("set-aside");
        let kept = std::fs::read_dir(&aside).unwrap().count();
        assert!(kept > 0);
        std::fs::remove_dir_all(aside).unwrap();
    })
    .await;
}
