//! Starting a monitor.

use std::{
    ffi::OsString,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use corten_conmon::{
    config::ALLOCATOR,
    ctl::{Answer, Reply, Stage},
    socket,
    wire::{Since, Version},
};
use tokio::process::Command;

use super::{About, CreateRequest, Monitor, MonitorError, adopt, link::Connection, vigil::WAKE};
use crate::{
    id::Id,
    step::{self, Step},
};

/// What a monitor may take on top of the runtime's own time.
const MARGIN: Duration = Duration::from_secs(10);

/// The monitor's program.
#[derive(Debug, Clone)]
pub struct MonitorBinary {
    path: PathBuf,
}

impl MonitorBinary {
    /// The program at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A container that was created and waits to be started.
#[derive(Debug)]
pub struct Created {
    /// Its init process.
    pub pid: i32,
    /// Its monitor's process.
    pub monitor_pid: i32,
    /// What the runtime wrote to its standard error though it succeeded: warnings.
    pub runtime_stderr: String,
    /// The handle on its monitor.
    pub monitor: Monitor,
}

/// Starts a monitor, which creates the container.
///
/// Once this was begun the monitor goes on whatever happens to the caller: after a cancelled call or a
/// [`MonitorError::Timeout`], [`super::adopt`] tells what became of it.
pub async fn spawn(
    binary: &MonitorBinary,
    request: CreateRequest,
) -> Result<Created, MonitorError> {
    let mut version = Version::CURRENT;
    loop {
        match spawn_speaking(version, binary, request.clone()).await {
            // A program of before understands nothing newer, and did nothing.
            Err(MonitorError::Create(failure)) if failure.stage == Stage::Config => {
                match version.previous() {
                    Some(previous) => version = previous,
                    None => return Err(MonitorError::Create(failure)),
                }
            }
            other => return other,
        }
    }
}

async fn spawn_speaking(
    version: Version,
    binary: &MonitorBinary,
    request: CreateRequest,
) -> Result<Created, MonitorError> {
    let (ours, theirs) = socket::pair().map_err(MonitorError::Socket)?;
    let connection = Connection::new(ours, version)?;
    let exit_record = request.exit_record.clone();
    let ctl_socket = request.ctl_socket.clone();
    let patience = request.create_timeout + MARGIN;
    let created = async {
        step::reached(Step::MonitorCalled);
        start(binary, request, theirs, &connection).await?;
        step::reached(Step::MonitorDetached);
        let answer = outcome(&connection, &ctl_socket).await;
        step::reached(Step::MonitorAnswered);
        answer
    };
    let answer = match tokio::time::timeout(patience, created).await {
        Ok(answer) => answer?,
        Err(_) => {
            // Its own time for this was over before: it is stuck, and must not be there for ever.
            if let Some(monitor) = adopt::listener(&ctl_socket).await {
                monitor.kill();
            }
            return Err(MonitorError::Timeout {
                operation: "the container's creation",
                after: patience,
            });
        }
    };
    match answer.reply {
        Reply::Created {
            pid,
            monitor: monitor_pid,
            stderr: runtime_stderr,
            program: Since(program),
        } => {
            let about = About::new(monitor_pid, program, version);
            let monitor = Monitor::start(connection, pid, about, exit_record, None);
            Ok(Created {
                pid,
                monitor_pid,
                runtime_stderr,
                monitor,
            })
        }
        Reply::Failed { failure } => Err(MonitorError::Create(failure)),
        _ => Err(MonitorError::Unexpected("the container's creation")),
    }
}

/// What came of the creation. A monitor that is silent for long may have been stopped; it is continued.
async fn outcome(connection: &Connection, ctl_socket: &Path) -> Result<Answer, MonitorError> {
    loop {
        if let Ok(answer) = tokio::time::timeout(WAKE, connection.receive()).await {
            return answer;
        }
        if let Some(monitor) = adopt::listener(ctl_socket).await {
            monitor.wake();
        }
    }
}

async fn start(
    binary: &MonitorBinary,
    mut request: CreateRequest,
    stdin: OwnedFd,
    connection: &Connection,
) -> Result<(), MonitorError> {
    let (path, id) = (binary.path.clone(), request.id.clone());
    let env = std::mem::take(&mut request.env);
    // Encoded and sent before the program runs: a configuration that cannot be sent starts nothing.
    connection.send_config(&request.config()).await?;
    run(path, &id, env, stdin).await
}

/// Runs the program and waits for its first process, which detaches the second and leaves at once. One that does not
/// is killed when this future is dropped.
async fn run(
    path: PathBuf,
    id: &Id,
    env: Vec<(OsString, OsString)>,
    stdin: OwnedFd,
) -> Result<(), MonitorError> {
    let status = Command::new(&path)
        .arg("--container")
        .arg(id.as_str())
        .env_clear()
        .envs(env)
        .env(ALLOCATOR.0, ALLOCATOR.1)
        .current_dir("/")
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(MonitorError::Detach {
            binary: path,
            status,
        }),
        Err(source) => Err(MonitorError::Start {
            binary: path,
            source,
        }),
    }
}
