//! Processes run in containers.

use std::time::Duration;

use super::bundle::*;
use crate::monitor::*;

async fn sleeper() -> (Bundle, Monitor) {
    let bundle = Bundle::shell("exec sleep 1000");
    let monitor = bundle.run().await;
    (bundle, monitor)
}

#[tokio::test]
async fn streams_and_code_come_back() {
    let (bundle, monitor) = sleeper().await;
    let request = bundle.exec_request(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(bundle.exec_files("json").len(), 2, "config.json too");
    let result = within(monitor.exec(request)).await.unwrap();
    assert_eq!(result.end, ExecEnd::Exited(ExitStatus::Code(7)));
    assert_eq!(result.stdout.bytes, b"out\n");
    assert_eq!(result.stderr.bytes, b"err\n");
    assert!(!result.stdout.truncated);
    assert_eq!(bundle.exec_files("json"), [bundle.path("config.json")]);
    assert!(bundle.exec_files("pid").is_empty());
    let killed = within(monitor.exec(bundle.exec_request(&["sh", "-c", "kill -9 $$"])))
        .await
        .unwrap();
    assert_eq!(killed.end, ExecEnd::Exited(ExitStatus::Signal(9)));
}

#[tokio::test]
async fn many_at_once_on_one_connection() {
    let (bundle, monitor) = sleeper().await;
    let work: Vec<_> = (0..16)
        .map(|n| {
            let request = bundle.exec_request(&["sh", "-c", &format!("echo {n}; exit {n}")]);
            let monitor = monitor.clone();
            tokio::spawn(async move { (n, monitor.exec(request).await.unwrap()) })
        })
        .collect();
    for task in work {
        let (n, result) = within(task).await.unwrap();
        assert_eq!(result.end, ExecEnd::Exited(ExitStatus::Code(n)));
        assert_eq!(result.stdout.bytes, format!("{n}\n").as_bytes());
    }
}

#[tokio::test]
async fn what_takes_too_long_is_killed_with_all_it_started() {
    let (bundle, monitor) = sleeper().await;
    let mut request = bundle.exec_request(&[
        "sh",
        "-c",
        "sleep 1001 & (sleep 1002 &) ; echo begun; sleep 1003",
    ]);
    request.timeout = Some(Duration::from_millis(700));
    let result = within(monitor.exec(request)).await.unwrap();
    assert_eq!(result.end, ExecEnd::TimedOut);
    assert_eq!(result.stdout.bytes, b"begun\n");
    let listing = within(monitor.exec(bundle.exec_request(&["busybox", "ps"])))
        .await
        .unwrap();
    let listing = String::from_utf8(listing.stdout.bytes).unwrap();
    assert!(
        listing.contains("sleep 1000") && !listing.contains("sleep 100[123]"),
        "{listing}"
    );
    for n in [1001, 1002, 1003] {
        assert!(!listing.contains(&format!("sleep {n}")), "{listing}");
    }
}

#[tokio::test]
async fn output_is_capped_and_the_process_not_blocked() {
    let (bundle, monitor) = sleeper().await;
    let script = "head -c 1000000 /dev/zero; echo done >&2";
    let mut request = bundle.exec_request(&["sh", "-c", script]);
    request.output_cap = 5000;
    let result = within(monitor.exec(request)).await.unwrap();
    assert_eq!(result.end, ExecEnd::Exited(ExitStatus::Code(0)));
    assert_eq!(result.stdout.bytes, vec![0; 5000]);
    assert!(result.stdout.truncated && !result.stderr.truncated);
    assert_eq!(result.stderr.bytes, b"done\n");
}

#[tokio::test]
async fn large_output_is_whole() {
    let (bundle, monitor) = sleeper().await;
    let result = within(monitor.exec(bundle.exec_request(&["busybox", "seq", "1", "300000"])))
        .await
        .unwrap();
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert!(result.stdout.bytes == expected.as_bytes());
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_is_not_waited_for() {
    let (bundle, monitor) = sleeper().await;
    let request = bundle.exec_request(&["sh", "-c", "sleep 1000 & echo done"]);
    let result = within(monitor.exec(request)).await.unwrap();
    assert_eq!(result.end, ExecEnd::Exited(ExitStatus::Code(0)));
    assert_eq!(result.stdout.bytes, b"done\n");
}

#[tokio::test]
async fn a_refusal_of_the_runtime_is_told_whole() {
    let (bundle, monitor) = sleeper().await;
    let error = within(monitor.exec(bundle.exec_request(&["no-such-command"])))
        .await
        .unwrap_err();
    let MonitorError::ExecRuntime { stderr, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(stderr.contains("no-such-command"), "{stderr}");
    let mut request = bundle.exec_request(&["true"]);
    if let Way::Runtime { argv, .. } = &mut request.way {
        *argv = vec!["/no/such/runtime".into()];
    }
    let error = within(monitor.exec(request)).await.unwrap_err();
    assert!(
        matches!(&error, MonitorError::ExecSpawn(e) if e.kind() == std::io::ErrorKind::NotFound)
    );
}

#[tokio::test]
async fn dropping_an_exec_kills_it() {
    let (bundle, monitor) = sleeper().await;
    let mark = bundle.path("rootfs/begun");
    let request = bundle.exec_request(&["sh", "-c", "echo >/begun; exec sleep 1001"]);
    let exec = tokio::spawn({
        let monitor = monitor.clone();
        async move { monitor.exec(request).await.map(|_| ()) }
    });
    until("it runs", || mark.exists()).await;
    exec.abort();
    let _ = exec.await;
    loop {
        let listing = within(monitor.exec(bundle.exec_request(&["busybox", "ps"])))
            .await
            .unwrap();
        if !String::from_utf8(listing.stdout.bytes)
            .unwrap()
            .contains("sleep 1001")
        {
            break;
        }
    }
}

#[tokio::test]
async fn an_exec_ends_with_its_container() {
    let (bundle, monitor) = sleeper().await;
    let request = bundle.exec_request(&["sleep", "1001"]);
    let exec = tokio::spawn({
        let monitor = monitor.clone();
        async move { monitor.exec(request).await }
    });
    until("it runs", || !bundle.exec_files("pid").is_empty()).await;
    kill(monitor.pid());
    let result = within(exec).await.unwrap().unwrap();
    assert_eq!(result.end, ExecEnd::Exited(ExitStatus::Signal(9)));
    record(ended(&monitor).await);
    let error = within(monitor.exec(bundle.exec_request(&["true"])))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            MonitorError::Gone
                | MonitorError::Refused {
                    kind: Refusal::NotRunning,
                    ..
                }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_exec_beside_a_shared_namespaces_init_ends_with_the_container_too() {
    let bundle = Bundle::new(&["sleep", "1000"], |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let monitor = bundle.run().await;
    let request = bundle.exec_request(&["sh", "-c", "echo >/begun; exec sleep 1001"]);
    let exec = tokio::spawn({
        let monitor = monitor.clone();
        async move { monitor.exec(request).await }
    });
    until("it runs", || bundle.path("rootfs/begun").exists()).await;
    kill(monitor.pid());
    let result = within(exec).await.unwrap().unwrap();
    assert_eq!(result.end, ExecEnd::Exited(ExitStatus::Signal(9)));
    record(ended(&monitor).await);
}

#[tokio::test]
async fn input_can_be_given() {
    let (bundle, monitor) = sleeper().await;
    let request = bundle.exec_request(&["cat"]);
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let ((stdin, give), (take, stdout), (errors, stderr)) = (pipe(), pipe(), pipe());
    let mut running = monitor
        .start_exec(StartExec {
            way: request.way,
            timeout: request.timeout,
            stdin: Some(stdin),
            stdout,
            stderr,
            kept: Vec::new(),
            leaving: Default::default(),
        })
        .await
        .unwrap();
    let pid = within(running.started()).await.unwrap();
    assert!(is_alive(pid));
    rustix::io::write(&give, b"hello").unwrap();
    drop(give);
    assert_eq!(
        within(running.wait()).await.unwrap(),
        ExecEnd::Exited(ExitStatus::Code(0))
    );
    assert_eq!(
        std::io::read_to_string(std::fs::File::from(take)).unwrap(),
        "hello"
    );
    assert_eq!(
        std::io::read_to_string(std::fs::File::from(errors)).unwrap(),
        ""
    );
}

#[tokio::test]
async fn no_zombie_is_left() {
    let (bundle, monitor) = sleeper().await;
    for _ in 0..5 {
        within(monitor.exec(bundle.exec_request(&["true"])))
            .await
            .unwrap();
    }
    let children =
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", monitor.about().pid));
    assert_eq!(children.unwrap().trim(), monitor.pid().to_string());
}
