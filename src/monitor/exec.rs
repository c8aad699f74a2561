//! Processes in a running container, through its monitor.

use std::{ffi::OsString, io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use corten_conmon::{
    ctl::{Exec, ExecEnd as Told, Reply, Request, Run, Streams, Verb},
    wire::{self, Since, Version},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    ExitStatus, Monitor, MonitorError, client::unexpected, link::Waiter, pipe::Reader, words::Names,
};

pub use super::pipe::Output;

/// What the monitor may take on top of an exec's timeout: to kill it and to say so.
const MARGIN: Duration = Duration::from_secs(10);

/// How a process is to be run.
#[derive(Debug)]
pub enum Way {
    /// By the OCI runtime.
    Runtime {
        /// Command line of its `exec`, which must detach (`--detach`), write `pid_file` and read `process_json`. Its
        /// working directory is the bundle. With a terminal it names a console socket; whoever made that receives
        /// the terminal on it.
        argv: Vec<OsString>,
        /// The process as a file.
        process_json: RemovedFile,
        /// File the runtime writes the process's number to; the monitor removes it. One for each exec.
        pid_file: PathBuf,
    },
    /// By the monitor itself, which has to speak [`OWN`] of the protocol.
    Own {
        /// What to run. Which descriptors are sent, and how long it may take, is said for it.
        run: Box<Run>,
        /// The program of its filter, where it has one.
        filter: Option<OwnedFd>,
    },
}

/// First version of the protocol in which a monitor runs processes itself.
pub const OWN: u8 = 3;

/// Whether a process can be told to a monitor: it is one frame.
pub fn can_be_told(run: &Run) -> bool {
    let request = Request {
        id: u64::MAX,
        verb: Verb::Run {
            run: Box::new(run.clone()),
        },
    };
    wire::frame(Version::CURRENT, &request).is_ok()
}

/// A process to run to its end, its output collected.
#[derive(Debug)]
pub struct ExecRequest {
    /// How.
    pub way: Way,
    /// How long it may take, all in all.
    pub timeout: Option<Duration>,
    /// Bytes kept of its output, and as many of its error.
    pub output_cap: usize,
    /// How long output may still come once the process is gone and another holds its pipes.
    pub drain: Duration,
    /// As in [`StartExec::leaving`].
    pub leaving: CancellationToken,
}

impl ExecRequest {
    /// Bytes of output that are kept by default.
    pub const OUTPUT_CAP: usize = 16 * 1024 * 1024;
    /// Time for output that outlives the process. What the process itself wrote needs none of it.
    pub const DRAIN: Duration = Duration::from_millis(250);
}

/// What came of an exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
    /// How it ended.
    pub end: ExecEnd,
    /// Its standard output.
    pub stdout: Output,
    /// Its standard error.
    pub stderr: Output,
}

/// How an exec ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecEnd {
    /// The process ended by itself.
    Exited(ExitStatus),
    /// It took too long, and was killed with all it had started.
    TimedOut,
}

/// A process to start, its descriptors given.
#[derive(Debug)]
pub struct StartExec {
    /// How.
    pub way: Way,
    /// As in [`ExecRequest::timeout`].
    pub timeout: Option<Duration>,
    /// Standard input; `None` for `/dev/null`.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error, of the runtime too.
    pub stderr: OwnedFd,
    /// What these can be read from, where that is not to end with this daemon: the process then goes on should the
    /// connection to the monitor break, and what it writes is dropped. Monitors of before version 3 kill it.
    pub kept: Vec<OwnedFd>,
    /// Once this is cancelled, dropping the exec does not kill the process.
    pub leaving: CancellationToken,
}

/// First version of the protocol in which a process outlives the connection.
const OUTLIVING: u8 = 3;

/// An exec under way. Dropping it kills the process, unless the daemon is leaving.
#[derive(Debug)]
pub struct RunningExec {
    started: Option<oneshot::Receiver<Reply>>,
    ended: oneshot::Receiver<Reply>,
    cancel: Cancel,
    timeout: Option<Duration>,
    by: By,
}

/// Who runs the process, and what is needed of that later.
#[derive(Debug)]
enum By {
    /// The runtime, which reads this file.
    Runtime { process_json: Option<RemovedFile> },
    /// The monitor.
    Own(Names),
}

/// Output that nobody reads any more, of an exec whose monitor would take over its reading.
#[derive(Debug)]
pub struct Unread(Option<(Monitor, u64)>);

impl Unread {
    /// Lets whoever writes more of it be told that nobody reads it.
    pub fn release(&self) {
        if let Some((monitor, exec)) = &self.0 {
            let exec = *exec;
            monitor.request_later(Verb::ReleaseOutput { exec });
        }
    }
}

/// Ends the exec when dropped before it was over.
#[derive(Debug)]
struct Cancel {
    monitor: Monitor,
    exec: Option<u64>,
    leaving: CancellationToken,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if let Some(exec) = self.exec.take()
            && !self.leaving.is_cancelled()
        {
            self.monitor.request_later(Verb::CancelExec { exec });
        }
    }
}

impl RunningExec {
    /// Waits until the process runs and gives its number. `None` when it never will: [`Self::wait`] says
    /// why. May be called once.
    pub async fn started(&mut self) -> Option<i32> {
        let told = self.started.take()?.await;
        if let By::Runtime { process_json } = &mut self.by {
            // It has been read, or never will be.
            *process_json = None;
        }
        match told {
            Ok(Reply::ExecStarted { pid }) => Some(pid),
            _ => None,
        }
    }

    /// Has the monitor keep the terminal, so that its process is not hung up should the connection break.
    pub async fn keep_terminal(&self, master: OwnedFd) -> Result<(), MonitorError> {
        // One that made it itself has it already.
        let (Some(exec), By::Runtime { .. }) = (self.outliving(), &self.by) else {
            return Ok(());
        };
        let monitor = &self.cancel.monitor;
        let verb = Verb::KeepTerminal { exec };
        monitor
            .request(monitor.next_id(), verb, vec![master], None)
            .await
    }

    /// To tell the monitor with that nobody is going to read more output.
    pub fn unread(&self) -> Unread {
        Unread(
            self.outliving()
                .map(|exec| (self.cancel.monitor.clone(), exec)),
        )
    }

    /// Its number, with a monitor that lets it outlive the connection.
    fn outliving(&self) -> Option<u64> {
        let protocol = self.cancel.monitor.about().protocol;
        self.cancel.exec.filter(|_| protocol >= OUTLIVING)
    }

    /// Waits for the end. A runtime that failed is [`MonitorError::ExecRuntime`], without its words:
    /// they went to the standard error given.
    pub async fn wait(&mut self) -> Result<ExecEnd, MonitorError> {
        let reply = match self.timeout {
            None => (&mut self.ended).await,
            Some(timeout) => {
                let after = timeout.saturating_add(MARGIN);
                tokio::time::timeout(after, &mut self.ended)
                    .await
                    .map_err(|_| MonitorError::Timeout {
                        operation: "an exec",
                        after,
                    })?
            }
        };
        let reply = reply.map_err(|_| MonitorError::Gone)?;
        self.cancel.exec = None;
        let Reply::ExecEnded { end } = reply else {
            return Err(unexpected("an exec", reply));
        };
        match end {
            Told::Exited { status } => Ok(ExecEnd::Exited(status.into())),
            Told::TimedOut => Ok(ExecEnd::TimedOut),
            Told::RuntimeFailed { status } => Err(MonitorError::ExecRuntime {
                status: status.into(),
                stderr: String::new(),
            }),
            Told::NoRuntime { errno } => {
                Err(MonitorError::ExecSpawn(io::Error::from_raw_os_error(errno)))
            }
            Told::NoProcess => Err(MonitorError::ExecNoProcess),
            Told::NotStarted { step, errno, place } => {
                let names = match &self.by {
                    By::Own(names) => names.clone(),
                    By::Runtime { .. } => Names::default(),
                };
                let words = names.failure(step, errno, place);
                Err(MonitorError::ExecStart { step, words })
            }
            // Nobody here cancelled it: the container ended, and the monitor killed what was left in it.
            Told::Cancelled => Ok(ExecEnd::Exited(ExitStatus::Signal(libc::SIGKILL))),
        }
    }
}

impl Monitor {
    /// Starts a process in the container.
    pub async fn start_exec(&self, start: StartExec) -> Result<RunningExec, MonitorError> {
        let mut kept = start.kept;
        if self.about().protocol < OUTLIVING {
            kept.clear();
        }
        let timeout_ms = start
            .timeout
            .map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        let stdin = start.stdin.is_some();
        let keep = u8::try_from(kept.len()).unwrap_or(u8::MAX);
        let mut fds: Vec<OwnedFd> = start
            .stdin
            .into_iter()
            .chain([start.stdout, start.stderr])
            .chain(kept)
            .collect();
        let (verb, by) = match start.way {
            Way::Runtime {
                argv,
                process_json,
                pid_file,
            } => {
                let exec = Exec {
                    runtime: argv,
                    pid_file,
                    timeout_ms,
                    stdin,
                    keep: Since(keep),
                };
                let process_json = Some(process_json);
                (Verb::Exec { exec }, By::Runtime { process_json })
            }
            Way::Own { mut run, filter } => {
                match &mut run.streams {
                    Streams::Pipes { stdin: s, keep: k } => (*s, *k) = (stdin, keep),
                    // All it needs is the terminal that it makes.
                    Streams::Terminal { .. } => fds.clear(),
                }
                run.timeout_ms = timeout_ms;
                fds.extend(filter);
                let names = Names::of(&run);
                (Verb::Run { run }, By::Own(names))
            }
        };
        let id = self.next_id();
        let (started_sender, started) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        let waiter = Waiter::Exec {
            started: Some(started_sender),
            ended: ended_sender,
        };
        // Made first: a call dropped while it sends must end what was sent.
        let cancel = Cancel {
            monitor: self.clone(),
            exec: Some(id),
            leaving: start.leaving,
        };
        self.request(id, verb, fds, Some(waiter)).await?;
        Ok(RunningExec {
            started: Some(started),
            ended,
            cancel,
            timeout: start.timeout,
            by,
        })
    }

    /// Runs a process in the container to its end. Dropping the future kills the process, unless the daemon is leaving.
    pub async fn exec(&self, request: ExecRequest) -> Result<ExecResult, MonitorError> {
        let (mut stdout, stdout_fd) =
            Reader::new(request.output_cap).map_err(MonitorError::ExecOutput)?;
        let (mut stderr, stderr_fd) =
            Reader::new(request.output_cap).map_err(MonitorError::ExecOutput)?;
        let kept = [&stdout, &stderr].map(Reader::duplicate);
        let kept = kept.into_iter().collect::<io::Result<_>>();
        let kept = kept.map_err(MonitorError::ExecOutput)?;
        let mut running = self
            .start_exec(StartExec {
                way: request.way,
                timeout: request.timeout,
                stdin: None,
                stdout: stdout_fd,
                stderr: stderr_fd,
                kept,
                leaving: request.leaving,
            })
            .await?;
        let end = {
            let output = async { tokio::try_join!(stdout.read_to_end(), stderr.read_to_end()) };
            let mut output = std::pin::pin!(output);
            let (end, read) = tokio::select! {
                end = running.wait() => (end, None),
                read = &mut output => (running.wait().await, Some(read)),
            };
            let read = match read {
                Some(read) => Some(read),
                // All that the process wrote is in the pipe; what still comes is another's.
                None => tokio::time::timeout(request.drain, &mut output).await.ok(),
            };
            if let Some(read) = read {
                read.map_err(MonitorError::ExecOutput)?;
            }
            end
        };
        drop(running);
        let (stdout, stderr) = (stdout.into_output(), stderr.into_output());
        match end {
            Ok(end) => Ok(ExecResult {
                end,
                stdout,
                stderr,
            }),
            Err(MonitorError::ExecRuntime { status, .. }) => Err(MonitorError::ExecRuntime {
                status,
                stderr: String::from_utf8_lossy(&stderr.bytes).into_owned(),
            }),
            Err(error) => Err(error),
        }
    }
}

/// A file removed at the end, whichever way it comes. Unlinking in `/run` does not block.
#[derive(Debug)]
pub struct RemovedFile(PathBuf);

impl RemovedFile {
    /// Removes `path` when dropped.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Drop for RemovedFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove an exec's file");
        }
    }
}
