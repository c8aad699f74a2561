//! Every message comes back as it was sent, and no bytes harm whoever reads them.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use corten_conmon::{
    config::{Config, LogConfig, Stdin, StdioOwner},
    ctl::{
        Answer, Capabilities, CreateFailure, Exec, ExecEnd, Filter, Phase, Refusal, Reply, Request,
        Rlimit, Run, Stage, Step, Streams, User, Verb,
    },
    record::{ExitRecord, ExitStatus},
    wire::{self, MAX_FRAME, MAX_ITEMS, Since, Version, Wire, WireError},
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
        any::<u8>(),
    );
    let exec = exec.prop_map(|(runtime, pid_file, timeout_ms, stdin, keep)| Verb::Exec {
        exec: Exec {
            runtime,
            pid_file,
            timeout_ms,
            stdin,
            keep: Since(keep),
        },
    });
    let user = (
        any::<(u32, u32)>(),
        vec(any::<u32>(), 0..9),
        option::of(any::<u32>()),
    )
        .prop_map(|((uid, gid), groups, umask)| User {
            uid,
            gid,
            groups,
            umask,
        });
    let capabilities = any::<(u64, u64, u64, u64, u64)>().prop_map(|sets| Capabilities {
        bounding: sets.0,
        effective: sets.1,
        permitted: sets.2,
        inheritable: sets.3,
        ambient: sets.4,
    });
    let rlimits = vec(any::<(u32, u64, u64)>(), 0..5).prop_map(|all| {
        all.into_iter()
            .map(|(resource, soft, hard)| Rlimit {
                resource,
                soft,
                hard,
            })
            .collect()
    });
    let streams = prop_oneof![
        any::<(bool, u8)>().prop_map(|(stdin, keep)| Streams::Pipes { stdin, keep }),
        path().prop_map(|console| Streams::Terminal { console }),
    ];
    let what = (vec(os(), 0..9), vec(os(), 0..9), path(), user, os());
    let may = (
        capabilities,
        any::<bool>(),
        rlimits,
        option::of(any::<i32>()),
    );
    let place = (
        option::of(os()),
        option::of(os()),
        vec(path(), 0..9),
        option::of(any::<u32>()),
        streams,
        option::of(any::<u64>()),
    );
    let run = (what, may, place).prop_map(|(what, may, place)| Run {
        args: what.0,
        env: what.1,
        cwd: what.2,
        user: what.3,
        keyring: what.4,
        capabilities: may.0,
        no_new_privs: may.1,
        rlimits: may.2,
        oom_score_adj: may.3,
        apparmor: place.0,
        selinux: place.1,
        cgroups: place.2,
        filter: place.3.map(|flags| Filter { flags }),
        streams: place.4,
        timeout_ms: place.5,
    });
    let verb = prop_oneof![
        run.prop_map(|run| Verb::Run { run: Box::new(run) }),
        Just(Verb::Hello),
        Just(Verb::State),
        Just(Verb::Subscribe),
        Just(Verb::ReopenLog),
        (any::<u16>(), any::<u16>()).prop_map(|(width, height)| Verb::Resize { width, height }),
        Just(Verb::CloseStdin),
        exec,
        any::<u64>().prop_map(|exec| Verb::CancelExec { exec }),
        any::<u64>().prop_map(|exec| Verb::KeepTerminal { exec }),
        any::<u64>().prop_map(|exec| Verb::ReleaseOutput { exec }),
    ];
    (any::<u64>(), verb).prop_map(|(id, verb)| Request { id, verb })
}

fn program() -> impl Strategy<Value = Since<2, String>> {
    ".{0,20}".prop_map(Since)
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(Version::all().collect::<Vec<_>>())
}

/// What is left of an answer that was sent in a version.
fn in_version(version: Version, mut answer: Answer) -> Answer {
    if let Reply::Hello { program, .. } | Reply::Created { program, .. } = &mut answer.reply
        && version.number() < 2
    {
        program.0.clear();
    }
    answer
}

/// What is left of a request that was sent in a version.
fn request_in(version: Version, mut request: Request) -> Request {
    if let Verb::Exec { exec } = &mut request.verb
        && version.number() < 3
    {
        exec.keep = Since(0);
    }
    request
}

/// Whatever is understood is, in its own version, the very bytes it was read from.
fn exact<T: Wire>(frame: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(message) = wire::unframe::<T>(frame) {
        let version = wire::open(frame).unwrap().version();
        prop_assert_eq!(wire::frame(version, &message).unwrap(), frame);
    }
    Ok(())
}

fn answer() -> impl Strategy<Value = Answer> {
    let end = prop_oneof![
        status().prop_map(|status| ExecEnd::Exited { status }),
        Just(ExecEnd::TimedOut),
        status().prop_map(|status| ExecEnd::RuntimeFailed { status }),
        any::<i32>().prop_map(|errno| ExecEnd::NoRuntime { errno }),
        any::<(i32, u16)>().prop_map(|(errno, place)| ExecEnd::NotStarted {
            step: Step::Cgroup,
            errno,
            place
        }),
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
        (any::<i32>(), program()).prop_map(|(monitor, program)| Reply::Hello { monitor, program }),
        phase.prop_map(|phase| Reply::State { phase }),
        Just(Reply::Done),
        ".{0,80}".prop_map(|text| Reply::Refused {
            kind: Refusal::Busy,
            text
        }),
        any::<i32>().prop_map(|pid| Reply::ExecStarted { pid }),
        end.prop_map(|end| Reply::ExecEnded { end }),
        (any::<i32>(), any::<i32>(), ".{0,80}", program()).prop_map(
            |(pid, monitor, stderr, program)| Reply::Created {
                pid,
                monitor,
                stderr,
                program
            }
        ),
        failure,
        record().prop_map(|record| Reply::Exited { record }),
    ];
    (any::<u64>(), reply).prop_map(|(id, reply)| Answer { id, reply })
}

proptest! {
    #[test]
    fn a_config_comes_back_in_every_version(config in config(), version in version()) {
        let frame = wire::frame(version, &config).unwrap();
        prop_assert_eq!(wire::unframe::<Config>(&frame), Ok(config));
    }

    #[test]
    fn a_request_comes_back_but_for_what_its_version_has_not(request in request(), version in version()) {
        let frame = wire::frame(version, &request).unwrap();
        prop_assert_eq!(wire::open(&frame).unwrap().version(), version);
        prop_assert_eq!(wire::unframe::<Request>(&frame), Ok(request_in(version, request)));
    }

    #[test]
    fn an_answer_comes_back_but_for_what_its_version_has_not(answer in answer(), version in version()) {
        let frame = wire::frame(version, &answer).unwrap();
        prop_assert_eq!(wire::unframe::<Answer>(&frame), Ok(in_version(version, answer)));
    }

    #[test]
    fn any_bytes_are_survived_and_what_is_understood_is_exact(
        bytes in vec(any::<u8>(), 0..300),
        version in option::of(version()),
    ) {
        let mut frame = version.map_or_else(Vec::new, |version| vec![0xC7, version.number()]);
        frame.extend(bytes);
        exact::<Config>(&frame)?;
        exact::<Request>(&frame)?;
        exact::<Answer>(&frame)?;
    }

    #[test]
    fn damage_is_noticed_or_harmless(
        request in request(),
        version in version(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut frame = wire::frame(version, &request).unwrap();
        let at = at.index(frame.len());
        frame[at] = byte;
        exact::<Request>(&frame)?;
    }

    #[test]
    fn no_part_of_a_frame_is_a_frame(
        config in config(),
        version in version(),
        at in any::<prop::sample::Index>(),
    ) {
        let frame = wire::frame(version, &config).unwrap();
        let at = at.index(frame.len());
        prop_assert!(wire::unframe::<Config>(&frame[..at]).is_err());
    }
}

#[test]
fn lengths_alone_cost_nothing() {
    let list = |len: u32| [&[0xC7, Version::CURRENT.number()][..], &len.to_le_bytes()].concat();
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
    assert!(matches!(
        wire::frame(Version::CURRENT, &long),
        Err(WireError::TooLong { .. })
    ));
    let bytes = [&[0xC7, Version::CURRENT.number()][..], &[0; MAX_FRAME]].concat();
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
        wire::unframe::<bool>(&[0xC7, Version::CURRENT.number(), 1, 1]),
        Err(WireError::Trailing(1))
    );
}
