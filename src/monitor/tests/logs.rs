//! What containers say.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

use serde_json::json;

use super::bundle::*;
use crate::monitor::*;

#[tokio::test]
async fn streams_are_kept_apart_and_lines_whole() {
    let bundle = Bundle::shell("echo out; echo err >&2; printf 'no newline'; exit 0");
    let record = bundle.run_to_end().await;
    assert!(record.log_drained);
    assert_eq!(bundle.logged("stdout"), "out\nno newline");
    assert_eq!(bundle.logged("stderr"), "err\n");
    assert_eq!(
        std::fs::metadata(bundle.path("log"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o640
    );
}

#[tokio::test]
async fn a_long_line_is_cut_and_nothing_is_missing() {
    let bundle = Bundle::shell("head -c 100000 /dev/zero | busybox tr '\\0' x; echo; echo end");
    bundle.run_to_end().await;
    let lines = bundle.log();
    assert_eq!(lines.len(), 8);
    assert!(lines.iter().all(|line| line.text.len() <= 16 * 1024));
    assert_eq!(
        text_of(&lines, "stdout"),
        format!("{}\nend\n", "x".repeat(100_000))
    );
}

#[tokio::test]
async fn a_flood_arrives_whole() {
    let bundle = Bundle::shell("busybox seq 1 200000");
    let record = bundle.run_to_end().await;
    assert!(record.log_drained);
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(bundle.logged("stdout") == expected);
    assert!(bundle.log().iter().all(|line| line.tag == "F"));
}

#[tokio::test]
async fn the_log_never_outgrows_its_cap() {
    let bundle = Bundle::shell("busybox seq 1 20000");
    let mut request = bundle.request();
    request.log.as_mut().unwrap().max_size = Some(20_000);
    let created = bundle.create_as(request).await.unwrap();
    bundle.start();
    record(ended(&created.monitor).await);
    assert!(std::fs::metadata(bundle.path("log")).unwrap().len() <= 20_000);
    assert!(bundle.logged("stdout").ends_with("\n19999\n20000\n"));
    assert!(!bundle.path("log.tmp").exists());
}

#[tokio::test]
async fn reopening_is_done_when_it_is_answered() {
    let bundle = Bundle::shell("echo one; while [ ! -e /go ]; do sleep 0.02; done; echo two");
    let monitor = bundle.run().await;
    until("it logs", || bundle.logged("stdout") == "one\n").await;
    std::fs::rename(bundle.path("log"), bundle.path("log.1")).unwrap();
    monitor.reopen_log().await.unwrap();
    assert!(bundle.path("log").exists());
    std::fs::write(bundle.path("rootfs/go"), "").unwrap();
    record(ended(&monitor).await);
    assert_eq!(bundle.logged("stdout"), "two\n");
    assert_eq!(text_of(&read_log(&bundle.path("log.1")), "stdout"), "one\n");
}

#[tokio::test]
async fn a_log_that_cannot_be_reopened_goes_on() {
    let bundle = Bundle::shell("while [ ! -e /go ]; do sleep 0.02; done; echo two");
    let monitor = bundle.run().await;
    std::fs::rename(bundle.path("log"), bundle.path("log.1")).unwrap();
    std::fs::create_dir(bundle.path("log")).unwrap();
    let error = monitor.reopen_log().await.unwrap_err();
    assert!(
        matches!(
            error,
            MonitorError::Refused {
                kind: Refusal::Failed,
                ..
            }
        ),
        "{error:?}"
    );
    std::fs::write(bundle.path("rootfs/go"), "").unwrap();
    record(ended(&monitor).await);
    assert_eq!(text_of(&read_log(&bundle.path("log.1")), "stdout"), "two\n");
}

#[tokio::test]
async fn a_full_disk_neither_stops_the_container_nor_tears_the_log() {
    let bundle =
        Bundle::shell("busybox seq 1 50000; while [ ! -e /go ]; do sleep 0.02; done; echo end");
    let disk = bundle.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let disk = Disk::mount(disk);
    let mut request = bundle.request();
    let path = disk.0.join("log");
    request.log = Some(LogConfig {
        path: path.clone(),
        max_size: None,
    });
    let created = bundle.create_as(request).await.unwrap();
    bundle.start();
    // An exec answers only once the flood went by: the loop is never stuck.
    let out = within(
        created
            .monitor
            .exec(bundle.exec_request(&["echo", "hello"])),
    )
    .await
    .unwrap();
    assert_eq!(out.stdout.bytes, b"hello\n");
    disk.grow();
    std::fs::write(bundle.path("rootfs/go"), "").unwrap();
    let record = record(ended(&created.monitor).await);
    let lines = read_log(&path);
    assert_eq!(record.status, ExitStatus::Code(0));
    assert!(text_of(&lines, "stdout").starts_with("1\n2\n3\n"));
    assert_eq!(lines.last().unwrap().text, "end");
    let lost: u64 = lines
        .iter()
        .filter(|line| line.stream == "stderr")
        .map(|line| line.text.split(' ').nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    let kept = lines.iter().filter(|line| line.stream == "stdout").count() as u64;
    assert!(lost > 0);
    assert_eq!(kept + lost, 50_001);
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_is_not_waited_for() {
    // In the pod's PID namespace children live on when init is gone.
    let bundle = Bundle::new(&["sh", "-c", "sleep 1000 & echo done; exit 6"], |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let mut request = bundle.request();
    request.drain = Duration::from_millis(200);
    let created = bundle.create_as(request).await.unwrap();
    bundle.start();
    let record = record(ended(&created.monitor).await);
    assert_eq!(record.status, ExitStatus::Code(6));
    assert!(!record.log_drained);
    assert_eq!(bundle.logged("stdout"), "done\n");
    assert!(
        bundle
            .runc(&["kill", "--all", bundle.id.as_str(), "KILL"])
            .status
            .success()
    );
}

#[tokio::test]
async fn what_the_runtime_says_is_not_the_containers() {
    let bundle = Bundle::shell("echo mine");
    let request = bundle.request_behind("echo a warning >&2; exec \"$@\"");
    let created = within(spawn(&binary(), request)).await.unwrap();
    assert_eq!(created.runtime_stderr, "a warning\n");
    bundle.start();
    record(ended(&created.monitor).await);
    assert_eq!(bundle.logged("stderr"), "");
    assert_eq!(bundle.logged("stdout"), "mine\n");
}

#[tokio::test]
async fn unprivileged_users_can_write_to_their_own_output() {
    let bundle = Bundle::new(&["sh", "-c", "echo hello >/dev/stdout"], |spec| {
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    assert_eq!(bundle.run_to_end().await.status, ExitStatus::Code(0));
    assert_eq!(bundle.logged("stdout"), "hello\n");
}

/// A small disk of its own.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Self {
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "corten-test"])
            .arg(&at));
        Self(at)
    }

    fn grow(&self) {
        run(Command::new("mount")
            .args(["-o", "remount,size=8m"])
            .arg(&self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the monitor may be just about to close its log.
        run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
