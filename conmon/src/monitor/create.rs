//! Running the OCI runtime's `create`.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use corten_conmon::{
    config::{ALLOCATOR, Config, Stdin, StdioOwner},
    ctl::{CreateFailure, MAX_STDERR, Stage},
    record::ExitStatus,
};
use rustix::{
    fs::{FileType, Gid, Uid},
    net::SocketType,
    pipe::PipeFlags,
};

use super::{control::Listener, pidfile, setup::failure, sys, terminal, tree};

/// How long a killed runtime may take to go away.
const DEATH: Duration = Duration::from_secs(5);

/// A creation under way.
#[derive(Debug)]
pub(crate) struct Creation {
    runtime: i32,
    pid_file: PathBuf,
    oom_file: Option<PathBuf>,
    deadline: Instant,
    timed_out: bool,
    /// The runtime's standard error; later the container's, unless it has a terminal.
    stderr: Option<OwnedFd>,
    said: Vec<u8>,
    stdout: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    stdin_mode: Stdin,
    console: Option<Listener>,
    /// Init, and how it ended, when it ended before the runtime did.
    early: Option<(i32, ExitStatus)>,
}

/// A container that was created.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) pid: i32,
    pub(crate) early: Option<ExitStatus>,
    pub(crate) said: String,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdin_mode: Stdin,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) oom_file: Option<PathBuf>,
}

/// Begins to run the runtime.
pub(crate) fn begin(config: Config, oom_score: Option<[u8; 8]>) -> Result<Creation, CreateFailure> {
    let setup = |what: &str, error: &dyn std::fmt::Display| {
        failure(Stage::Setup, format!("{what}: {error}"))
    };
    pidfile::clear(&config.pid_file).map_err(|error| setup("removing an old pid file", &error))?;
    let console = config
        .console_socket
        .as_deref()
        .map(|path| listen(&config.bundle, path));
    let console = console
        .transpose()
        .map_err(|error| setup("binding the console socket", &error))?;
    let pipe = || {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| setup("making a pipe", &error))
    };

    let give = |fd: &OwnedFd| {
        give(fd, config.owner).map_err(|error| setup("giving a pipe to the container", &error))
    };

    let mut command = command(&config.runtime, &config.bundle);
    let (stderr, theirs) = pipe()?;
    give(&theirs)?;
    command.stderr(Stdio::from(theirs));
    // With a terminal these are the runtime's own, and nothing of the container's.
    let mut stdin = None;
    let mut stdout = None;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if console.is_none() {
        let (ours, theirs) = pipe()?;
        give(&theirs)?;
        command.stdout(Stdio::from(theirs));
        stdout = Some(ours);
        if config.stdin != Stdin::Closed {
            let (theirs, ours) = pipe()?;
            give(&theirs)?;
            command.stdin(Stdio::from(theirs));
            stdin = Some(ours);
        }
    }
    for fd in [Some(&stderr), stdin.as_ref(), stdout.as_ref()]
        .into_iter()
        .flatten()
    {
        rustix::io::ioctl_fionbio(fd, true).map_err(|error| setup("preparing a pipe", &error))?;
    }
    let runtime = sys::spawn(&mut command, oom_score).map_err(|error| {
        failure(
            Stage::Spawn,
            format!("{}: {error}", config.runtime[0].display()),
        )
    })?;
    Ok(Creation {
        runtime,
        pid_file: config.pid_file,
        oom_file: config.oom_file,
        deadline: Instant::now() + Duration::from_millis(config.create_timeout_ms),
        timed_out: false,
        stderr: Some(stderr),
        said: Vec::new(),
        stdout,
        stdin,
        stdin_mode: config.stdin,
        console,
        early: None,
    })
}

/// Gives a pipe to the container's user; anything else is not the container's own and stays as it is.
pub(crate) fn give(fd: &OwnedFd, owner: Option<StdioOwner>) -> rustix::io::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let stat = rustix::fs::fstat(fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::fs::fchown(fd, Some(uid), Some(gid))
}

/// The runtime's command line, to be run in the bundle.
pub(crate) fn command(argv: &[std::ffi::OsString], bundle: &Path) -> Command {
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).current_dir(bundle);
    command.env_remove(ALLOCATOR.0);
    command
}

fn listen(bundle: &Path, path: &Path) -> io::Result<Listener> {
    Listener::bind(&bundle.join(path), SocketType::STREAM)
}

impl Creation {
    pub(crate) fn runtime(&self) -> i32 {
        self.runtime
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to wait on.
    pub(crate) fn ready_on(&self) -> Option<&OwnedFd> {
        self.stderr.as_ref()
    }

    /// Reads what the runtime says; what is over the cap is dropped, for it must not block.
    pub(crate) fn listen(&mut self) {
        let mut buf = [0; 2048];
        while let Some(fd) = &self.stderr {
            match rustix::io::read(fd, &mut buf) {
                Ok(0) => self.stderr = None,
                Ok(n) => {
                    let room = (MAX_STDERR - self.said.len()).min(n);
                    self.said.extend_from_slice(&buf[..room]);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Its time is up: kills the runtime. Says how the creation failed if it does not even die.
    pub(crate) fn expire(&mut self) -> Option<CreateFailure> {
        tree::kill(&[self.runtime]);
        if self.timed_out {
            return Some(self.failed(
                Stage::Timeout,
                None,
                "the runtime does not end, even killed",
            ));
        }
        self.timed_out = true;
        self.deadline = Instant::now() + DEATH;
        None
    }

    /// A child that is not the runtime ended. It may be init already.
    pub(crate) fn child_ended(&mut self, pid: i32, status: ExitStatus) {
        if pidfile::read(&self.pid_file) == Some(pid) {
            self.early = Some((pid, status));
        }
    }

    /// The runtime ended: what came of it.
    pub(crate) fn runtime_ended(&mut self, status: ExitStatus) -> Result<Container, CreateFailure> {
        self.listen();
        if self.timed_out {
            return Err(self.failed(Stage::Timeout, Some(status), "the runtime took too long"));
        }
        if !status.success() {
            return Err(self.failed(Stage::Runtime, Some(status), ""));
        }
        let pid = self
            .early
            .map(|(pid, _)| pid)
            .or_else(|| pidfile::read(&self.pid_file));
        let Some(pid) = pid else {
            let text = format!("{} holds no process number", self.pid_file.display());
            return Err(self.failed(Stage::PidFile, Some(status), &text));
        };
        if self.early.is_none() && !sys::is_child(pid) {
            let text = format!("process {pid} is not a descendant of the monitor");
            return Err(self.failed(Stage::PidFile, Some(status), &text));
        }
        let terminal = match self
            .console
            .take()
            .map(|console| receive_terminal(&console))
        {
            None => None,
            Some(Ok(terminal)) => Some(terminal),
            Some(Err(error)) => {
                tree::kill(&[pid]);
                return Err(self.failed(Stage::Console, Some(status), &error.to_string()));
            }
        };
        let (stdin, stdout, stderr) = match &terminal {
            None => (self.stdin.take(), self.stdout.take(), self.stderr.take()),
            Some(master) => {
                let stdin = master
                    .try_clone()
                    .ok()
                    .filter(|_| self.stdin_mode != Stdin::Closed);
                (stdin, master.try_clone().ok(), None)
            }
        };
        let Some(stdout) = stdout else {
            tree::kill(&[pid]);
            return Err(self.failed(
                Stage::Console,
                Some(status),
                "no descriptor is left for the output",
            ));
        };
        Ok(Container {
            pid,
            early: self.early.map(|(_, status)| status),
            said: self.said(),
            stdin,
            stdin_mode: self.stdin_mode,
            stdout,
            stderr,
            terminal,
            oom_file: self.oom_file.take(),
        })
    }

    fn said(&mut self) -> String {
        let said = std::mem::take(&mut self.said);
        let text = String::from_utf8_lossy(&said);
        // Each byte that is no text takes three as its replacement: cut again to what may be sent.
        let mut end = text.len().min(MAX_STDERR);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    }

    fn failed(&mut self, stage: Stage, status: Option<ExitStatus>, why: &str) -> CreateFailure {
        let said = self.said();
        let text = match (why, &said[..]) {
            (why, "") => why.to_owned(),
            ("", said) => said.to_owned(),
            (why, said) => format!("{why}: {said}"),
        };
        CreateFailure {
            stage,
            status,
            text,
        }
    }
}

/// The terminal, which the runtime sent before it ended.
fn receive_terminal(console: &Listener) -> io::Result<OwnedFd> {
    let nothing = || io::Error::new(io::ErrorKind::NotFound, "the runtime sent no terminal");
    let connection = console.accept().ok_or_else(nothing)?;
    terminal::receive(&connection)?.ok_or_else(nothing)
}
