//! Monitors that hang, or never begin.

use std::process::{Child, Command, Stdio};

use nix::unistd::Pid;
use tonic::Code;

use super::{
    front::{Front, HOLD},
    others_work, says,
};
use crate::support::{Node, Options, container, node, node_with, pod, until};

/// The monitor of a running container.
pub(super) async fn monitor_of(node: &Node, id: &str) -> Pid {
    let init = node.init_pid(id).await;
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    Pid::from_raw(parent.unwrap().trim().parse().unwrap())
}

/// Holds a process at its next system call, where no signal but one that kills gets through.
fn held(process: Pid) -> Child {
    Command::new("strace")
        .args([
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "inject=all:delay_enter=100000000",
        ])
        .args(["-p", &process.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_monitor_that_hangs_keeps_its_container_from_nothing_but_its_exit_code() {
    node(async |node| {
        let (_, pod, id) = node.idle("hangs").await;
        let monitor = monitor_of(node, &id).await;
        let mut holder = held(monitor);
        until("the monitor is held", async || {
            let status = std::fs::read_to_string(format!("/proc/{monitor}/status")).unwrap();
            status.contains(&format!("TracerPid:\t{}\n", holder.id()))
        })
        .await;
        let error = node.reopen_log(&id).await.unwrap_err();
        says(&error, &["monitor did not answer"]);
        let stop = node.stop_container(&id, 0);
        let (stopped, ()) = tokio::join!(stop, others_work(node, "beside"));
        stopped.unwrap();
        // Its code died with the monitor, so none is told.
        let status = node.exit(&id).await;
        assert_eq!(
            (status.reason.as_str(), status.exit_code),
            ("MonitorLost", -1)
        );
        holder.wait().unwrap();
        node.remove_pod(&pod).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_monitor_that_never_begins_is_given_up() {
    let front = Front::monitor();
    let options = Options {
        args: vec!["--create-timeout=1s".into()],
        monitor: Some(front.program().to_owned()),
        ..Options::default()
    };
    node_with(options, async |node| {
        let (_, _, running) = node.idle("before").await;
        let config = pod("hangs");
        let pod = node.pod(&config).await;
        let main = container("main", &["sleep", "1000000"]);
        front.set("begin", HOLD);
        let (error, said) = tokio::join!(
            node.try_create(&pod, &config, &main),
            node.exec(&running, &["echo", "well"])
        );
        assert_eq!(said, "well");
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        says(&error, &["monitor", "creation"]);
        front.set("begin", "kill -SEGV $$");
        let error = node.try_create(&pod, &config, &main).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{error}");
        says(&error, &["monitor", "signal: 11"]);
        front.clear("begin");
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        front.quiet().await;
    })
    .await;
}
