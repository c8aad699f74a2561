//! Frames of every version that is spoken, kept as bytes: a monitor of an earlier version may run for months.

use std::{collections::BTreeMap, fmt::Debug, path::PathBuf};

use corten_conmon::{
    config::{Config, LogConfig, Stdin, StdioOwner},
    ctl::{
        Answer, Capabilities, CreateFailure, Exec, ExecEnd, Filter, Phase, Refusal, Reply, Request,
        Rlimit, Run, Stage, Step, Streams, User, Verb,
    },
    record::{ExitRecord, ExitStatus},
    wire::{self, Since, Version, Wire},
};

fn configs() -> Vec<(&'static str, Config)> {
    let full = Config {
        runtime: vec!["/usr/bin/runc".into(), "create".into(), "é".into()],
        bundle: "/run/corten/bundles/a".into(),
        pid_file: "/run/corten/bundles/a/pid".into(),
        console_socket: Some("console.sock".into()),
        stdin: Stdin::Once,
        owner: Some(StdioOwner {
            uid: 100_000,
            gid: 4_294_967_294,
        }),
        log: Some(LogConfig {
            path: "/var/log/pods/a.log".into(),
            max_size: Some(1 << 33),
        }),
        exit_record: "/var/lib/corten/containers/a/exit".into(),
        ctl_socket: "/run/corten/bundles/a/ctl".into(),
        attach_socket: Some("/run/corten/bundles/a/attach".into()),
        cgroups: vec![PathBuf::from("/sys/fs/cgroup/monitors")],
        oom_file: Some("/sys/fs/cgroup/a/memory.events".into()),
        create_timeout_ms: 240_000,
        drain_ms: 2000,
    };
    let least = Config {
        console_socket: None,
        stdin: Stdin::Closed,
        owner: None,
        log: None,
        attach_socket: None,
        cgroups: Vec::new(),
        oom_file: None,
        ..full.clone()
    };
    vec![("config-full", full), ("config-least", least)]
}

/// Those that a version has: no other is sent in it.
fn requests(version: Version) -> Vec<(&'static str, Request)> {
    let exec = Exec {
        runtime: vec!["runc".into(), "exec".into()],
        pid_file: "/run/exec.pid".into(),
        timeout_ms: Some(1500),
        stdin: true,
        keep: Since(2),
    };
    let verbs = [
        ("hello", Verb::Hello),
        ("state", Verb::State),
        ("subscribe", Verb::Subscribe),
        ("reopen-log", Verb::ReopenLog),
        (
            "resize",
            Verb::Resize {
                width: 80,
                height: 258,
            },
        ),
        ("close-stdin", Verb::CloseStdin),
        ("exec", Verb::Exec { exec }),
        ("cancel-exec", Verb::CancelExec { exec: 1 << 40 }),
    ];
    let since_version_3 = [
        ("keep-terminal", Verb::KeepTerminal { exec: 1 << 40 }),
        ("release-output", Verb::ReleaseOutput { exec: 1 << 40 }),
        (
            "run",
            Verb::Run {
                run: Box::new(run()),
            },
        ),
        (
            "run-least",
            Verb::Run {
                run: Box::new(least_run()),
            },
        ),
    ];
    let later = since_version_3
        .into_iter()
        .filter(|_| version.number() >= 3);
    verbs
        .into_iter()
        .chain(later)
        .map(|(name, verb)| (name, Request { id: 7, verb }))
        .collect()
}

fn run() -> Run {
    Run {
        args: vec!["sh".into(), "-c".into(), "é".into()],
        env: vec!["PATH=/bin".into(), "HOME=/".into()],
        cwd: "/srv".into(),
        user: User {
            uid: 1000,
            gid: 4_294_967_294,
            groups: vec![5, 6],
            umask: Some(0o22),
        },
        capabilities: Capabilities {
            bounding: 1 << 40,
            effective: 1,
            permitted: 2,
            inheritable: 4,
            ambient: 8,
        },
        no_new_privs: true,
        rlimits: vec![Rlimit {
            resource: 7,
            soft: 1024,
            hard: u64::MAX,
        }],
        oom_score_adj: Some(-998),
        apparmor: Some("profile".into()),
        selinux: Some("system_u:system_r:container_t:s0:c1,c2".into()),
        keyring: "_ses.a".into(),
        cgroups: vec!["/sys/fs/cgroup/pods/a".into()],
        filter: Some(Filter { flags: 6 }),
        streams: Streams::Pipes {
            stdin: true,
            keep: 2,
        },
        timeout_ms: Some(1500),
    }
}

fn least_run() -> Run {
    Run {
        rlimits: Vec::new(),
        oom_score_adj: None,
        apparmor: None,
        selinux: None,
        cgroups: Vec::new(),
        filter: None,
        streams: Streams::Terminal {
            console: "exec-a.sock".into(),
        },
        timeout_ms: None,
        ..run()
    }
}

/// Those that a version has: no other is sent in it.
fn answers(version: Version) -> Vec<(&'static str, Answer)> {
    let record = ExitRecord {
        status: ExitStatus::Signal { signal: 9 },
        oom_killed: true,
        finished_at: 1_700_000_000_123_456_789,
        log_drained: false,
    };
    let replies = [
        ("greeting", greeting()),
        ("creating", state(Phase::Creating)),
        ("running", state(Phase::Running { pid: 4242 })),
        ("ending", state(Phase::Ending { pid: 4242 })),
        ("over", state(Phase::Exited { record })),
        ("done", Reply::Done),
        (
            "refused",
            Reply::Refused {
                kind: Refusal::NotRunning,
                text: "no".into(),
            },
        ),
        ("exec-started", Reply::ExecStarted { pid: 77 }),
        (
            "exec-exited",
            ended(ExecEnd::Exited {
                status: ExitStatus::Code { code: 3 },
            }),
        ),
        ("exec-timed-out", ended(ExecEnd::TimedOut)),
        ("exec-cancelled", ended(ExecEnd::Cancelled)),
        (
            "exec-runtime-failed",
            ended(ExecEnd::RuntimeFailed {
                status: ExitStatus::Code { code: 1 },
            }),
        ),
        ("exec-no-runtime", ended(ExecEnd::NoRuntime { errno: 2 })),
        ("exec-no-process", ended(ExecEnd::NoProcess)),
        ("created", created()),
        (
            "failed",
            Reply::Failed {
                failure: CreateFailure {
                    stage: Stage::PidFile,
                    status: Some(ExitStatus::Code { code: 0 }),
                    text: "nothing".into(),
                },
            },
        ),
        ("exited", Reply::Exited { record }),
    ];
    let not_started = ExecEnd::NotStarted {
        step: Step::Program,
        errno: 8,
        place: 3,
    };
    let since_version_3 = [("exec-not-started", ended(not_started))];
    let later = since_version_3
        .into_iter()
        .filter(|_| version.number() >= 3);
    replies
        .into_iter()
        .chain(later)
        .map(|(name, reply)| (name, Answer { id: 7, reply }))
        .collect()
}

fn state(phase: Phase) -> Reply {
    Reply::State { phase }
}

fn ended(end: ExecEnd) -> Reply {
    Reply::ExecEnded { end }
}

fn greeting() -> Reply {
    Reply::Hello {
        monitor: 4241,
        program: Since("1.2.3".to_owned()),
    }
}

fn created() -> Reply {
    Reply::Created {
        pid: 4242,
        monitor: 4241,
        stderr: "a warning".into(),
        program: Since("1.2.3".to_owned()),
    }
}

/// A request as one of a version is read: what came later is not there.
fn request_in(version: Version, request: &Request) -> Request {
    let mut request = request.clone();
    if let Verb::Exec { exec } = &mut request.verb
        && version.number() < 3
    {
        exec.keep = Since(0);
    }
    request
}

/// The same of an answer.
fn answer_in(version: Version, answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    if let Reply::Hello { program, .. } | Reply::Created { program, .. } = &mut answer.reply
        && version.number() < 2
    {
        program.0.clear();
    }
    answer
}

/// Frames by name, as they were kept.
fn kept(version: Version) -> BTreeMap<&'static str, Vec<u8>> {
    let text = match version.number() {
        1 => include_str!("frames/version-1.txt"),
        2 => include_str!("frames/version-2.txt"),
        3 => include_str!("frames/version-3.txt"),
        other => panic!("no frames of version {other} are kept"),
    };
    text.lines()
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (name, (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect()
}

#[track_caller]
fn is_kept<T: Wire + PartialEq + Debug>(
    frames: &mut BTreeMap<&str, Vec<u8>>,
    name: &str,
    version: Version,
    sent: &T,
    read: &T,
) {
    let frame = frames
        .remove(name)
        .unwrap_or_else(|| panic!("{name} is not among the frames of version {version}"));
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let made = wire::frame(version, sent).unwrap();
    assert_eq!(hex(&made), hex(&frame), "{name} in version {version}");
    assert_eq!(wire::unframe::<T>(&frame).as_ref(), Ok(read), "{name}");
}

#[test]
fn every_message_is_in_every_version_as_it_always_was() {
    for version in Version::all() {
        let mut frames = kept(version);
        for (name, config) in configs() {
            is_kept(&mut frames, name, version, &config, &config);
        }
        for (name, request) in requests(version) {
            let read = request_in(version, &request);
            is_kept(&mut frames, name, version, &request, &read);
        }
        for (name, answer) in answers(version) {
            let read = answer_in(version, &answer);
            is_kept(&mut frames, name, version, &answer, &read);
        }
        assert!(frames.is_empty(), "not understood any more: {frames:?}");
    }
}

#[test]
fn exit_records_are_read_as_they_always_were() {
    let record = ExitRecord {
        status: ExitStatus::Signal { signal: 9 },
        oom_killed: true,
        finished_at: 1_700_000_000_123_456_789,
        log_drained: false,
    };
    let kept = include_bytes!("frames/exit-record-1.txt");
    assert_eq!(ExitRecord::from_text(kept), Ok(record));
    assert_eq!(record.to_text().as_bytes(), kept);
}

#[test]
fn an_exit_record_of_another_version_says_so() {
    let kept = include_str!("frames/exit-record-1.txt");
    let newer = kept.replace("corten-exit 1", "corten-exit 9");
    let error = ExitRecord::from_text(newer.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("of version \"9\""), "{error}");
}
