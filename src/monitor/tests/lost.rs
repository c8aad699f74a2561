//! Monitors that are killed or stopped.

use rustix::process::{Pid, Signal, kill_process};

use super::bundle::*;
use crate::monitor::*;

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The state of a process, as the kernel's letter.
fn letter(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

#[tokio::test]
async fn the_end_of_a_container_without_its_monitor_is_told_when_it_is_gone() {
    for created_only in [true, false] {
        let bundle = Bundle::shell("exec sleep 1000");
        let created = bundle.create().await;
        if !created_only {
            bundle.start();
        }
        // Once it has answered, what its first answers were is settled.
        created.monitor.state().await.unwrap();
        kill(created.monitor_pid);
        assert_eq!(ended(&created.monitor).await, End::Lost);
        assert!(!is_alive(created.pid), "it runs on");
        assert!(matches!(
            within(adopt(&bundle.paths())).await,
            Ok(Adopted::Lost)
        ));
    }
}

#[tokio::test]
async fn whichever_of_the_two_is_killed_first_no_code_is_made_up() {
    for monitor_first in [true, false] {
        let bundle = Bundle::shell("exec sleep 1000");
        let created = bundle.create().await;
        bundle.start();
        created.monitor.state().await.unwrap();
        let mut pids = [created.monitor_pid, created.pid];
        if !monitor_first {
            pids.reverse();
        }
        for pid in pids {
            // The second may have ended with the first.
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        match ended(&created.monitor).await {
            End::Lost => {}
            End::Exited(record) => {
                assert!(!monitor_first, "the monitor was dead before");
                assert_eq!(record.status, ExitStatus::Signal(9));
            }
        }
        assert!(!is_alive(created.pid));
    }
}

#[tokio::test]
async fn a_stopped_monitor_is_continued_when_it_is_needed() {
    let bundle = Bundle::shell("exec sleep 1000");
    let monitor = bundle.run().await;
    monitor.state().await.unwrap();
    let monitor_pid = monitor.about().pid;
    signal(monitor_pid, Signal::STOP);
    until("it is stopped", || letter(monitor_pid) == Some('T')).await;
    // Nobody needs it: it stays as it is.
    assert!(monitor.try_exited().is_none());
    let said = within(monitor.exec(bundle.exec_request(&["echo", "well"]))).await;
    assert_eq!(said.unwrap().stdout.bytes, b"well\n");
    assert_ne!(letter(monitor_pid), Some('T'));
    kill(monitor.pid());
    record(ended(&monitor).await);
}

#[tokio::test]
async fn the_end_of_a_container_with_a_stopped_monitor_is_told_as_it_was() {
    let bundle = Bundle::shell("exec sleep 1000");
    let monitor = bundle.run().await;
    monitor.state().await.unwrap();
    signal(monitor.about().pid, Signal::STOP);
    assert!(monitor.signal(9), "it is known which process init is");
    let record = record(ended(&monitor).await);
    assert_eq!(record.status, ExitStatus::Signal(9));
    assert!(!is_alive(monitor.pid()));
}

#[tokio::test]
async fn a_stopped_monitor_is_adopted() {
    let bundle = Bundle::shell("exec sleep 1000");
    let monitor = bundle.run().await;
    let monitor_pid = monitor.about().pid;
    monitor.close();
    signal(monitor_pid, Signal::STOP);
    let Adopted::Alive(monitor) = within(adopt(&bundle.paths())).await.unwrap() else {
        panic!()
    };
    monitor.state().await.unwrap();
    kill(monitor.pid());
    record(ended(&monitor).await);
}

#[tokio::test]
async fn a_monitor_that_is_stopped_while_it_creates_goes_on() {
    let bundle = Bundle::shell("exec sleep 1000");
    // The runtime stops its parent, which is the monitor, before it does its work.
    let request = bundle.request_behind("kill -STOP $PPID; exec \"$@\"");
    let created = bundle.create_as(request).await.unwrap();
    assert_ne!(letter(created.monitor_pid), Some('T'));
    kill(created.pid);
    record(ended(&created.monitor).await);
}
