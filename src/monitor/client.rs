//! The handle on a running monitor.

use std::{
    future::Future,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use corten_conmon::{
    ctl::{Phase, Reply, Request, Verb},
    wire::Version,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    End, MonitorError,
    link::{Command, Connection, Driver, Waiter},
    processes::Init,
};

/// How long a monitor may take to answer what it can do at once.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A running monitor. Cloning gives another handle on the same connection, which closes with the last.
#[derive(Debug, Clone)]
pub struct Monitor(Arc<Inner>);

/// What a monitor says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its process.
    pub pid: i32,
    /// Version of its program; `None` of one too old to say.
    pub program: Option<String>,
    /// Version of the protocol that is spoken with it.
    pub protocol: u8,
}

impl About {
    pub(super) fn new(pid: i32, program: String, protocol: Version) -> Self {
        Self {
            pid,
            program: Some(program).filter(|program| !program.is_empty()),
            protocol: protocol.number(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    pid: i32,
    init: Init,
    about: About,
    commands: mpsc::Sender<Command>,
    end: watch::Receiver<Option<End>>,
    next: AtomicU64,
}

impl Monitor {
    /// Starts the connection's task. `pid` is init's, `known` the end where it was told already.
    pub(super) fn start(
        connection: Connection,
        pid: i32,
        about: About,
        exit_record: PathBuf,
        known: Option<End>,
    ) -> Self {
        let (commands, receiver) = mpsc::channel(16);
        let (end, watch) = watch::channel(known);
        let init = Init::default();
        tokio::spawn(
            Driver {
                connection,
                commands: receiver,
                end,
                exit_record,
                pid,
                init: init.clone(),
                monitor_pid: about.pid,
            }
            .run(),
        );
        Self(Arc::new(Inner {
            pid,
            init,
            about,
            commands,
            end: watch,
            next: AtomicU64::new(1 << 32),
        }))
    }

    /// The container's init process.
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Sends a signal to the init process, and to no other; says whether it is known by now which one that is.
    pub fn signal(&self, number: i32) -> bool {
        self.0.init.signal(number)
    }

    /// What the monitor says of itself.
    pub fn about(&self) -> &About {
        &self.0.about
    }

    /// How the container ended, once it is known. Any number of tasks may wait; the future owns all it
    /// needs and may be dropped at any time.
    pub fn exited(&self) -> impl Future<Output = End> + Send + 'static {
        let this = self.clone();
        async move {
            let mut end = this.0.end.clone();
            // The sender goes away without a value only if the task was torn down with its runtime.
            let end = end
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|end| *end);
            end.unwrap_or(End::Lost)
        }
    }

    /// How the container ended, if it is known now.
    pub fn try_exited(&self) -> Option<End> {
        *self.0.end.borrow()
    }

    /// Asks where the container is.
    pub async fn state(&self) -> Result<Phase, MonitorError> {
        match self.ask("state", Verb::State).await? {
            Reply::State { phase } => Ok(phase),
            other => Err(unexpected("state", other)),
        }
    }

    /// Opens the log file anew; on return all further output goes to the new file.
    pub async fn reopen_log(&self) -> Result<(), MonitorError> {
        self.done("reopening the log", Verb::ReopenLog).await
    }

    /// Sets the terminal's size.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), MonitorError> {
        let TerminalSize { width, height } = size;
        self.done("resizing the terminal", Verb::Resize { width, height })
            .await
    }

    /// Closes the container's standard input.
    pub async fn close_stdin(&self) -> Result<(), MonitorError> {
        self.done("closing standard input", Verb::CloseStdin).await
    }

    /// Gives this handle up. The monitor and the container live on.
    pub fn close(self) {}

    async fn done(&self, operation: &'static str, verb: Verb) -> Result<(), MonitorError> {
        match self.ask(operation, verb).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(operation, other)),
        }
    }

    async fn ask(&self, operation: &'static str, verb: Verb) -> Result<Reply, MonitorError> {
        let (sender, receiver) = oneshot::channel();
        let answer = async {
            self.request(self.next_id(), verb, Vec::new(), Some(Waiter::Once(sender)))
                .await?;
            receiver.await.map_err(|_| MonitorError::Gone)
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answer)
            .await
            .map_err(|_| MonitorError::Timeout {
                operation,
                after: ANSWER_TIMEOUT,
            })?
    }

    /// A number for the next request.
    pub(super) fn next_id(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) async fn request(
        &self,
        id: u64,
        verb: Verb,
        fds: Vec<OwnedFd>,
        waiter: Option<Waiter>,
    ) -> Result<(), MonitorError> {
        let command = Command {
            request: Request { id, verb },
            fds,
            waiter,
        };
        self.0
            .commands
            .send(command)
            .await
            .map_err(|_| MonitorError::Gone)
    }

    /// Sends a request that must not be waited for, from a destructor.
    pub(super) fn request_later(&self, verb: Verb) {
        let command = Command {
            request: Request {
                id: self.next_id(),
                verb,
            },
            fds: Vec::new(),
            waiter: None,
        };
        let sender = self.0.commands.clone();
        if let Err(mpsc::error::TrySendError::Full(command)) = sender.try_send(command)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Ends when there is room, or with the connection.
            runtime.spawn(async move { sender.send(command).await });
        }
    }
}

/// The error for an answer that is not the one hoped for.
pub(super) fn unexpected(operation: &'static str, reply: Reply) -> MonitorError {
    match reply {
        Reply::Refused { kind, text } => MonitorError::Refused {
            operation,
            kind,
            text,
        },
        _ => MonitorError::Unexpected(operation),
    }
}
