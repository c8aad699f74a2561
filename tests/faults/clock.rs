//! Clocks that jump: the one that counts since the boot, between one daemon and the next, and the one on the wall,
//! under a daemon that runs.

use std::{
    os::unix::fs::FileExt,
    process::Command,
    time::{Duration, Instant},
};

use super::others_work;
use crate::support::{Node, Scratch, node, patience, pod, run, shell, until};

/// In a time namespace where the machine has been up for so many seconds more.
fn up_longer(seconds: &str, command: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer
        .arg("--time")
        .arg(format!("--monotonic={seconds}"))
        .arg(format!("--boottime={seconds}"))
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    outer
}

/// A grace period that is longer than none and shorter than a test's patience passes as it should.
async fn a_grace_period_passes(node: &Node, name: &str) {
    let config = pod(name);
    let pod = node.pod(&config).await;
    let deaf = shell("deaf", "trap '' TERM; echo up; while :; do sleep 0.2; done");
    let id = node.launch(&pod, &config, &deaf).await;
    until("it runs", async || node.output(&config, &deaf) == "up\n").await;
    let begun = Instant::now();
    node.stop_container(&id, 2).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2), "cut short");
    assert!(begun.elapsed() < patience(), "never over");
    node.remove_pod(&pod).await.unwrap();
}

#[tokio::test]
async fn the_time_since_the_boot_may_differ_from_daemon_to_daemon() {
    node(async |node| {
        let (_, _, id) = node.idle("kept").await;
        for seconds in ["315360000", "0"] {
            node.kill();
            node.start_by(|command| up_longer(seconds, &command)).await;
            assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
            let slow = node.try_exec(&id, &["sleep", "1000000"], 1).await;
            assert_eq!(slow.unwrap_err().code(), tonic::Code::DeadlineExceeded);
            a_grace_period_passes(node, &format!("graceful-{seconds}")).await;
            others_work(node, "others").await;
        }
    })
    .await;
}

/// Puts itself before the C library's clock: what a file says is added to the time of day.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long *offset;
__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
    void *page = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) offset = page;
    close(fd);
}
int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME && offset) time->tv_sec += *offset;
    return result;
}
"#;

/// A wall clock of its own for the daemon.
struct Wall {
    scratch: Scratch,
    offset: std::fs::File,
}

impl Wall {
    async fn new() -> Self {
        let scratch = Scratch::new();
        let source = scratch.file("shim.c", SHIM);
        let library = scratch.join("shim.so");
        let [source, library] = [&source, &library].map(|path| path.to_str().unwrap());
        run(&["gcc", "-shared", "-fPIC", "-O1", "-o", library, source])
            .await
            .ok();
        let offset = std::fs::File::create(scratch.join("offset")).unwrap();
        offset.set_len(4096).unwrap();
        Self { scratch, offset }
    }

    fn jump(&self, seconds: i64) {
        self.offset.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn over(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", self.scratch.join("shim.so"))
            .env("CLOCK_OFFSET", self.scratch.join("offset"));
        command
    }
}

const YEAR: i64 = 365 * 24 * 3600;

#[tokio::test]
async fn the_time_of_day_may_jump_under_a_running_daemon() {
    let wall = Wall::new().await;
    node(async |node| {
        let (_, _, id) = node.idle("kept").await;
        node.kill();
        node.start_by(|command| wall.over(command)).await;
        let mut before = None;
        for years in [0, 10, -10, 0] {
            wall.jump(years * YEAR);
            let (_, pod, _) = node.idle(&format!("made-{}", years + 10)).await;
            let created = node.pod_status(&pod).await.created_at;
            // The clock is the one that was made to jump: the test would see nothing otherwise.
            let jumped = before.replace(created).map(|before: i64| created - before);
            if let Some(jumped) = jumped {
                assert!(jumped.abs() > 5 * YEAR * 1_000_000_000, "{jumped}");
            }
            assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
            let slow = node.try_exec(&id, &["sleep", "1000000"], 1).await;
            assert_eq!(slow.unwrap_err().code(), tonic::Code::DeadlineExceeded);
            // Jumps while a grace period runs.
            let jumps = async {
                tokio::time::sleep(Duration::from_millis(700)).await;
                wall.jump((years + 1) * YEAR);
                tokio::time::sleep(Duration::from_millis(700)).await;
                wall.jump(years * YEAR);
            };
            let name = format!("graceful-{}-{}", years + 10, before.unwrap_or(0));
            tokio::join!(a_grace_period_passes(node, &name), jumps);
            node.remove_pod(&pod).await.unwrap();
        }
        // The order of things is kept over a restart, whatever the clock says by then.
        wall.jump(-10 * YEAR);
        node.kill();
        node.start_by(|command| wall.over(command)).await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        others_work(node, "after").await;
    })
    .await;
}
