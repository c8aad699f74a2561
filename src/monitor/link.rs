//! The connection to one monitor: a task that sends requests and hands out the answers.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use corten_conmon::{
    ctl::{Answer, EVENT, MAX_ANSWER, Phase, Reply, Request},
    socket::{self, Received},
    wire,
};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
};

use super::{End, MonitorError, adopt::read_exit_record};

/// A frame to send, and who waits for its answers.
#[derive(Debug)]
pub(super) struct Command {
    pub request: Request,
    pub fds: Vec<OwnedFd>,
    pub waiter: Option<Waiter>,
}

/// Who waits for the answers to a request.
#[derive(Debug)]
pub(super) enum Waiter {
    /// One answer.
    Once(oneshot::Sender<Reply>),
    /// An exec: it starts, then ends.
    Exec {
        started: Option<oneshot::Sender<Reply>>,
        ended: oneshot::Sender<Reply>,
    },
}

/// The socket, for use by async code: a packet socket, of which a stream's type is the nearest that can
/// be waited for. Nothing but the calls below touches it.
#[derive(Debug)]
pub(super) struct Connection(UnixStream);

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> Result<Self, MonitorError> {
        UnixStream::from_std(socket.into())
            .map(Self)
            .map_err(MonitorError::Socket)
    }

    pub(super) async fn send(
        &self,
        request: &Request,
        fds: &[OwnedFd],
    ) -> Result<(), MonitorError> {
        let frame = wire::frame(request)?;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.0
            .async_io(Interest::WRITABLE, || socket::send(&self.0, &frame, &fds))
            .await
            .map_err(|error| {
                if is_gone(&error) {
                    MonitorError::Gone
                } else {
                    MonitorError::Socket(error)
                }
            })
    }

    /// Sends what a monitor reads first.
    pub(super) async fn send_config(&self, frame: &[u8]) -> Result<(), MonitorError> {
        self.0
            .async_io(Interest::WRITABLE, || socket::send(&self.0, frame, &[]))
            .await
            .map_err(MonitorError::Socket)
    }

    /// The next answer. Loses nothing when dropped before it is ready.
    pub(super) async fn receive(&self) -> Result<Answer, MonitorError> {
        let mut resets = 0;
        loop {
            match self
                .0
                .async_io(Interest::READABLE, || receive_now(&self.0))
                .await
            {
                Ok(Some(answer)) => return answer,
                Ok(None) => return Err(MonitorError::Gone),
                // A monitor that leaves with a request unread resets the connection. What it said
                // before is still there, behind that one error.
                Err(error) if is_gone(&error) && resets == 0 => resets += 1,
                Err(error) if is_gone(&error) => return Err(MonitorError::Gone),
                Err(error) => return Err(MonitorError::Socket(error)),
            }
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn receive_now(fd: impl AsFd) -> io::Result<Option<Result<Answer, MonitorError>>> {
    let mut buf = [0; MAX_ANSWER];
    Ok(match socket::receive(fd, &mut buf)? {
        Received::Packet(len, _) => Some(wire::unframe(&buf[..len]).map_err(MonitorError::Wire)),
        Received::Oversized => Some(Err(MonitorError::Unexpected(
            "anything: the answer is too long",
        ))),
        Received::Closed => None,
    })
}

/// What a connection's task needs.
pub(super) struct Driver {
    pub connection: Connection,
    pub commands: mpsc::Receiver<Command>,
    pub end: watch::Sender<Option<End>>,
    pub exit_record: PathBuf,
}

impl Driver {
    /// Runs until the monitor is gone or nobody holds a handle.
    pub(super) async fn run(mut self) {
        let mut waiters = HashMap::new();
        let mut record = None;
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.send(command, &mut waiters).await,
                    None => return,
                },
                answer = self.connection.receive() => match answer {
                    Ok(answer) => {
                        if let Some(end) = exited(&answer) {
                            record = Some(end);
                            self.end.send_replace(record);
                        }
                        deliver(answer, &mut waiters);
                    }
                    Err(error) => {
                        if !matches!(error, MonitorError::Gone) {
                            tracing::warn!(%error, "giving up on a monitor's connection");
                        }
                        break;
                    }
                },
            }
        }
        // No answers come any more: whoever waits for one must not wait for the record's disk.
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        waiters.clear();
        if record.is_none() {
            self.end
                .send_replace(Some(find_end(self.exit_record).await));
        }
    }

    async fn send(&self, command: Command, waiters: &mut HashMap<u64, Waiter>) {
        let id = command.request.id;
        // Registered first: the answer may come before the send is seen to be done.
        if let Some(waiter) = command.waiter {
            waiters.insert(id, waiter);
        }
        if let Err(error) = self.connection.send(&command.request, &command.fds).await {
            tracing::debug!(%error, "a request did not reach the monitor");
            waiters.remove(&id);
        }
    }
}

fn exited(answer: &Answer) -> Option<End> {
    match &answer.reply {
        Reply::Exited { record }
        | Reply::State {
            phase: Phase::Exited { record },
        } => Some(End::Exited((*record).into())),
        _ => None,
    }
}

fn deliver(answer: Answer, waiters: &mut HashMap<u64, Waiter>) {
    if answer.id == EVENT {
        return;
    }
    // Nobody may be waiting any more; then the answer is of no use.
    if let (Some(Waiter::Exec { started, .. }), Reply::ExecStarted { .. }) =
        (waiters.get_mut(&answer.id), &answer.reply)
    {
        if let Some(started) = started.take() {
            let _ = started.send(answer.reply);
        }
        return;
    }
    match waiters.remove(&answer.id) {
        Some(Waiter::Once(waiter)) => drop(waiter.send(answer.reply)),
        Some(Waiter::Exec { started, ended }) => {
            if let Some(started) = started {
                let _ = started.send(answer.reply.clone());
            }
            let _ = ended.send(answer.reply);
        }
        None => {}
    }
}

/// The end of a monitor that left without a word: it may have written the record all the same.
async fn find_end(path: PathBuf) -> End {
    match read_exit_record(&path).await {
        Ok(Some(record)) => End::Exited(record),
        Ok(None) => End::Lost,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no exit record");
            End::Lost
        }
    }
}
