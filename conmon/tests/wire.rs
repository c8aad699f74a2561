//! Every message comes back as it was sent, and no bytes harm whoever reads them.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use corten_conmon::{
    config::{Config, LogConfig, Stdin, StdioOwner},
    ctl::{Answer, CreateFailure, Exec, ExecEnd, Phase, Refusal, Reply, Request, Stage, Verb},
    record::{ExitRecord, ExitStatus},
    wire::{self, MAX_FRAME, MAX_ITEMS, WireError},
};
use proptest::{collection::vec, option, prelude::*};

fn os() -> impl Strategy<Value = OsString> {
    vec(any::<u8>(), 0..40).prop_map(OsString::from_vec)
}

fn path() -> impl Strategy<Value = PathBuf> {
    os().prop_map(PathBuf::from)
}

fn status() -> impl Strategy<Value = ExitStatus> {
    prop_oneof![
        any::<i32>().prop_map(|code| ExitStatus::Code { code }),
        any::<i32>().prop_map(|signal| ExitStatus::Signal { signal }),
    ]
}

fn record() -> impl Strategy<Value = ExitRecord> {
    (status(), any::<bool>(), any::<i64>(), any::<bool>()).prop_map(
        |(status, oom_killed, finished_at, log_drained)| ExitRecord {
            status,
            oom_killed,
            finished_at,
            log_drained,
        },
    )
}

fn config() -> impl Strategy<Value = Config> {
    let log = (path(), option::of(any::<u64>()))
        .prop_map(|(path, max_size)| LogConfig { path, max_size });
    let stdin = prop_oneof![Just(Stdin::Closed), Just(Stdin::Open), Just(Stdin::Once)];
    let paths = (
        path(),
        path(),
        path(),
        path(),
        option::of(path()),
        option::of(path()),
    );
    let rest = (
        vec(os(), 0..20),
        vec(path(), 0..4),
        option::of(path()),
        any::<u64>(),
        any::<u64>(),
        option::of(any::<(u32, u32)>()),
    );
    (paths, rest, option::of(log), stdin).prop_map(|(paths, rest, log, stdin)| Config {
        bundle: paths.0,
        pid_file: paths.1,
        exit_record: paths.2,
        ctl_socket: paths.3,
        attach_socket: paths.4,
        console_socket: paths.5,
        runtime: rest.0,
        cgroups: rest.1,
        oom_file: rest.2,
        create_timeout_ms: rest.3,
        drain_ms: rest.4,
        owner: rest.5.map(|(uid, gid)| StdioOwner { uid, gid }),
        log,
        stdin,
    })
}

fn request() -> impl Strategy<Value = Request> {
    let exec = (
        vec(os(), 0..20),
        path(),
        option::of(any::<u64>()),
        any::<bool>(),
    );
    let exec = exec.prop_map(|(runtime, pid_file, timeout_ms, stdin)| Verb::Exec {
        exec: Exec {
            runtime,
            pid_file,
            timeout_ms,
            stdin,
        },
    });
    let verb = prop_oneof![
        Just(Verb::Hello),
        Just(Verb::State),
        Just(Verb::Subscribe),
        Just(Verb::ReopenLog),
        (any::<u16>(), any::<u16>()).prop_map(|(width, height)| Verb::Resize { width, height }),
        Just(Verb::CloseStdin),
        exec,
        any::<u64>().prop_map(|exec| Verb::CancelExec { exec }),
    ];
    (any::<u64>(), verb).prop_map(|(id, verb)| Request { id, verb })
}

fn answer() -> impl Strategy<Value = Answer> {
    let end = prop_oneof![
        status().prop_map(|status| ExecEnd::Exited { status }),
        Just(ExecEnd::TimedOut),
        status().prop_map(|status| ExecEnd::RuntimeFailed { status }),
        any::<i32>().prop_map(|errno| ExecEnd::NoRuntime { errno }),
    ];
    let phase = prop_oneof![
        Just(Phase::Creating),
        any::<i32>().prop_map(|pid| Phase::Running { pid }),
        any::<i32>().prop_map(|pid| Phase::Ending { pid }),
        record().prop_map(|record| Phase::Exited { record }),
    ];
    let failure = (option::of(status()), ".{0,80}").prop_map(|(status, text)| Reply::Failed {
        failure: CreateFailure {
            stage: Stage::Runtime,
            status,
            text,
        },
    });
    let reply = prop_oneof![
        any::<i32>().prop_map(|monitor| Reply::Hello { monitor }),
        phase.prop_map(|phase| Reply::State { phase }),
        Just(Reply::Done),
        ".{0,80}".prop_map(|text| Reply::Refused {
            kind: Refusal::Busy,
            text
        }),
        any::<i32>().prop_map(|pid| Reply::ExecStarted { pid }),
        end.prop_map(|end| Reply::ExecEnded { end }),
        (any::<i32>(), any::<i32>(), ".{0,80}").prop_map(|(pid, monitor, stderr)| Reply::Created {
            pid,
            monitor,
            stderr
        }),
        failure,
        record().prop_map(|record| Reply::Exited { record }),
    ];
    (any::<u64>(), reply).prop_map(|(id, reply)| Answer { id, reply })
}

proptest! {
    #[test]
    fn a_config_comes_back(config in config()) {
        prop_assert_eq!(wire::unframe::<Config>(&wire::frame(&config).unwrap()), Ok(config));
    }

    #[test]
    fn a_request_comes_back(request in request()) {
        prop_assert_eq!(wire::unframe::<Request>(&wire::frame(&request).unwrap()), Ok(request));
    }

    #[test]
    fn an_answer_comes_back(answer in answer()) {
        prop_assert_eq!(wire::unframe::<Answer>(&wire::frame(&answer).unwrap()), Ok(answer));
    }

    #[test]
    fn any_bytes_are_survived_and_what_is_understood_is_exact(
        bytes in vec(any::<u8>(), 0..300),
        headed in any::<bool>(),
    ) {
        let mut frame = if headed { vec![0xC7, wire::VERSION] } else { Vec::new() };
        frame.extend(bytes);
        if let Ok(config) = wire::unframe::<Config>(&frame) {
            prop_assert_eq!(wire::frame(&config).unwrap(), frame.clone());
        }
        if let Ok(request) = wire::unframe::<Request>(&frame) {
            prop_assert_eq!(wire::frame(&request).unwrap(), frame.clone());
        }
        if let Ok(answer) = wire::unframe::<Answer>(&frame) {
            prop_assert_eq!(wire::frame(&answer).unwrap(), frame.clone());
        }
    }

    #[test]
    fn damage_is_noticed_or_harmless(request in request(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut frame = wire::frame(&request).unwrap();
        let at = at.index(frame.len());
        frame[at] = byte;
        if let Ok(other) = wire::unframe::<Request>(&frame) {
            prop_assert_eq!(wire::frame(&other).unwrap(), frame);
        }
    }

    #[test]
    fn no_part_of_a_frame_is_a_frame(config in config(), at in any::<prop::sample::Index>()) {
        let frame = wire::frame(&config).unwrap();
        let at = at.index(frame.len());
        prop_assert!(wire::unframe::<Config>(&frame[..at]).is_err());
    }
}

#[test]
fn lengths_alone_cost_nothing() {
    let list = |len: u32| [&[0xC7, wire::VERSION][..], &len.to_le_bytes()].concat();
    assert_eq!(
        wire::unframe::<Vec<OsString>>(&list(u32::MAX)),
        Err(WireError::TooLong {
            len: u32::MAX as usize,
            max: MAX_ITEMS
        })
    );
    assert_eq!(
        wire::unframe::<Vec<OsString>>(&list(4000)),
        Err(WireError::Short)
    );
    assert_eq!(
        wire::unframe::<OsString>(&list(u32::MAX)),
        Err(WireError::Short)
    );
}

#[test]
fn long_frames_are_neither_sent_nor_read() {
    let long = OsString::from("x".repeat(MAX_FRAME));
    assert!(matches!(wire::frame(&long), Err(WireError::TooLong { .. })));
    let bytes = [&[0xC7, wire::VERSION][..], &[0; MAX_FRAME]].concat();
    assert!(matches!(
        wire::unframe::<OsString>(&bytes),
        Err(WireError::TooLong { .. })
    ));
}

#[test]
fn other_versions_are_named() {
    assert_eq!(
        wire::unframe::<bool>(&[0xC7, 9, 1]),
        Err(WireError::Version(9))
    );
    assert_eq!(wire::unframe::<bool>(b"{}"), Err(WireError::Magic(b'{')));
    assert_eq!(
        wire::unframe::<bool>(&[0xC7, wire::VERSION, 1, 1]),
        Err(WireError::Trailing(1))
    );
}
