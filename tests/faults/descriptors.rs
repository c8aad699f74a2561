//! A daemon that has no descriptor left.

use tonic::Code;

use super::{others_work, says};
use crate::support::{Node, container, node, pod, run, until};

/// Lets the daemon have so many descriptors.
async fn allow(node: &Node, soft: &str) {
    let pid = node.pid().to_string();
    let limit = format!("--nofile={soft}:");
    run(&["prlimit", "--pid", &pid, &limit]).await.ok();
}

#[tokio::test]
async fn without_descriptors_requests_fail_until_there_are_some() {
    node(async |node| {
        let (config, pod_id, id) = node.idle("before").await;
        let (_, _, ends) = node.idle("ends").await;
        let (_, _, stops) = node.idle("stops").await;
        let before = std::fs::read_to_string(format!("/proc/{}/limits", node.pid())).unwrap();
        let line = before
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let usual = line.unwrap().split_whitespace().nth(3).unwrap().to_owned();
        // None beyond those of the connections that it has.
        allow(node, "3").await;

        let error = node.try_pod(&pod("none")).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        says(&error, &["too many open files"]);
        let main = container("second", &["true"]);
        let error = node.try_create(&pod_id, &config, &main).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        says(&error, &["too many open files"]);
        let error = node.try_exec(&id, &["true"], 0).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        says(&error, &["too many open files"]);
        // A descriptor of each init is there already: what runs can be stopped.
        node.stop_container(&stops, 0).await.unwrap();
        assert_eq!(node.status(&stops).await.exit_code, 137);
        // What needs none is as ever: it is asked on a connection that is there.
        assert_eq!(node.pods(None).await.len(), 3);
        assert_eq!(node.status(&id).await.id, id);
        // An end is noticed, though what it leaves has to wait.
        let pid = i32::try_from(node.init_pid(&ends).await).unwrap();
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(node.exit(&ends).await.exit_code, 137);
        // Nobody new is let in, and nobody is turned away for good.
        let late = node.cli(&["version"]);
        let free = async {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            allow(node, &usual).await;
        };
        let (version, ()) = tokio::join!(late, free);
        version.ok();

        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        others_work(node, "after").await;
        node.stop_container(&id, 0).await.unwrap();
        until("what the ended one left is gone", async || {
            let left = node.leftovers().await;
            let cgroup = |line: &&String| line.starts_with("cgroup") && line.contains(&ends);
            !left.iter().any(|line| cgroup(&line))
        })
        .await;
    })
    .await;
}
