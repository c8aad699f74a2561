//! The connection to one monitor: a task that sends requests and hands out the answers.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use corten_conmon::{
    config::Config,
    ctl::{Answer, EVENT, MAX_ANSWER, Phase, Reply, Request, Verb},
    socket::{self, Received},
    wire::{self, Version},
};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    End, MonitorError,
    adopt::read_exit_record,
    processes::{self, Init, MonitorProcess},
    vigil::{Deed, Vigil},
};

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
pub(super) struct Connection {
    socket: UnixStream,
    version: Version,
}

impl Connection {
    /// Speaks this version of the protocol.
    pub(super) fn new(socket: OwnedFd, version: Version) -> Result<Self, MonitorError> {
        let socket = UnixStream::from_std(socket.into()).map_err(MonitorError::Socket)?;
        Ok(Self { socket, version })
    }

    /// The process on the other end, which listens on a socket that this was connected to.
    pub(super) fn listener(&self) -> Option<MonitorProcess> {
        let peer = rustix::net::sockopt::socket_peercred(&self.socket).ok()?;
        self.process(peer.pid.as_raw_nonzero().get())
    }

    /// The process on the other end, which gave this number as its own. As long as the connection is open the number
    /// is that of no other; once it is closed there is nothing to find.
    pub(super) fn process(&self, pid: i32) -> Option<MonitorProcess> {
        let process = MonitorProcess::open(pid).ok()?;
        let mut state = [PollFd::new(&self.socket, PollFlags::empty())];
        rustix::event::poll(&mut state, Some(&Timespec::default())).ok()?;
        state[0].revents().is_empty().then_some(process)
    }

    pub(super) async fn send(
        &self,
        request: &Request,
        fds: &[OwnedFd],
    ) -> Result<(), MonitorError> {
        let frame = wire::frame(self.version, request)?;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.socket
            .async_io(Interest::WRITABLE, || {
                socket::send(&self.socket, &frame, &fds)
            })
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
    pub(super) async fn send_config(&self, config: &Config) -> Result<(), MonitorError> {
        let frame = wire::frame(self.version, config)?;
        self.socket
            .async_io(Interest::WRITABLE, || {
                socket::send(&self.socket, &frame, &[])
            })
            .await
            .map_err(MonitorError::Socket)
    }

    /// The next answer. Loses nothing when dropped before it is ready.
    pub(super) async fn receive(&self) -> Result<Answer, MonitorError> {
        let mut resets = 0;
        loop {
            match self
                .socket
                .async_io(Interest::READABLE, || receive_now(&self.socket))
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
    /// Init's number, as the monitor told it.
    pub pid: i32,
    /// Init, once the monitor has confirmed it.
    pub init: Init,
    pub monitor_pid: i32,
}

/// The number of the task's own questions. Others take numbers that are far higher.
const OWN: u64 = 3;
/// How long a monitor may have no room for a request.
const SEND: Duration = Duration::from_secs(1);
/// How long a killed init may take to go away before its end is told all the same.
const DEATH: Duration = Duration::from_secs(20);

impl Driver {
    /// Runs until the monitor is gone or nobody holds a handle.
    pub(super) async fn run(mut self) {
        let mut waiters = HashMap::new();
        let mut record = None;
        let mut vigil = Vigil::default();
        // Taken before the monitor says that it has not reaped init: so it is init and no other.
        let mut candidate = processes::candidate(self.pid).ok();
        self.ask_state(&mut vigil).await;
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.send(command, &mut waiters, &mut vigil).await,
                    None => return,
                },
                answer = self.connection.receive() => match answer {
                    Ok(answer) => {
                        vigil.heard(Instant::now());
                        if let Some(end) = exited(&answer) {
                            record = Some(end);
                            self.end.send_replace(record);
                        }
                        if says_running(&answer, self.pid)
                            && let Some(candidate) = candidate.take()
                        {
                            self.init.settle(candidate);
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
                () = self.init.gone(), if record.is_none() && !vigil.is_init_gone() => {
                    vigil.init_gone(Instant::now());
                }
                () = until(vigil.due()), if record.is_none() => match vigil.act() {
                    Deed::Wake => {
                        if let Some(monitor) = self.connection.process(self.monitor_pid) {
                            monitor.wake();
                        }
                        self.ask_state(&mut vigil).await;
                    }
                    Deed::GiveUp => {
                        tracing::warn!(
                            pid = self.monitor_pid,
                            "a monitor does not tell of its container's end; it is killed"
                        );
                        if let Some(monitor) = self.connection.process(self.monitor_pid) {
                            monitor.kill();
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
            let end = find_end(self.exit_record).await;
            if end == End::Lost && self.init.signal(libc::SIGKILL) {
                // What has no monitor ends; it is gone before anyone is told so.
                let _ = tokio::time::timeout(DEATH, self.init.gone()).await;
            }
            self.end.send_replace(Some(end));
        }
    }

    /// Asks where the container is, for this task itself.
    async fn ask_state(&self, vigil: &mut Vigil) {
        vigil.asked(Instant::now());
        let request = Request {
            id: OWN,
            verb: Verb::State,
        };
        // One that does not even take this is stuck, or gone, which the loop sees.
        let _ = tokio::time::timeout(SEND, self.connection.send(&request, &[])).await;
    }

    async fn send(&self, command: Command, waiters: &mut HashMap<u64, Waiter>, vigil: &mut Vigil) {
        let id = command.request.id;
        // Registered first: the answer may come before the send is seen to be done.
        if let Some(waiter) = command.waiter {
            waiters.insert(id, waiter);
            vigil.asked(Instant::now());
        }
        let sent = self.connection.send(&command.request, &command.fds);
        let sent = tokio::time::timeout(SEND, sent).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::debug!(?sent, "a request did not reach the monitor");
            waiters.remove(&id);
        }
    }
}

/// Waits for a time, or for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn says_running(answer: &Answer, init: i32) -> bool {
    matches!(answer.reply, Reply::State { phase: Phase::Running { pid } } if pid == init)
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
