//! How containers that could not be started, or fell to the OOM killer, are told to have ended.

use corten::cri::api::{ContainerState, LinuxContainerResources};

use crate::support::{
    Node, Options, Scratch, container, linux, node, node_with, pod, runtime_behind, shell,
};

/// A node whose runtime refuses to start containers, with what it says in a file.
async fn with_stubborn_runtime(body: impl AsyncFnOnce(&Node, &Scratch)) {
    let scratch = Scratch::new();
    let words = scratch.join("words");
    let does = format!(
        "for word; do\n  if [ \"$word\" = start ] && [ -e {words} ]; then\n    cat {words} >&2\n    exit 1\n  fi\ndone",
        words = words.display()
    );
    let runtime = runtime_behind(&scratch, "stubborn", &does);
    let options = Options {
        args: vec![
            "--default-runtime=stubborn".into(),
            format!("--runtime=stubborn={}", runtime.display()),
        ],
        ..Options::default()
    };
    node_with(options, async |node| body(node, &scratch).await).await;
}

#[tokio::test]
async fn a_failed_start_is_told_with_the_runtimes_words() {
    with_stubborn_runtime(async |node, scratch| {
        let config = pod("stubborn");
        let pod = node.pod(&config).await;
        let mut ids = Vec::new();
        for (n, (words, code, reason)) in [
            ("no mood for it today", 128, "StartError"),
            (
                "exec: \"/nope\": stat /nope: no such file or directory",
                127,
                "ContainerCannotRun",
            ),
            ("exec /x: exec format error", 126, "ContainerCannotRun"),
        ]
        .into_iter()
        .enumerate()
        {
            let main = container(&format!("main-{n}"), &["sleep", "1000000"]);
            let id = node.create(&pod, &config, &main).await;
            scratch.file("words", words);
            let error = node.start_container(&id).await.unwrap_err();
            assert!(error.message().contains(words), "{error}");
            let status = node.status(&id).await;
            assert_eq!(status.state(), ContainerState::ContainerExited);
            assert_eq!((status.exit_code, status.reason.as_str()), (code, reason));
            assert!(status.message.contains(words), "{}", status.message);
            assert_eq!(status.started_at, 0);
            assert!(status.finished_at >= status.created_at);
            std::fs::remove_file(scratch.join("words")).unwrap();
            ids.push((id, status));
        }
        node.restart().await;
        for (id, before) in &ids {
            assert_eq!(&node.status(id).await, before);
        }
        let main = container("well", &["true"]);
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(node.exit(&id).await.reason, "Completed");
    })
    .await;
}

#[tokio::test]
async fn usual_endings_are_told_alike_after_a_restart() {
    node(async |node| {
        let config = pod("endings");
        let pod = node.pod(&config).await;
        let limited = |script: &str, name: &str| {
            let mut main = shell(name, script);
            linux(&mut main).resources = Some(LinuxContainerResources {
                memory_limit_in_bytes: 16 << 20,
                memory_swap_limit_in_bytes: 16 << 20,
                ..Default::default()
            });
            main
        };
        let eat = "x=a; while :; do x=$x$x; done";
        let child = format!("sh -c '{eat}'; exit 4");
        let mut before = Vec::new();
        for (main, code, reason) in [
            (shell("completed", "exit 0"), 0, "Completed"),
            (shell("error", "exit 3"), 3, "Error"),
            (limited(eat, "init"), 137, "OOMKilled"),
            // Whichever process it hit: what comes of a container after that is not to be relied upon.
            (limited(&child, "child"), 4, "OOMKilled"),
        ] {
            let id = node.launch(&pod, &config, &main).await;
            let status = node.exit(&id).await;
            assert_eq!(
                (status.exit_code, status.reason.as_str()),
                (code, reason),
                "{status:?}"
            );
            assert!(status.started_at > 0 && status.finished_at >= status.started_at);
            before.push((id, status));
        }
        node.restart().await;
        for (id, status) in &before {
            assert_eq!(&node.status(id).await, status);
        }
    })
    .await;
}
