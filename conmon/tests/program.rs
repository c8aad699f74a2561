//! The program itself, with a shell in the place of the OCI runtime.

use std::{
    io::ErrorKind,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use corten_conmon::{
    config::{Config, LogConfig, Stdin, StdioOwner},
    ctl::{Answer, EVENT, Exec, ExecEnd, MAX_CLIENTS, Phase, Refusal, Reply, Request, Stage, Verb},
    record::{ExitRecord, ExitStatus},
    socket::{self, Address, Received},
    wire::{self, Since, Version},
};
use rustix::net::SocketType;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_corten-conmon");

/// A monitor and the connection that started it.
struct Monitored {
    dir: TempDir,
    daemon: OwnedFd,
}

impl Monitored {
    /// `runtime` is a shell script; `$0` is the pid file.
    fn start(runtime: &str, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("corten-test-")
            .tempdir()
            .unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut config = Config {
            runtime: vec!["sh".into(), "-c".into(), runtime.into(), path("pid").into()],
            bundle: dir.path().to_owned(),
            pid_file: path("pid"),
            console_socket: None,
            stdin: Stdin::Closed,
            owner: None,
            log: Some(LogConfig {
                path: path("log"),
                max_size: None,
            }),
            exit_record: path("exit"),
            ctl_socket: path("ctl"),
            attach_socket: None,
            cgroups: Vec::new(),
            oom_file: None,
            create_timeout_ms: 30_000,
            drain_ms: 2000,
        };
        change(&mut config);
        let frame = wire::frame(Version::CURRENT, &config).unwrap();
        Self {
            daemon: start(&frame, &[]),
            dir,
        }
    }

    /// One whose container runs until it is killed.
    fn sleeping() -> (Self, i32) {
        let this = Self::start("sleep 1000 & echo $! >$0", |_| {});
        let Reply::Created { pid, .. } = receive(&this.daemon).unwrap().reply else {
            panic!()
        };
        (this, pid)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn connect(&self) -> OwnedFd {
        Address::of(&self.path("ctl"))
            .unwrap()
            .connect(SocketType::SEQPACKET)
            .unwrap()
    }
}

/// A test that fails leaves no container behind: with it the monitor ends too.
impl Drop for Monitored {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Some(pid) = std::fs::read_to_string(self.path("pid"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
        else {
            return;
        };
        // Not another's process that has the number by now.
        let home = std::fs::read_link(format!("/proc/{pid}/cwd"));
        if home.is_ok_and(|home| home == self.dir.path()) {
            kill(pid);
        }
    }
}

fn start(config: &[u8], further: &[&str]) -> OwnedFd {
    let (ours, theirs) = socket::pair().unwrap();
    socket::send(&ours, config, &[]).unwrap();
    let status = Command::new(PROGRAM)
        .args(["--container", "test"])
        .args(further)
        .stdin(Stdio::from(theirs))
        .status();
    assert!(status.unwrap().success());
    ours
}

/// The next answer; `None` when the monitor is gone.
fn receive(socket: &OwnedFd) -> Option<Answer> {
    let mut buf = vec![0; wire::MAX_FRAME];
    for _ in 0..6000 {
        match socket::receive(socket, &mut buf) {
            Ok(Received::Packet(len, _)) => return Some(wire::unframe(&buf[..len]).unwrap()),
            Ok(Received::Closed) => return None,
            Ok(Received::Oversized) => panic!("too long"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(10)),
            // Told once where the monitor left with something unread.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    panic!("no answer");
}

fn ask(socket: &OwnedFd, id: u64, verb: Verb) -> Option<Reply> {
    socket::send(
        socket,
        &wire::frame(Version::CURRENT, &Request { id, verb }).unwrap(),
        &[],
    )
    .unwrap();
    let answer = receive(socket)?;
    assert_eq!(answer.id, id);
    Some(answer.reply)
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn pipes_belong_to_whom_they_are_said_to() {
    let script = "(for n in 0 1 2; do stat -L -c %u:%g /proc/self/fd/$n; done; exec sleep 1000) & \
                  echo $! >$0";
    let owner = StdioOwner { uid: 7, gid: 8 };
    let monitored = Monitored::start(script, |config| {
        config.stdin = Stdin::Open;
        config.owner = Some(owner);
    });
    let Reply::Created { pid, .. } = receive(&monitored.daemon).unwrap().reply else {
        panic!()
    };
    let log = (0..6000).find_map(|_| {
        sleep(Duration::from_millis(10));
        let log = std::fs::read_to_string(monitored.path("log")).unwrap_or_default();
        (log.lines().count() == 3).then_some(log)
    });
    kill(pid);
    let log = log.unwrap();
    let seen: Vec<_> = log
        .lines()
        .filter_map(|line| line.split(' ').nth(3))
        .collect();
    // Of the three a shell's background job does not have the first.
    assert_eq!(seen[1..], ["7:8", "7:8"]);
}

#[test]
fn a_life() {
    let script = "(echo hello; while [ ! -e go ]; do sleep 0.02; done; exit 5) & echo $! >$0";
    let monitored = Monitored::start(script, |_| {});
    let answer = receive(&monitored.daemon).unwrap();
    let Reply::Created { pid, .. } = answer.reply else {
        panic!("{answer:?}")
    };
    assert_eq!(answer.id, EVENT);
    let state = ask(&monitored.daemon, 1, Verb::State);
    assert_eq!(
        state,
        Some(Reply::State {
            phase: Phase::Running { pid }
        })
    );
    std::fs::write(monitored.path("go"), "").unwrap();
    let answer = receive(&monitored.daemon).unwrap();
    let Reply::Exited { record } = answer.reply else {
        panic!("{answer:?}")
    };
    assert_eq!(answer.id, EVENT);
    assert_eq!(record.status, ExitStatus::Code { code: 5 });
    assert!(record.log_drained && !record.oom_killed);
    let text = std::fs::read(monitored.path("exit")).unwrap();
    assert_eq!(ExitRecord::from_text(&text), Ok(record));
    assert!(
        std::fs::read_to_string(monitored.path("log"))
            .unwrap()
            .ends_with("Z stdout F hello\n")
    );
    assert!(receive(&monitored.daemon).is_none());
}

#[test]
fn init_may_end_before_its_runtime() {
    let monitored = Monitored::start("(sleep 0.1; exit 3) & echo $! >$0; exec sleep 0.4", |_| {});
    // The shell becomes a sleep, which never reaps: init stays its zombie until the monitor inherits it.
    assert!(matches!(
        receive(&monitored.daemon).unwrap().reply,
        Reply::Created { .. }
    ));
    let Reply::Exited { record } = receive(&monitored.daemon).unwrap().reply else {
        panic!()
    };
    assert_eq!(record.status, ExitStatus::Code { code: 3 });
}

#[test]
fn a_process_of_someone_else_is_no_container() {
    let monitored = Monitored::start(&format!("echo {} >$0", std::process::id()), |_| {});
    let Reply::Failed { failure } = receive(&monitored.daemon).unwrap().reply else {
        panic!()
    };
    assert_eq!(failure.stage, Stage::PidFile);
    assert!(receive(&monitored.daemon).is_none());
    let monitored = Monitored::start("true", |_| {});
    let Reply::Failed { failure } = receive(&monitored.daemon).unwrap().reply else {
        panic!()
    };
    assert_eq!(failure.stage, Stage::PidFile);
}

#[test]
fn a_talkative_runtime_is_neither_blocked_nor_kept_whole() {
    let script = "head -c 300000 /dev/zero | tr '\\0' '\\377' >&2; exit 1";
    let monitored = Monitored::start(script, |_| {});
    let Reply::Failed { failure } = receive(&monitored.daemon).unwrap().reply else {
        panic!()
    };
    assert_eq!(failure.stage, Stage::Runtime);
    assert!(failure.text.len() > 8000 && failure.text.len() <= corten_conmon::ctl::MAX_STDERR);
}

#[test]
fn garbage_is_refused() {
    for garbage in [&b"{}"[..], b"\xC7\x01", b"\xC7\x02\x00", &[0xFF; 2000]] {
        let daemon = start(garbage, &[]);
        let Some(Answer {
            reply: Reply::Failed { failure },
            ..
        }) = receive(&daemon)
        else {
            panic!()
        };
        assert_eq!(failure.stage, Stage::Config);
        assert!(receive(&daemon).is_none());
    }
}

#[test]
fn strangers_and_garbage_do_not_disturb() {
    let (monitored, pid) = Monitored::sleeping();
    let silent = monitored.connect();
    let mute = monitored.connect();
    let Reply::Refused { kind, .. } = ask(&mute, 1, Verb::State).unwrap() else {
        panic!()
    };
    assert_eq!(kind, Refusal::NotUnderstood);
    for garbage in [&b"hello"[..], &[0xC7], &[0xC7, 1, 0], &[0; 60_000]] {
        let client = monitored.connect();
        socket::send(&client, garbage, &[]).unwrap();
        assert!(
            receive(&client).is_none(),
            "whoever cannot even number a request is let go"
        );
    }
    let client = monitored.connect();
    // A verb of a later version: refused by its number, and the connection goes on.
    socket::send(&client, &[0xC7, 1, 9, 0, 0, 0, 0, 0, 0, 0, 200], &[]).unwrap();
    let answer = receive(&client).unwrap();
    assert_eq!(answer.id, 9);
    assert!(matches!(
        answer.reply,
        Reply::Refused {
            kind: Refusal::NotUnderstood,
            ..
        }
    ));
    assert!(matches!(
        ask(&client, 10, Verb::Hello),
        Some(Reply::Hello { .. })
    ));
    assert_eq!(
        ask(&client, 11, Verb::State),
        Some(Reply::State {
            phase: Phase::Running { pid }
        })
    );
    drop(silent);
    kill(pid);
    assert!(matches!(
        receive(&monitored.daemon).unwrap().reply,
        Reply::Exited { .. }
    ));
}

#[test]
fn clients_are_bounded_and_served_in_turn() {
    let (monitored, pid) = Monitored::sleeping();
    // The daemon that started it is one of them.
    let mut clients: Vec<OwnedFd> = (1..MAX_CLIENTS).map(|_| monitored.connect()).collect();
    for client in &clients {
        assert!(matches!(
            ask(client, 1, Verb::Hello),
            Some(Reply::Hello { .. })
        ));
    }
    let waiting = monitored.connect();
    socket::send(
        &waiting,
        &wire::frame(
            Version::CURRENT,
            &Request {
                id: 1,
                verb: Verb::Hello,
            },
        )
        .unwrap(),
        &[],
    )
    .unwrap();
    assert!(matches!(
        ask(&monitored.daemon, 2, Verb::State),
        Some(Reply::State { .. })
    ));
    assert!(
        matches!(socket::receive(&waiting, &mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    );
    clients.pop();
    assert!(matches!(
        receive(&waiting).unwrap().reply,
        Reply::Hello { .. }
    ));
    kill(pid);
}

#[test]
fn only_subscribers_hear_of_the_end_but_all_see_it() {
    let (monitored, pid) = Monitored::sleeping();
    let (hears, sees) = (monitored.connect(), monitored.connect());
    for client in [&hears, &sees] {
        ask(client, 1, Verb::Hello).unwrap();
    }
    ask(&hears, 2, Verb::Subscribe).unwrap();
    kill(pid);
    assert!(matches!(
        receive(&hears).unwrap().reply,
        Reply::Exited { .. }
    ));
    assert!(receive(&hears).is_none());
    assert!(receive(&sees).is_none());
}

#[test]
fn an_exec_needs_its_descriptors() {
    let (monitored, pid) = Monitored::sleeping();
    let exec = |stdin, keep| Exec {
        runtime: vec!["true".into()],
        pid_file: monitored.path("exec-pid"),
        timeout_ms: None,
        stdin,
        keep: Since(keep),
    };
    let null = std::fs::File::open("/dev/null").unwrap();
    let wrong = [
        (false, 0, 0),
        (false, 0, 1),
        (true, 0, 2),
        (false, 0, 3),
        (false, 2, 3),
        (false, 200, 4),
    ];
    for (stdin, keep, fds) in wrong {
        let verb = Verb::Exec {
            exec: exec(stdin, keep),
        };
        let fds = vec![null.as_fd(); fds];
        socket::send(
            &monitored.daemon,
            &wire::frame(Version::CURRENT, &Request { id: 7, verb }).unwrap(),
            &fds,
        )
        .unwrap();
        let answer = receive(&monitored.daemon).unwrap();
        assert!(
            matches!(
                answer.reply,
                Reply::Refused {
                    kind: Refusal::NotUnderstood,
                    ..
                }
            ),
            "{answer:?}"
        );
    }
    // A runtime that leaves no process is found out.
    let verb = Verb::Exec {
        exec: exec(false, 0),
    };
    let fds = [null.as_fd(), null.as_fd()];
    socket::send(
        &monitored.daemon,
        &wire::frame(Version::CURRENT, &Request { id: 8, verb }).unwrap(),
        &fds,
    )
    .unwrap();
    assert_eq!(
        receive(&monitored.daemon).unwrap().reply,
        Reply::ExecEnded {
            end: ExecEnd::NoProcess
        }
    );
    kill(pid);
}

#[test]
fn execs_of_which_no_output_is_kept_die_with_the_connection_that_wanted_them() {
    let (monitored, pid) = Monitored::sleeping();
    let client = monitored.connect();
    ask(&client, 1, Verb::Hello).unwrap();
    let script = "setsid sleep 1000 & echo $! >$0; exec sleep 1000";
    let exec = Exec {
        runtime: vec![
            "sh".into(),
            "-c".into(),
            script.into(),
            monitored.path("exec-pid").into(),
        ],
        pid_file: monitored.path("exec-pid"),
        timeout_ms: None,
        stdin: false,
        keep: Since(0),
    };
    let null = std::fs::File::open("/dev/null").unwrap();
    let frame = wire::frame(
        Version::CURRENT,
        &Request {
            id: 2,
            verb: Verb::Exec { exec },
        },
    )
    .unwrap();
    socket::send(&client, &frame, &[null.as_fd(), null.as_fd()]).unwrap();
    let process = wait_for(|| {
        std::fs::read_to_string(monitored.path("exec-pid"))
            .ok()?
            .trim()
            .parse::<i32>()
            .ok()
    });
    drop(client);
    wait_for(|| (!is_alive(process)).then_some(()));
    wait_for(|| (!monitored.path("exec-pid").exists()).then_some(()));
    kill(pid);
}

/// Has a client run a script whose output is a pipe, which the monitor may go on reading; gives the process and the
/// client's end of the pipe.
fn run_kept(
    monitored: &Monitored,
    client: &OwnedFd,
    script: &str,
    timeout_ms: Option<u64>,
) -> (i32, OwnedFd) {
    let runtime = format!("({script}) & echo $! >$0");
    let exec = Exec {
        runtime: vec![
            "sh".into(),
            "-c".into(),
            runtime.into(),
            monitored.path("exec-pid").into(),
        ],
        pid_file: monitored.path("exec-pid"),
        timeout_ms,
        stdin: false,
        keep: Since(1),
    };
    let verb = Verb::Exec { exec };
    let frame = wire::frame(Version::CURRENT, &Request { id: 2, verb }).unwrap();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let fds = [write.as_fd(), null.as_fd(), read.as_fd()];
    socket::send(client, &frame, &fds).unwrap();
    match receive(client).unwrap().reply {
        Reply::ExecStarted { pid } => (pid, read),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_exec_whose_output_is_kept_goes_on_without_its_client() {
    let (monitored, pid) = Monitored::sleeping();
    let client = monitored.connect();
    ask(&client, 1, Verb::Hello).unwrap();
    let script = "until [ -e gone ]; do sleep 0.02; done; head -c 1000000 /dev/zero && echo >whole";
    let (_, read) = run_kept(&monitored, &client, script, None);
    drop((client, read));
    std::fs::write(monitored.path("gone"), "").unwrap();
    wait_for(|| monitored.path("whole").exists().then_some(()));
    wait_for(|| (!monitored.path("exec-pid").exists()).then_some(()));
    kill(pid);
    while receive(&monitored.daemon).is_some() {}
}

#[test]
fn an_exec_without_its_client_is_killed_when_its_time_is_over() {
    let (monitored, pid) = Monitored::sleeping();
    let client = monitored.connect();
    ask(&client, 1, Verb::Hello).unwrap();
    let (process, read) = run_kept(&monitored, &client, "exec yes", Some(2000));
    drop((client, read));
    wait_for(|| (!is_alive(process)).then_some(()));
    wait_for(|| (!monitored.path("exec-pid").exists()).then_some(()));
    kill(pid);
    while receive(&monitored.daemon).is_some() {}
}

#[test]
fn output_that_its_client_gives_up_is_nobodys() {
    let (monitored, pid) = Monitored::sleeping();
    let client = monitored.connect();
    ask(&client, 1, Verb::Hello).unwrap();
    let (_, read) = run_kept(&monitored, &client, "exec yes", None);
    drop(read);
    let verb = Verb::ReleaseOutput { exec: 2 };
    let frame = wire::frame(Version::CURRENT, &Request { id: 3, verb }).unwrap();
    socket::send(&client, &frame, &[]).unwrap();
    let broken_pipe = ExitStatus::Signal {
        signal: libc::SIGPIPE,
    };
    assert_eq!(
        receive(&client).unwrap().reply,
        Reply::ExecEnded {
            end: ExecEnd::Exited {
                status: broken_pipe
            }
        }
    );
    kill(pid);
}

#[test]
fn a_record_that_cannot_be_written_is_not_given_up() {
    let (monitored, pid) = Monitored::sleeping();
    // In place of the room that was reserved.
    std::fs::remove_file(monitored.path("exit.tmp")).unwrap();
    std::fs::create_dir(monitored.path("exit.tmp")).unwrap();
    kill(pid);
    // Who listens need not wait for the disk, and who asks later hears the same.
    let Reply::Exited { record } = receive(&monitored.daemon).unwrap().reply else {
        panic!()
    };
    assert!(!monitored.path("exit").exists());
    let told = ask(&monitored.daemon, 1, Verb::State);
    let expected = Reply::State {
        phase: Phase::Exited { record },
    };
    assert_eq!(told, Some(expected));
    std::fs::remove_dir(monitored.path("exit.tmp")).unwrap();
    wait_for(|| monitored.path("exit").exists().then_some(()));
    while receive(&monitored.daemon).is_some() {}
}

#[test]
fn a_socket_in_use_is_not_taken() {
    let (monitored, pid) = Monitored::sleeping();
    let ctl = monitored.path("ctl");
    let other = Monitored::start("true", |config| config.ctl_socket = ctl.clone());
    let Reply::Failed { failure } = receive(&other.daemon).unwrap().reply else {
        panic!()
    };
    assert_eq!(failure.stage, Stage::Sockets);
    // One that was left behind is.
    kill(pid);
    while receive(&monitored.daemon).is_some() {}
    drop(std::os::unix::net::UnixListener::bind(&ctl).unwrap());
    let other = Monitored::start("sleep 1000 & echo $! >$0", |config| {
        config.ctl_socket = ctl.clone()
    });
    let Reply::Created { pid, .. } = receive(&other.daemon).unwrap().reply else {
        panic!()
    };
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(&ctl).unwrap().permissions().mode() & 0o777,
        0o600
    );
    kill(pid);
}

#[test]
fn long_paths_are_no_obstacle() {
    let deep = tempfile::Builder::new()
        .prefix("corten-test-")
        .tempdir()
        .unwrap();
    let dir = deep.path().join("x".repeat(120));
    std::fs::create_dir(&dir).unwrap();
    let ctl = dir.join("ctl");
    let monitored = Monitored::start("sleep 1000 & echo $! >$0", |config| {
        config.ctl_socket = ctl.clone()
    });
    let Reply::Created { pid, .. } = receive(&monitored.daemon).unwrap().reply else {
        panic!()
    };
    let client = Address::of(&ctl)
        .unwrap()
        .connect(SocketType::SEQPACKET)
        .unwrap();
    assert!(matches!(
        ask(&client, 1, Verb::Hello),
        Some(Reply::Hello { .. })
    ));
    kill(pid);
    while receive(&monitored.daemon).is_some() {}
}

/// The next answer and the version it is in.
fn receive_raw(socket: &OwnedFd) -> Option<(u8, Answer)> {
    let mut buf = vec![0; wire::MAX_FRAME];
    wait_for(|| match socket::receive(socket, &mut buf) {
        Ok(Received::Packet(len, _)) => Some(Some((buf[1], wire::unframe(&buf[..len]).unwrap()))),
        Ok(Received::Closed) => Some(None),
        Ok(Received::Oversized) => panic!("too long"),
        Err(_) => None,
    })
}

fn send_in(version: Version, socket: &OwnedFd, id: u64, verb: Verb) {
    let frame = wire::frame(version, &Request { id, verb }).unwrap();
    socket::send(socket, &frame, &[]).unwrap();
}

#[test]
fn everyone_is_answered_and_told_in_the_version_it_speaks() {
    let (monitored, pid) = Monitored::sleeping();
    let clients: Vec<(Version, OwnedFd)> = Version::all()
        .map(|version| (version, monitored.connect()))
        .collect();
    for (version, client) in &clients {
        send_in(*version, client, 1, Verb::Hello);
        let (spoken, answer) = receive_raw(client).unwrap();
        assert_eq!((spoken, answer.id), (version.number(), 1));
        let Reply::Hello { program, .. } = answer.reply else {
            panic!("{answer:?}")
        };
        let known = if spoken < 2 {
            ""
        } else {
            env!("CARGO_PKG_VERSION")
        };
        assert_eq!(program.0, known);
        send_in(*version, client, 2, Verb::Subscribe);
        assert_eq!(receive_raw(client).unwrap().0, version.number());
    }
    kill(pid);
    for (version, client) in &clients {
        let (spoken, answer) = receive_raw(client).unwrap();
        assert_eq!((spoken, answer.id), (version.number(), EVENT));
        assert!(matches!(answer.reply, Reply::Exited { .. }), "{answer:?}");
    }
    while receive(&monitored.daemon).is_some() {}
}

#[test]
fn who_speaks_another_version_is_told_which_there_are() {
    let (monitored, pid) = Monitored::sleeping();
    let client = monitored.connect();
    socket::send(&client, &[0xC7, 9, 1, 2, 3], &[]).unwrap();
    let (spoken, answer) = receive_raw(&client).unwrap();
    assert_eq!((spoken, answer.id), (Version::CURRENT.number(), EVENT));
    let Reply::Refused { kind, text } = answer.reply else {
        panic!("{answer:?}")
    };
    assert_eq!(kind, Refusal::NotUnderstood);
    assert!(text.contains("versions 1 to 3"), "{text}");
    assert!(receive_raw(&client).is_none());
    kill(pid);
    assert!(matches!(
        receive(&monitored.daemon).unwrap().reply,
        Reply::Exited { .. }
    ));
}

#[test]
fn a_program_of_before_refuses_what_came_later_and_does_nothing() {
    let frame = wire::frame(Version::CURRENT, &true).unwrap();
    let daemon = start(&frame, &["--protocol", "1"]);
    let (spoken, answer) = receive_raw(&daemon).unwrap();
    assert_eq!(spoken, 1);
    let Reply::Failed { failure } = answer.reply else {
        panic!("{answer:?}")
    };
    assert_eq!(failure.stage, Stage::Config);
    assert!(failure.text.contains("version 3"), "{failure:?}");
    assert!(receive_raw(&daemon).is_none());
}

#[test]
fn a_runtime_ends_with_its_monitor() {
    let monitored = Monitored::start("echo $$ >runtime; exec sleep 1000", |_| {});
    let pid: i32 = wait_for(|| {
        let text = std::fs::read_to_string(monitored.path("runtime")).ok()?;
        text.trim().parse().ok()
    });
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    kill(parent.unwrap().trim().parse().unwrap());
    let sleeps = || {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.starts_with("sleep"))
    };
    wait_for(|| (!sleeps()).then_some(()));
    assert!(receive(&monitored.daemon).is_none());
}

#[test]
fn pause_reaps_and_leaves_when_told() {
    let script = "sleep 0.1 & exec \"$0\" --pause";
    let mut pause = Command::new("sh")
        .args(["-c", script, PROGRAM])
        .spawn()
        .unwrap();
    let pid = pause.id();
    // In rt_sigtimedwait, and with no child left, ended or not.
    let waits = || {
        std::fs::read_to_string(format!("/proc/{pid}/syscall"))
            .is_ok_and(|call| call.starts_with("128 "))
    };
    let children = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    wait_for(|| (waits() && children().is_empty()).then_some(()));
    assert!(pause.try_wait().unwrap().is_none());
    let status = Command::new("kill").arg(pid.to_string()).status().unwrap();
    assert!(status.success());
    assert!(pause.wait().unwrap().success());
}

#[test]
fn it_says_what_it_is_and_how_it_is_used() {
    let version = Command::new(PROGRAM).arg("--version").output().unwrap();
    assert!(version.status.success());
    assert!(
        String::from_utf8(version.stdout)
            .unwrap()
            .starts_with("corten-conmon ")
    );
    let wrong = Command::new(PROGRAM)
        .args(["--pause", "please"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        String::from_utf8(wrong.stderr)
            .unwrap()
            .contains("--container")
    );
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(value) = what() {
            return value;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("it never came");
}

fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
