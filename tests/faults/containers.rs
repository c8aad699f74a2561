//! Containers that do what they should not.

use super::others_work;
use crate::support::{
    Mounted, Node, Options, cgroup_directories, container, node, node_with, patience, pod, shell,
    until,
};

/// Whether a fork failed for the limit of the container's cgroup.
fn at_its_limit(node: &Node, id: &str) -> bool {
    let parents = cgroup_directories(&node.cgroup());
    let mut found = Vec::new();
    for pod in parents
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).unwrap().flatten())
    {
        for container in std::fs::read_dir(pod.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            if container.file_name().to_string_lossy().contains(id) {
                found.extend(std::fs::read_to_string(
                    container.path().join("pids.events"),
                ));
            }
        }
    }
    found.iter().any(|text| !text.trim_end().ends_with("max 0"))
}

#[tokio::test]
async fn one_that_ignores_its_stop_signal_is_killed_when_its_time_is_up() {
    node(async |node| {
        let config = pod("deaf");
        let pod = node.pod(&config).await;
        let deaf = shell(
            "deaf",
            "trap '' TERM INT HUP; echo up; while :; do sleep 1; done",
        );
        let id = node.launch(&pod, &config, &deaf).await;
        until("it runs", async || node.output(&config, &deaf) == "up\n").await;
        let (stopped, ()) = tokio::join!(
            node.stop_container(&id, 3),
            others_work(node, "during-the-grace")
        );
        stopped.unwrap();
        assert_eq!(node.status(&id).await.exit_code, 137);
        // Nor does a pod wait for one.
        let id = node
            .launch(
                &pod,
                &config,
                &shell("deaf2", "trap '' TERM; echo up; while :; do sleep 1; done"),
            )
            .await;
        node.stop_pod(&pod).await.unwrap();
        assert_eq!(node.status(&id).await.exit_code, 137);
    })
    .await;
}

#[tokio::test]
async fn one_that_forks_without_end_meets_its_limit_and_is_removed() {
    let options = Options {
        args: vec!["--pids-limit=50".into()],
        ..Options::default()
    };
    node_with(options, async |node| {
        let config = pod("forks");
        let pod = node.pod(&config).await;
        // Each process begins two more, for ever. A shell that may not fork ends, so none of this is done by
        // the container's first process: with it the cgroup would go that tells of the limit.
        let bomb = shell(
            "bomb",
            "(b() { b | b & b; }; b 2>/dev/null) & exec sleep 1000000",
        );
        let id = node.launch(&pod, &config, &bomb).await;
        until("it has as many processes as it may", async || {
            at_its_limit(node, &id)
        })
        .await;
        others_work(node, "beside").await;
        node.remove_container(&id).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn one_that_fills_its_log_loses_lines_and_no_exit_code() {
    node(async |node| {
        let logs = node.scratch.dir("logs/small");
        let disk = Mounted::new(&["-t", "tmpfs", "-o", "size=256k", "tmpfs"], &logs).await;
        let mut config = pod("fills");
        config.log_directory = logs.to_str().unwrap().to_owned();
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "head -c 1000000 /dev/zero | tr '\\0' x | fold -w 100; echo written; \
             until [ -e /go-on ]; do sleep 0.1; done; echo after; exit 3",
        );
        let id = node.launch(&pod, &config, &main).await;
        let log = node.log_path(&config, &main);
        until("the disk of the logs is full", async || {
            rustix::fs::statvfs(&logs).unwrap().f_bavail == 0
        })
        .await;
        others_work(node, "beside").await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        // With room again it goes on, in whole records.
        std::fs::remove_file(&log).unwrap();
        until("the log can be opened anew", async || {
            node.reopen_log(&id).await.is_ok()
        })
        .await;
        node.exec(&id, &["touch", "/go-on"]).await;
        assert_eq!(node.exit(&id).await.exit_code, 3);
        let lines = node.log(&config, &main);
        assert!(lines.iter().any(|line| line.text == "after"), "{lines:?}");
        node.remove_all().await;
        drop(disk);
    })
    .await;
}

#[tokio::test]
async fn one_that_closes_its_streams_runs_on() {
    node(async |node| {
        let config = pod("closes");
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "echo first; exec <&- >&- 2>&-; until [ -e /go-on ]; do sleep 0.1; done; exit 4",
        );
        let id = node.launch(&pod, &config, &main).await;
        until("its word is logged", async || {
            node.output(&config, &main) == "first\n"
        })
        .await;
        // Neither it nor its monitor took that for the end.
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        node.reopen_log(&id).await.unwrap();
        node.exec(&id, &["touch", "/go-on"]).await;
        assert_eq!(node.exit(&id).await.exit_code, 4);
    })
    .await;
}

#[tokio::test]
async fn a_grandchild_that_keeps_its_output_open_does_not_hold_up_the_end() {
    node(async |node| {
        // In the pod's PID namespace a grandchild outlives the container's first process.
        let mut config = pod("grandchild");
        crate::support::namespaces(&mut config).pid = corten::cri::api::NamespaceMode::Pod as i32;
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "setsid sh -c 'trap \"\" HUP; while :; do echo still here; sleep 0.1; done' & echo gone; exit 6",
        );
        let id = node.launch(&pod, &config, &main).await;
        let begun = std::time::Instant::now();
        let status = node.exit(&id).await;
        assert!(begun.elapsed() < patience() / 2);
        assert_eq!(status.exit_code, 6);
        let lines = node.log(&config, &main);
        assert!(lines.iter().any(|line| line.text == "gone"), "{lines:?}");
        // Nothing of it stays behind its container.
        until("the grandchild is gone, too", async || {
            let now = node.log(&config, &main).len();
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            node.log(&config, &main).len() == now
        })
        .await;
        node.remove_container(&id).await.unwrap();
        let next = container("next", &["true"]);
        let id = node.launch(&pod, &config, &next).await;
        assert_eq!(node.exit(&id).await.exit_code, 0);
    })
    .await;
}
