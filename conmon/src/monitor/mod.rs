//! The loop: waits, and hands what happened to whom it concerns.

mod cgroup;
mod control;
mod create;
mod ending;
mod entry;
mod exec;
mod fanout;
mod input;
mod kept;
mod logfile;
mod oom;
mod output;
mod pidfile;
mod requests;
mod setup;
mod terminal;
mod time;
mod tree;

use std::{
    mem::take,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use corten_conmon::{
    config::{Config, MIN_LOG_SIZE},
    ctl::{Answer, CreateFailure, EVENT, Reply, Stage},
    log::{LogWriter, Stream},
    record::ExitStatus,
    socket,
    wire::{self, MAX_FRAME, Since, Version},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::SocketType,
};

use self::{
    control::{Clients, Listener, Speech, Wish},
    create::{Container, Creation},
    ending::Ending,
    exec::{Execs, Home, News},
    fanout::Fanout,
    input::Input,
    logfile::LogFile,
    oom::OomWatch,
    output::{Output, Sinks},
    setup::failure,
};
use crate::sys::{self, Pages};

/// How long nothing must happen before memory is given back.
const IDLE: Duration = Duration::from_secs(1);

/// Version of this program, as others are told it.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// Runs the monitor, which speaks no version newer than `newest`; the process that was started returns at once, its
/// child when the container ended.
pub(crate) fn run(newest: Version) -> ExitCode {
    if let Err(error) = sys::close_inherited() {
        eprintln!("corten-conmon: cannot close what was inherited: {error}");
        return ExitCode::FAILURE;
    }
    let (Ok(daemon), Ok(mut scratch)) = (setup::take_connection(), Pages::new(MAX_FRAME)) else {
        return ExitCode::FAILURE;
    };
    // Sent before this program was started.
    let Some(mut config) = setup::read_config(&daemon, &mut scratch, newest) else {
        return ExitCode::FAILURE;
    };
    let dirs = config.as_mut().map(|(config, _)| take(&mut config.cgroups));
    let cgroups = setup::find_cgroups(dirs.unwrap_or_default());
    let Ok(begun) = setup::leave_home(cgroups.begin()) else {
        return ExitCode::FAILURE;
    };
    let copy = daemon.try_clone();
    // Who cannot be understood is answered in the newest version there is.
    let version = config.as_ref().map_or(newest, |(_, version)| *version);
    let begin = |(config, version)| {
        setup::enter_cgroups(cgroups, begun)?;
        Monitor::new(config, daemon, Speech { version, newest }, scratch)
    };
    let failed = match config.and_then(begin) {
        Ok(monitor) => return monitor.run(),
        Err(failure) => failure,
    };
    // Nobody else can know of a monitor that never listened.
    let answer = Answer {
        id: EVENT,
        reply: Reply::Failed { failure: failed },
    };
    if let (Ok(daemon), Ok(frame)) = (copy, wire::frame(version, &answer)) {
        let _ = socket::send(&daemon, &frame, &[]);
    }
    ExitCode::FAILURE
}

/// Where the container is.
///
/// ```text
/// Creating ──> Running ──> Ending ──> (the program ends)
///     └────────────────────────────────────^  creation failed
/// ```
enum Phase {
    Creating(Box<Creation>),
    Running { pid: i32 },
    Ending(Ending),
}

struct Monitor {
    phase: Phase,
    signals: OwnedFd,
    clients: Clients,
    execs: Execs,
    attached: Fanout,
    input: Input,
    stdout: Output,
    stderr: Output,
    log: Option<LogWriter<LogFile>>,
    terminal: Option<OwnedFd>,
    oom: OomWatch,
    oom_score: Option<[u8; 8]>,
    home: Home,
    exit_record: PathBuf,
    drain: Duration,
    scratch: Pages,
    /// Something happened since memory was given back.
    busy: bool,
}

/// What can be waited for.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Runtime,
    Stdout,
    Stderr,
    Input,
    Oom,
    Client(u32),
    Attached(usize),
    /// What is told of processes on their way into the container.
    Entries,
    /// Output of an exec whose client is gone.
    Unread((usize, usize)),
    NewAttached,
    NewClient,
}

/// Whether the loop goes on.
enum Next {
    Wait,
    Leave(ExitCode),
}

impl Monitor {
    /// Sets everything up and begins to run the runtime.
    fn new(
        config: Config,
        daemon: OwnedFd,
        speech: Speech,
        scratch: Pages,
    ) -> Result<Self, CreateFailure> {
        let setup = |error| failure(Stage::Setup, format!("{error}"));
        setup::adopt_orphans()?;
        let oom_score = setup::hide_from_oom_killer();
        let signals = sys::take_signals().map_err(setup)?;
        let max_size = config.log.as_ref().and_then(|log| log.max_size);
        ending::reserve(&config.exit_record).map_err(|error| {
            let path = config.exit_record.display();
            failure(
                Stage::Setup,
                format!("taking room for the exit record {path}: {error}"),
            )
        })?;
        let log = config.log.as_ref().map(open_log).transpose()?;
        let listen = |path: &PathBuf| {
            Listener::bind(path, SocketType::SEQPACKET)
                .map_err(|error| failure(Stage::Sockets, format!("{}: {error}", path.display())))
        };
        let clients = Clients::new(listen(&config.ctl_socket)?, daemon, speech);
        let attached = Fanout::new(config.attach_socket.as_ref().map(listen).transpose()?);
        let limit = LogWriter::<LogFile>::line_limit(max_size);
        Ok(Self {
            signals,
            clients,
            execs: Execs::default(),
            attached,
            input: Input::new(None, config.stdin),
            stdout: Output::new(Stream::Stdout, limit).map_err(setup)?,
            stderr: Output::new(Stream::Stderr, limit).map_err(setup)?,
            log,
            terminal: None,
            oom: OomWatch::default(),
            oom_score,
            home: Home {
                bundle: config.bundle.clone(),
                owner: config.owner,
            },
            exit_record: config.exit_record.clone(),
            drain: Duration::from_millis(config.drain_ms),
            scratch,
            busy: true,
            phase: Phase::Creating(Box::new(create::begin(config, oom_score)?)),
        })
    }

    fn run(mut self) -> ExitCode {
        loop {
            for source in self.wait() {
                self.busy = true;
                if let Next::Leave(code) = self.handle(source) {
                    return code;
                }
            }
            if let Next::Leave(code) = self.pass_time(Instant::now()) {
                return code;
            }
        }
    }

    /// Waits until something is ready or due.
    fn wait(&mut self) -> Vec<Source> {
        let mut timeout = self
            .next_deadline()
            .map(|at| at.saturating_duration_since(Instant::now()));
        let may_rest = self.busy && timeout.is_none_or(|timeout| timeout > IDLE);
        if may_rest {
            timeout = Some(IDLE);
        }
        let sources = self.sources();
        let mut polled: Vec<PollFd<'_>> = sources.iter().map(|(_, fd)| fd.clone()).collect();
        // A millisecond more, so that a deadline has passed when the wait for it is over.
        let timeout = timeout.and_then(|t| Timespec::try_from(t + Duration::from_millis(1)).ok());
        let ready = rustix::event::poll(&mut polled, timeout.as_ref());
        let happened: Vec<Source> = sources
            .iter()
            .zip(&polled)
            .filter(|(_, fd)| ready.is_ok() && !fd.revents().is_empty())
            .map(|((source, _), _)| *source)
            .collect();
        drop(polled);
        drop(sources);
        if may_rest && ready == Ok(0) {
            self.rest();
        }
        happened
    }

    /// Everything to wait for now. New clients come last, so that their numbers are not yet taken.
    fn sources(&self) -> Vec<(Source, PollFd<'_>)> {
        fn on(source: Source, fd: &impl AsFd) -> (Source, PollFd<'_>) {
            (source, PollFd::new(fd, PollFlags::IN))
        }
        let mut sources = vec![on(Source::Signals, &self.signals)];
        if let Phase::Creating(creation) = &self.phase {
            sources.extend(creation.ready_on().map(|fd| on(Source::Runtime, fd)));
        }
        sources.extend(self.stdout.ready_on().map(|fd| on(Source::Stdout, fd)));
        sources.extend(self.stderr.ready_on().map(|fd| on(Source::Stderr, fd)));
        sources.extend(
            self.clients
                .sockets()
                .map(|(key, fd)| on(Source::Client(key), fd)),
        );
        match self.input.blocked_on() {
            Some(fd) => sources.push((Source::Input, PollFd::new(fd, PollFlags::OUT))),
            None => sources.extend(
                self.attached
                    .clients()
                    .map(|(at, fd)| on(Source::Attached(at), fd)),
            ),
        }
        sources.extend(self.execs.ears().map(|fd| on(Source::Entries, fd)));
        sources.extend(
            self.execs
                .unread()
                .map(|(place, fd)| on(Source::Unread(place), fd)),
        );
        if let Some((fd, flags)) = self.oom.ready_on() {
            sources.push((Source::Oom, PollFd::from_borrowed_fd(fd.as_fd(), flags)));
        }
        sources.extend(
            self.attached
                .listening_on()
                .map(|fd| on(Source::NewAttached, fd)),
        );
        sources.extend(
            self.clients
                .listening_on()
                .map(|fd| on(Source::NewClient, fd)),
        );
        sources
    }

    fn next_deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Creating(creation) => Some(creation.deadline()),
            Phase::Running { .. } => None,
            Phase::Ending(ending) => Some(ending.deadline),
        };
        [phase, self.execs.deadline(), self.stdout.paused_until()]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle(&mut self, source: Source) -> Next {
        match source {
            Source::Signals => return self.reap(),
            Source::Runtime => {
                if let Phase::Creating(creation) = &mut self.phase {
                    creation.listen();
                }
            }
            Source::Stdout | Source::Stderr => self.pump(source),
            Source::Input => self.input.push(),
            Source::Oom => self.oom.notice(),
            Source::Client(key) => match self.clients.receive(key, &mut self.scratch) {
                Wish::Nothing => {}
                Wish::Gone => self.execs.abandon(key),
                Wish::Request(request, fds) => {
                    let wish = self.fulfil(key, request.id, request.verb, fds);
                    if matches!(wish, Wish::Gone) {
                        self.execs.abandon(key);
                    }
                }
            },
            Source::Attached(at) if !self.input.is_blocked() => {
                self.attached
                    .receive(at, &mut self.scratch, &mut self.input);
            }
            Source::Attached(_) => {}
            Source::Entries => {
                let mut news = Vec::new();
                self.execs.listen(&self.home, &mut news);
                self.report(news);
            }
            Source::Unread(place) => self.execs.drop_output(place, &mut self.scratch),
            Source::NewAttached => self.attached.accept(),
            Source::NewClient => self.clients.accept(),
        }
        Next::Wait
    }

    fn pump(&mut self, source: Source) {
        let alive = matches!(self.phase, Phase::Running { .. });
        let mut sinks = Sinks {
            log: self.log.as_mut(),
            attached: &mut self.attached,
        };
        match source {
            Source::Stderr => self.stderr.pump(&mut sinks, alive),
            _ => self.stdout.pump(&mut sinks, alive),
        }
    }

    /// Reaps every child that ended.
    fn reap(&mut self) -> Next {
        // One signal may stand for many children; its bytes say nothing that is not asked for below.
        let _ = rustix::io::read(&self.signals, &mut self.scratch[..1024]);
        let mut news = Vec::new();
        while let Some((pid, status)) = sys::peek_child() {
            // Looked at before it is reaped: until then nothing else can have its number.
            let next = self.child_ended(pid, status, &mut news);
            sys::reap(pid);
            if let Next::Leave(code) = next {
                return Next::Leave(code);
            }
        }
        self.report(news);
        Next::Wait
    }

    fn child_ended(&mut self, pid: i32, status: ExitStatus, news: &mut Vec<News>) -> Next {
        match &mut self.phase {
            Phase::Creating(creation) if creation.runtime() == pid => {
                match creation.runtime_ended(status) {
                    Ok(container) => self.created(container),
                    Err(failure) => return self.not_created(failure),
                }
            }
            Phase::Creating(creation) => creation.child_ended(pid, status),
            Phase::Running { pid: init } if *init == pid => self.init_ended(pid, status),
            _ => {
                // It may have told first what it is.
                self.execs.listen(&self.home, news);
                self.execs.child_ended(pid, status, news);
            }
        }
        Next::Wait
    }

    fn created(&mut self, container: Container) {
        let pid = container.pid;
        self.input = Input::new(container.stdin, container.stdin_mode);
        self.stdout.read_from(container.stdout);
        if let Some(stderr) = container.stderr {
            self.stderr.read_from(stderr);
        }
        self.terminal = container.terminal;
        self.oom = OomWatch::new(container.oom_file, pid);
        self.phase = Phase::Running { pid };
        let monitor = rustix::process::getpid().as_raw_nonzero().get();
        self.clients.tell(Reply::Created {
            pid,
            monitor,
            stderr: container.said,
            program: Since(PROGRAM.to_owned()),
        });
        if let Some(status) = container.early {
            self.init_ended(pid, status);
        }
    }

    fn not_created(&mut self, failure: CreateFailure) -> Next {
        self.clients.tell(Reply::Failed { failure });
        Next::Leave(ExitCode::FAILURE)
    }

    fn init_ended(&mut self, pid: i32, status: ExitStatus) {
        self.phase = Phase::Ending(Ending::new(pid, status, self.drain));
        self.stdout.unpause_for_good();
    }

    /// Gives memory back while nothing happens.
    fn rest(&mut self) {
        self.busy = false;
        self.stdout.release_memory();
        self.stderr.release_memory();
        self.scratch.release();
        sys::trim_heap();
        sys::trim_stack();
    }
}

fn open_log(
    config: &corten_conmon::config::LogConfig,
) -> Result<LogWriter<LogFile>, CreateFailure> {
    let path = config.path.display();
    if config.max_size.is_some_and(|size| size < MIN_LOG_SIZE) {
        let text = format!(
            "{path}: a size of {:?} is below {MIN_LOG_SIZE}",
            config.max_size
        );
        return Err(failure(Stage::Log, text));
    }
    let (file, size) = LogFile::open(config.path.clone())
        .map_err(|error| failure(Stage::Log, format!("{path}: {error}")))?;
    Ok(LogWriter::new(file, size, config.max_size))
}
