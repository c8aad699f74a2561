//! Commands in running containers.

use tonic::Code;

use crate::support::{Options, container, node, node_with, pod, security, until};

#[tokio::test]
async fn output_and_exit_code_are_told_apart() {
    node(async |node| {
        let (_, _, id) = node.idle("exec").await;
        let done = node
            .try_exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 42"], 0)
            .await
            .unwrap();
        assert_eq!(done.stdout, b"out\n");
        assert_eq!(done.stderr, b"err\n");
        assert_eq!(done.exit_code, 42);
        let done = node
            .try_exec(&id, &["sh", "-c", "kill -9 $$"], 0)
            .await
            .unwrap();
        assert_eq!(done.exit_code, 137);
        let done = node
            .try_exec(&id, &["printf", "\\000\\377"], 0)
            .await
            .unwrap();
        assert_eq!(done.stdout, [0, 255]);
        let done = node.try_exec(&id, &["cat"], 0).await.unwrap();
        assert!(done.stdout.is_empty());
    })
    .await;
}

#[tokio::test]
async fn it_has_the_containers_identity_and_place() {
    node(async |node| {
        let config = pod("place");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        main.working_dir = "/usr".into();
        main.envs.push(corten::cri::api::KeyValue {
            key: "MINE".into(),
            value: b"yes".to_vec(),
        });
        security(&mut main).run_as_user = Some(corten::cri::api::Int64Value { value: 1000 });
        let id = node.launch(&pod, &config, &main).await;
        let seen = node.sh(&id, "id -u; pwd; echo $MINE $HOME").await;
        assert_eq!(seen, "1000\n/usr\nyes /home/tester");
        let script = "for n in mnt pid net ipc uts cgroup user; do \
                      [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done";
        assert_eq!(node.sh(&id, script).await, "");
        let caps = "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/1/status /proc/self/status | cut -d: -f2- | sort | uniq -c";
        for line in node.sh(&id, caps).await.lines() {
            assert!(line.trim().starts_with("2 "), "differs from the container's own: {line}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed() {
    node(async |node| {
        let (_, _, id) = node.idle("slow").await;
        let script = "sleep 7654321 & echo started; sleep 7654321";
        let error = node
            .try_exec(&id, &["sh", "-c", script], 1)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        assert!(error.message().contains('1'), "{error}");
        until("the whole of it is gone", async || {
            !node.exec(&id, &["ps"]).await.contains("7654321")
        })
        .await;
        // The container itself goes on.
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
    })
    .await;
}

#[tokio::test]
async fn output_is_capped() {
    let options = Options {
        args: vec!["--exec-output-max=100KiB".into()],
        ..Options::default()
    };
    node_with(options, async |node| {
        let (_, _, id) = node.idle("loud").await;
        let done = node
            .try_exec(
                &id,
                &["sh", "-c", "yes | head -c 5000000; echo kept >&2"],
                0,
            )
            .await
            .unwrap();
        assert_eq!(done.stdout.len(), 100 << 10);
        assert_eq!(done.stderr, b"kept\n");
        assert_eq!(done.exit_code, 0);
    })
    .await;
}

#[tokio::test]
async fn large_output_arrives_whole() {
    node(async |node| {
        let (_, _, id) = node.idle("large").await;
        let done = node
            .try_exec(&id, &["sh", "-c", "seq 1 300000"], 0)
            .await
            .unwrap();
        let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
        assert!(done.stdout == expected.as_bytes());
    })
    .await;
}

#[tokio::test]
async fn a_daemon_of_the_command_does_not_hold_the_answer() {
    node(async |node| {
        let (_, _, id) = node.idle("daemons").await;
        let done = node
            .try_exec(
                &id,
                &["sh", "-c", "sleep 7654321 >/dev/null 2>&1 & echo done"],
                0,
            )
            .await
            .unwrap();
        assert_eq!(done.stdout, b"done\n");
        assert!(node.exec(&id, &["ps"]).await.contains("7654321"));
    })
    .await;
}

#[tokio::test]
async fn many_at_once_do_not_mix() {
    node(async |node| {
        let (_, _, id) = node.idle("many").await;
        let runs = (0..20).map(|n| {
            let id = &id;
            async move {
                let word = format!("word-{n}");
                assert_eq!(node.exec(id, &["echo", &word]).await, word);
            }
        });
        futures_util::future::join_all(runs).await;
    })
    .await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named() {
    node(async |node| {
        let (_, _, id) = node.idle("unknown").await;
        match node.try_exec(&id, &["no-such-command"], 0).await {
            Err(error) => assert!(error.message().contains("no-such-command"), "{error}"),
            Ok(done) => {
                let text = String::from_utf8_lossy(&done.stderr).into_owned();
                assert!([126, 127].contains(&done.exit_code), "{done:?}");
                assert!(text.contains("no-such-command"), "{text}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn it_needs_a_running_container_and_a_command() {
    node(async |node| {
        let config = pod("idle");
        let pod = node.pod(&config).await;
        let id = node
            .create(&pod, &config, &container("main", &["true"]))
            .await;
        let error = node.try_exec(&id, &["true"], 0).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains(&id), "{error}");
        node.start_container(&id).await.unwrap();
        node.exit(&id).await;
        let error = node.try_exec(&id, &["true"], 0).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        let (_, _, id) = node.idle("running").await;
        let error = node.try_exec(&id, &[], 0).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains("cmd"), "{error}");
        let error = node.try_exec(&id, &["true"], -3).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains("timeout"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_container_ends_meanwhile_is_killed_or_refused() {
    node(async |node| {
        let config = pod("ending");
        let pod = node.pod(&config).await;
        for round in 0..12 {
            let name = format!("main-{round}");
            let id = node
                .launch(&pod, &config, &container(&name, &["sleep", "1000000"]))
                .await;
            let stop = async {
                tokio::time::sleep(std::time::Duration::from_millis(round * 3)).await;
                node.stop_container(&id, 0).await.unwrap();
            };
            let (done, ()) = tokio::join!(node.try_exec(&id, &["sleep", "1000000"], 0), stop);
            match done {
                Ok(done) => assert_eq!(done.exit_code, 137, "{done:?}"),
                Err(error) => assert_eq!(error.code(), Code::FailedPrecondition, "{error}"),
            }
        }
    })
    .await;
}
