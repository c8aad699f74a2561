//! Pods of several containers, and commands that outlast what they watch.

use std::process::{Child, Stdio};

use corten::cri::api::ReopenContainerLogRequest;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{IMAGE, Node, node, until};

#[tokio::test]
async fn a_second_container_joins_a_pod() {
    node(async |node| {
        let script = "echo note > /dev/shm/note; exec sleep 1000";
        let first = [
            "run", "-d", "--pod", "new:shop", "--name", "web", IMAGE, "sh", "-c", script,
        ];
        node.cli(&first).await.ok();
        let second = [
            "run", "-d", "--pod", "shop", "--name", "db", IMAGE, "sleep", "1000",
        ];
        node.cli(&second).await.ok();
        let said = node.cli(&second).await;
        assert_eq!(said.code, Some(125));
        assert!(said.stderr.contains("shop/db"), "{said:?}");
        let said = node.cli(&first).await;
        assert!(said.stderr.contains("corten rm -f shop"), "{said:?}");
        let said = node.cli(&["exec", "shop", "true"]).await;
        assert!(
            said.stderr.contains("shop/db") && said.stderr.contains("shop/web"),
            "{said:?}"
        );
        until("the note is there", async || {
            let done = node.cli(&["exec", "shop/db", "cat", "/dev/shm/note"]).await;
            done.stdout == "note\n"
        })
        .await;
        assert_eq!(node.cli(&["exec", "db", "hostname"]).await.ok(), "shop\n");
        // One in the foreground goes alone.
        let output = node
            .cli(&["run", "--pod", "shop", IMAGE, "cat", "/dev/shm/note"])
            .await
            .ok();
        assert_eq!(output, "note\n");
        assert_eq!(node.containers(None).await.len(), 2);
        let said = node.cli(&["rm", "db"]).await.failed();
        assert!(said.contains("-f"), "{said}");
        node.cli(&["rm", "-f", "db"]).await.ok();
        assert_eq!(node.pods(None).await.len(), 1);
        // The last one takes the pod with it.
        node.cli(&["rm", "-f", "shop/web"]).await.ok();
        assert!(node.pods(None).await.is_empty());
        let logs = node.scratch.join("run-logs");
        assert_eq!(std::fs::read_dir(logs).unwrap().count(), 0);
    })
    .await;
}

#[tokio::test]
async fn following_outlasts_the_daemon_and_rotation() {
    node(async |node| {
        let script = "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.02; done; exit 6";
        let id = node
            .cli(&["run", "-d", "--name", "count", IMAGE, "sh", "-c", script])
            .await
            .ok();
        let id = id.trim();
        let path = node.scratch.join("followed");
        let follower = node
            .cli_command()
            .args(["logs", "-f", "count"])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&path).unwrap())
            .spawn()
            .unwrap();
        let followed = || std::fs::read_to_string(&path).unwrap();
        until("it follows", async || !followed().is_empty()).await;
        node.restart().await;
        let log = std::path::PathBuf::from(node.status(id).await.log_path);
        std::fs::rename(&log, log.with_extension("log.1")).unwrap();
        node.runtime()
            .reopen_container_log(ReopenContainerLogRequest {
                container_id: id.to_owned(),
            })
            .await
            .unwrap();
        let output = finished(follower).await;
        assert!(output.status.success(), "{output:?}");
        let expected: String = (0..300).map(|i| format!("{i}\n")).collect();
        assert_eq!(followed(), expected);
        let listed = node.cli(&["ps", "-a"]).await.ok();
        assert!(listed.contains("exited (code 6)"), "{listed}");
        node.cli(&["rm", "count"]).await.ok();
    })
    .await;
}

#[tokio::test]
async fn running_outlasts_the_daemon() {
    node(async |node| {
        let script = "echo up; sleep 3; echo end; exit 7";
        let runner = spawned(node, &["run", "--name", "long", IMAGE, "sh", "-c", script]);
        until("it runs", async || {
            node.cli(&["logs", "long"]).await.stdout == "up\n"
        })
        .await;
        node.restart().await;
        let output = finished(runner).await;
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "up\nend\n");
        assert!(node.pods(None).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_second_interrupt_does_not_wait() {
    node(async |node| {
        let script = "trap 'echo heard' TERM; echo up; while :; do sleep 0.1; done";
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let runner = spawned(node, &["run", "--name", "stub", IMAGE, "sh", "-c", script]);
            let pid = Pid::from_raw(runner.id() as i32);
            until("it is up", async || {
                node.cli(&["logs", "stub"]).await.stdout == "up\n"
            })
            .await;
            kill(pid, signal).unwrap();
            until("it has heard", async || {
                node.cli(&["logs", "stub"]).await.stdout.contains("heard")
            })
            .await;
            kill(pid, signal).unwrap();
            let output = finished(runner).await;
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            assert!(output.stdout.starts_with(b"up\nheard\n"), "{output:?}");
            assert!(node.pods(None).await.is_empty());
        }
    })
    .await;
}

fn spawned(node: &Node, words: &[&str]) -> Child {
    node.cli_command()
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn finished(child: Child) -> std::process::Output {
    tokio::task::spawn_blocking(move || child.wait_with_output())
        .await
        .unwrap()
        .unwrap()
}
