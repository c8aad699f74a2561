//! How containers end, and who hears of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::bundle::*;
use crate::monitor::*;

#[tokio::test]
async fn exit_codes_and_signals_are_told_as_they_are() {
    let bundle = Bundle::shell("exit 42");
    let before = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as i64;
    let record = bundle.run_to_end().await;
    let after = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as i64;
    assert_eq!(record.status, ExitStatus::Code(42));
    assert!(record.log_drained && !record.oom_killed);
    assert!((before..=after).contains(&record.finished_at));
    assert_eq!(
        read_exit_record(&bundle.path("records/exit"))
            .await
            .unwrap(),
        Some(record)
    );

    let bundle = Bundle::shell("exec sleep 1000");
    let created = bundle.create().await;
    bundle.start();
    kill(created.pid);
    assert_eq!(
        super::bundle::record(ended(&created.monitor).await).status,
        ExitStatus::Signal(9)
    );
}

#[tokio::test]
async fn the_monitor_leaves_nothing() {
    let bundle = Bundle::shell("true");
    let created = bundle.create().await;
    bundle.start();
    record(ended(&created.monitor).await);
    until("the monitor is gone", || !is_alive(created.monitor_pid)).await;
    assert!(!bundle.path("ctl").exists() && !bundle.path("attach").exists());
    assert_eq!(
        std::fs::read_dir(bundle.path("records")).unwrap().count(),
        1
    );
    assert!(matches!(
        created.monitor.state().await,
        Err(MonitorError::Gone)
    ));
    assert!(matches!(created.monitor.try_exited(), Some(End::Exited(_))));
}

#[tokio::test]
async fn memory_kills_are_told() {
    let bundle = Bundle::new(&["tail", "/dev/zero"], |spec| {
        spec["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    });
    let record = bundle.run_to_end().await;
    assert_eq!(record.status, ExitStatus::Signal(9));
    assert!(record.oom_killed);
}

#[tokio::test]
async fn a_memory_kill_of_a_child_is_told_too() {
    let bundle = Bundle::new(&["sh", "-c", "tail /dev/zero; exit 5"], |spec| {
        spec["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    });
    let record = bundle.run_to_end().await;
    assert_eq!(record.status, ExitStatus::Code(5));
    assert!(record.oom_killed);
}

#[tokio::test]
async fn the_daemon_may_be_away() {
    let bundle =
        Bundle::shell("echo one; while [ ! -e /go ]; do sleep 0.02; done; echo two; exit 3");
    let created = bundle.create().await;
    bundle.start();
    let pid = created.pid;
    drop(created);
    until("it logs", || {
        bundle.path("log").exists() && bundle.logged("stdout") == "one\n"
    })
    .await;
    let Adopted::Alive(monitor) = within(adopt(&bundle.paths())).await.unwrap() else {
        panic!()
    };
    assert_eq!(monitor.pid(), pid);
    assert!(matches!(monitor.state().await, Ok(Phase::Running { pid: told }) if told == pid));
    let waiting = monitor.exited();
    monitor.close();
    std::fs::write(bundle.path("rootfs/go"), "").unwrap();
    assert_eq!(record(within(waiting).await).status, ExitStatus::Code(3));
    assert_eq!(bundle.logged("stdout"), "one\ntwo\n");
    let Adopted::Exited(again) = within(adopt(&bundle.paths())).await.unwrap() else {
        panic!()
    };
    assert_eq!(again.status, ExitStatus::Code(3));
}

#[tokio::test]
async fn it_ends_while_the_daemon_is_away() {
    let bundle = Bundle::shell("exit 9");
    let created = bundle.create().await;
    let monitor = created.monitor_pid;
    drop(created);
    bundle.start();
    until("the monitor is gone", || !is_alive(monitor)).await;
    let Adopted::Exited(record) = within(adopt(&bundle.paths())).await.unwrap() else {
        panic!()
    };
    assert_eq!(record.status, ExitStatus::Code(9));
}

#[tokio::test]
async fn a_creation_outlives_who_asked_for_it() {
    let bundle = Bundle::shell("exec sleep 1000");
    let gate = bundle.path("gate");
    // The runtime's own command line, once the gate is open.
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.02; done; exec \"$@\"",
        gate.display()
    );
    let request = bundle.request_behind(&script);
    let creation = tokio::spawn(async move { spawn(&binary(), request).await.map(|_| ()) });
    until("the monitor listens", || bundle.path("ctl").exists()).await;
    creation.abort();
    let _ = creation.await;
    let paths = bundle.paths();
    let adoption = tokio::spawn(async move { adopt(&paths).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::write(gate, "").unwrap();
    let Adopted::Alive(monitor) = within(adoption).await.unwrap().unwrap() else {
        panic!()
    };
    assert_eq!(
        std::fs::read_to_string(bundle.path("pidfile")).unwrap(),
        monitor.pid().to_string()
    );
}

#[tokio::test]
async fn a_killed_monitor_is_lost_and_says_nothing_false() {
    let bundle = Bundle::shell("exec sleep 1000");
    let created = bundle.create().await;
    bundle.start();
    kill(created.monitor_pid);
    assert_eq!(ended(&created.monitor).await, End::Lost);
    assert!(matches!(
        within(adopt(&bundle.paths())).await,
        Ok(Adopted::Lost)
    ));
    assert!(is_alive(created.pid), "the container goes on");
}

#[tokio::test]
async fn a_killed_monitor_whose_record_is_there_is_no_loss() {
    let bundle = Bundle::shell("exec sleep 1000");
    let created = bundle.create().await;
    let record =
        "corten-exit 1\nstatus code 7\noom_killed false\nfinished_at 5\nlog_drained true\nend\n";
    std::fs::write(bundle.path("records/exit"), record).unwrap();
    kill(created.monitor_pid);
    let End::Exited(record) = ended(&created.monitor).await else {
        panic!()
    };
    assert_eq!(record.status, ExitStatus::Code(7));
    std::fs::write(bundle.path("records/exit"), "corten-exit 1\nstatus code").unwrap();
    assert!(matches!(
        within(adopt(&bundle.paths())).await,
        Err(MonitorError::BrokenRecord { .. })
    ));
}

#[tokio::test]
async fn the_monitor_ignores_what_asks_it_to_leave() {
    let bundle = Bundle::shell("trap 'exit 4' TERM; echo ready; while :; do sleep 0.02; done");
    let created = bundle.create().await;
    bundle.start();
    until("it is ready", || bundle.logged("stdout") == "ready\n").await;
    for signal in ["TERM", "INT", "HUP", "USR1", "PIPE"] {
        let pid = created.monitor_pid.to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
    assert!(matches!(
        created.monitor.state().await,
        Ok(Phase::Running { .. })
    ));
    // The container itself hears signals as it should: none is left blocked or ignored.
    assert!(
        bundle
            .runc(&["kill", bundle.id.as_str(), "TERM"])
            .status
            .success()
    );
    assert_eq!(
        record(ended(&created.monitor).await).status,
        ExitStatus::Code(4)
    );
}
