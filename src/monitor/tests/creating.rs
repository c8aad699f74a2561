//! How containers come to be, and what they inherit.

use super::bundle::*;
use crate::monitor::*;

#[tokio::test]
async fn a_refusal_of_the_runtime_is_told_whole() {
    let bundle = Bundle::new(&["no-such-command"], |_| {});
    let error = within(spawn(&binary(), bundle.request()))
        .await
        .unwrap_err();
    let MonitorError::Create(failure) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.stage, Stage::Runtime);
    assert!(failure.status.is_some());
    assert!(failure.text.contains("no-such-command"), "{failure:?}");
    assert!(
        failure.text.contains("executable file not found"),
        "{failure:?}"
    );
    assert!(
        error.to_string().contains("executable file not found"),
        "{error}"
    );
    until("the sockets are gone", || {
        !bundle.path("ctl").exists() && !bundle.path("attach").exists()
    })
    .await;
    assert!(matches!(
        within(adopt(&bundle.paths())).await,
        Ok(Adopted::Lost)
    ));
}

#[tokio::test]
async fn the_runtimes_environment_is_what_was_given() {
    let bundle = Bundle::shell("true");
    let mut request = bundle.request_behind("cat /proc/self/environ >&2; exec \"$@\"");
    request.env.push(("GIVEN".into(), "a value".into()));
    let given = request.env.clone();
    let created = within(spawn(&binary(), request)).await.unwrap();
    let seen = created.runtime_stderr.split_terminator('\0');
    // What the shell sets of its own accord.
    let mut seen: Vec<_> = seen.filter(|entry| !entry.starts_with("PWD=")).collect();
    seen.sort_unstable();
    let line = |(name, value): &(std::ffi::OsString, std::ffi::OsString)| {
        format!("{}={}", name.display(), value.display())
    };
    let mut given: Vec<_> = given.iter().map(line).collect();
    given.sort_unstable();
    assert_eq!(seen, given);
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_named() {
    let bundle = Bundle::shell("true");
    let mut request = bundle.request();
    request.runtime_argv = vec!["/no/such/runtime".into()];
    let error = within(spawn(&binary(), request)).await.unwrap_err();
    let MonitorError::Create(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.stage, Stage::Spawn);
    assert!(failure.text.contains("/no/such/runtime"), "{failure:?}");
}

#[tokio::test]
async fn a_runtime_that_hangs_is_killed_with_its_children() {
    let bundle = Bundle::shell("true");
    let mut request = bundle.request();
    let pids = bundle.path("pids");
    let script = format!(
        "echo $$ >{0}; sleep 1000 & echo $! >>{0}; echo stuck >&2; wait",
        pids.display()
    );
    request.runtime_argv = vec!["sh".into(), "-c".into(), script.into()];
    request.create_timeout = std::time::Duration::from_millis(500);
    let error = within(spawn(&binary(), request)).await.unwrap_err();
    let MonitorError::Create(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.stage, Stage::Timeout);
    assert!(failure.text.contains("stuck"), "{failure:?}");
    for pid in std::fs::read_to_string(pids).unwrap().lines() {
        let pid = pid.parse().unwrap();
        until("the runtime's processes are gone", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn what_cannot_be_set_up_is_named() {
    let bundle = Bundle::shell("true");
    let link = bundle.path("link");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    type Change = Box<dyn Fn(&mut CreateRequest)>;
    let cases: [(Stage, Change); 5] = [
        (
            Stage::Log,
            Box::new(move |r| {
                r.log = Some(LogConfig {
                    path: link.clone(),
                    max_size: None,
                })
            }),
        ),
        (
            Stage::Log,
            Box::new(|r| r.log.as_mut().unwrap().max_size = Some(100)),
        ),
        (
            Stage::Sockets,
            Box::new(|r| r.ctl_socket = "/no/such/dir/ctl".into()),
        ),
        (
            Stage::Cgroup,
            Box::new(|r| r.cgroups = vec!["/proc/no/such".into()]),
        ),
        (Stage::Config, Box::new(|r| r.runtime_argv.clear())),
    ];
    for (stage, change) in cases {
        let mut request = bundle.request();
        change(&mut request);
        let error = within(spawn(&binary(), request)).await.unwrap_err();
        let MonitorError::Create(failure) = error else {
            panic!("{error:?}")
        };
        assert_eq!(failure.stage, stage, "{failure:?}");
    }
}

#[tokio::test]
async fn a_configuration_that_is_too_long_starts_nothing() {
    let bundle = Bundle::shell("true");
    let mut request = bundle.request();
    request.runtime_argv = vec!["x".repeat(100_000).into()];
    assert!(matches!(
        within(spawn(&binary(), request)).await,
        Err(MonitorError::Wire(_))
    ));
}

#[tokio::test]
async fn nothing_of_the_daemon_is_inherited() {
    // An open descriptor without close-on-exec stands for a mistake elsewhere in the daemon.
    let secret = std::fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    let bundle = Bundle::shell("ls -l /proc/self/fd; exec sleep 1000");
    let created = bundle.create().await;
    bundle.start();
    let init = std::fs::read_to_string(format!("/proc/{}/environ", created.pid)).unwrap();
    assert!(!init.contains("CARGO"), "{init}");
    until("the listing is complete", || {
        bundle.logged("stdout").contains(" 2 ->")
    })
    .await;
    let out = within(
        created
            .monitor
            .exec(bundle.exec_request(&["ls", "-l", "/proc/self/fd"])),
    )
    .await
    .unwrap();
    let exec = String::from_utf8(out.stdout.bytes).unwrap();
    for listing in [bundle.logged("stdout"), exec] {
        let open: Vec<&str> = listing
            .lines()
            .filter(|line| !line.starts_with("total"))
            .collect();
        assert!(
            !listing.contains("hostname") && !listing.contains("socket"),
            "{listing}"
        );
        // Three standard ones and the listed directory itself.
        assert_eq!(open.len(), 4, "{listing}");
    }
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", created.monitor_pid))
        .unwrap()
        .map(|entry| {
            std::fs::read_link(entry.unwrap().path())
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    assert!(!own.iter().any(|link| link.contains("hostname")), "{own:?}");
    drop(secret);
}

#[tokio::test]
async fn the_monitor_stands_apart() {
    let bundle = Bundle::shell("exec sleep 1000");
    let mut request = bundle.request();
    let cgroup = std::path::PathBuf::from(format!(
        "/sys/fs/cgroup/pids/corten-test-monitor-{}",
        &bundle.id.as_str()[..12]
    ));
    // Its parent is not there either.
    request.cgroups = vec![cgroup.join("monitors")];
    let created = bundle.create_as(request).await.unwrap();
    let proc = |file: &str| {
        std::fs::read_to_string(format!("/proc/{}/{file}", created.monitor_pid)).unwrap()
    };
    assert!(proc("cgroup").contains("corten-test-monitor-"));
    let stat = proc("stat");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    assert_ne!(fields[1], std::process::id().to_string(), "still our child");
    assert_eq!(
        fields[3],
        created.monitor_pid.to_string(),
        "not its own session"
    );
    assert!(proc("cmdline").contains(bundle.id.as_str()));
    kill(created.pid);
    record(ended(&created.monitor).await);
    until("the monitor is gone", || !is_alive(created.monitor_pid)).await;
    std::fs::remove_dir(cgroup.join("monitors")).unwrap();
    std::fs::remove_dir(cgroup).unwrap();
}

#[tokio::test]
async fn many_at_once() {
    let work = (0..12).map(|n| {
        tokio::spawn(async move {
            let bundle = Bundle::shell(&format!("echo I am {n}; exit {n}"));
            let record = bundle.run_to_end().await;
            assert_eq!(record.status, ExitStatus::Code(n));
            assert_eq!(bundle.logged("stdout"), format!("I am {n}\n"));
        })
    });
    for task in work.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}
