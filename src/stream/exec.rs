//! A further process in a container, its streams a client's.

use std::{fs::File, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use rustix::pipe::PipeFlags;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::unix::pipe,
    sync::watch,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    behind::{STOPPING, finish},
    copy::{self, Fed, Read},
    session::{Outcome, Reader, Remote, TerminalSize, Writer},
    terminal::{Console, Terminal},
};
use crate::{
    causes::whole,
    container::{
        LiveContainer, create,
        error::ContainerError,
        exec::{Prepared, prepare},
    },
    monitor::{ExecEnd, MonitorError, RunningExec, StartExec},
    services::Services,
};

/// Most of a runtime's words, or of what a process writes to its standard error before the runtime is done.
const WORDS_MAX: usize = 64 << 10;
/// How long words of a runtime that failed may still come.
const WORDS_DRAIN: Duration = Duration::from_millis(250);
/// How long a terminal may come after its process.
const TERMINAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a process may go on whose client left in the middle of its input. Clients of protocols without
/// half-close have no other way to end it, and what they sent last is still to be worked on.
const GRACE: Duration = Duration::from_secs(10);

/// Runs a command for a client. A client that leaves has it killed. A daemon that ends leaves it to its monitor.
pub(super) async fn exec(
    services: &Arc<Services>,
    live: &LiveContainer,
    command: Vec<String>,
    tty: bool,
    remote: Remote,
    stop: &CancellationToken,
) {
    let Remote {
        stdin,
        stdout,
        stderr,
        resize,
        ending,
        gone,
    } = remote;
    let streams = Streams {
        stdin,
        stdout,
        stderr,
        resize,
        gone,
    };
    let outcome = tokio::select! {
        outcome = run(services, live, command, tty, streams) => outcome,
        () = stop.cancelled() => Ok(Outcome::Failed(STOPPING.to_owned())),
    };
    let outcome = outcome.unwrap_or_else(|error| Outcome::Failed(whole(&error)));
    finish(ending, outcome).await;
}

struct Streams {
    stdin: Option<Reader>,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    resize: Option<watch::Receiver<Option<TerminalSize>>>,
    gone: CancellationToken,
}

async fn run(
    services: &Arc<Services>,
    live: &LiveContainer,
    command: Vec<String>,
    tty: bool,
    streams: Streams,
) -> Result<Outcome, ContainerError> {
    let prepared = prepare(services, live, command, tty).await?;
    let leaving = services.leaving.clone();
    let ended = match tty {
        false => with_pipes(live, prepared, streams, leaving).await?,
        true => with_terminal(live, prepared, streams, leaving).await?,
    };
    Ok(match ended {
        Some(ExecEnd::Exited(status)) => match status.shell_code() {
            0 => Outcome::Success,
            code => Outcome::Exit(code),
        },
        // No timeout is set, so this is never told.
        Some(ExecEnd::TimedOut) => Outcome::Failed("the command took too long".to_owned()),
        None => Outcome::Failed("the client left".to_owned()),
    })
}

/// Input that can be given, and how its end is told.
trait Feed: AsyncWrite + Unpin + Send {
    /// Tells the process that there is no more.
    fn end(self) -> impl Future<Output = ()> + Send;
}

impl Feed for pipe::Sender {
    async fn end(self) {}
}

/// A terminal's input, which has its end in a character.
struct Keys {
    terminal: Terminal,
    /// The line that was begun is not empty.
    in_line: bool,
}

impl AsyncWrite for Keys {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        data: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        let written = std::pin::Pin::new(&mut self.terminal).poll_write(cx, data);
        if let std::task::Poll::Ready(Ok(n)) = &written
            && let Some(last) = n.checked_sub(1)
        {
            self.in_line = !matches!(data[last], b'\n' | b'\r');
        }
        written
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

impl Feed for Keys {
    async fn end(mut self) {
        if let Some(end) = self.terminal.end_of_input() {
            // In a line that was begun the first only gives the line to the process.
            let twice = [end, end];
            let keys = &twice[..1 + usize::from(self.in_line)];
            let _ = self.terminal.write_all(keys).await;
        }
    }
}

/// Gives the process its input; completes when its client left it, and it has to go.
async fn abandoned(input: Option<(Reader, impl Feed)>, gone: &CancellationToken) {
    let Some((from, mut to)) = input else {
        return gone.cancelled().await;
    };
    let feeding = async {
        let fed = copy::input(from, &mut to).await;
        to.end().await;
        fed
    };
    let mut feeding = std::pin::pin!(feeding);
    let fed = tokio::select! {
        fed = &mut feeding => Some(fed),
        () = gone.cancelled() => None,
    };
    match fed {
        Some(Fed::Whole) if gone.is_cancelled() => tokio::time::sleep(GRACE).await,
        Some(Fed::Whole | Fed::Unwanted) => gone.cancelled().await,
        Some(Fed::Broken) => {}
        None => {
            let until = Instant::now() + GRACE;
            if let Ok(Fed::Whole) = tokio::time::timeout_at(until, feeding).await {
                tokio::time::sleep_until(until).await;
            }
        }
    }
}

async fn with_pipes(
    live: &LiveContainer,
    prepared: Prepared,
    streams: Streams,
    leaving: CancellationToken,
) -> Result<Option<ExecEnd>, ContainerError> {
    let mut kept = Vec::new();
    let (input, stdin) = match streams.stdin {
        None => (None, None),
        Some(from) => {
            let (read, write) = pipe_pair()?;
            let to = pipe::Sender::from_owned_fd(write).map_err(descriptors)?;
            (Some((from, to)), Some(read))
        }
    };
    let (output, stdout) = match streams.stdout {
        None => (None, nowhere()?),
        Some(to) => {
            let (read, write) = pipe_pair()?;
            kept.push(read.try_clone().map_err(descriptors)?);
            let from = pipe::Receiver::from_owned_fd(read).map_err(descriptors)?;
            (Some((from, to)), write)
        }
    };
    let (read, stderr) = pipe_pair()?;
    kept.push(read.try_clone().map_err(descriptors)?);
    let mut errors = pipe::Receiver::from_owned_fd(read).map_err(descriptors)?;
    let mut running = live
        .monitor
        .start_exec(StartExec {
            way: prepared.way,
            timeout: None,
            stdin,
            stdout,
            stderr,
            kept,
            leaving,
        })
        .await
        .map_err(ContainerError::Exec)?;
    let work = async {
        let words = begun(&mut running, &mut errors).await;
        let Begun::Runs(words) = words else {
            return failed(&mut running, words).await;
        };
        let exited = CancellationToken::new();
        let unread = running.unread();
        let waiting = async {
            let end = running.wait().await;
            exited.cancel();
            end
        };
        let out = async {
            if let Some((from, to)) = output
                && copy::output(from, Some(to), &exited).await == Read::Unwanted
            {
                unread.release();
            }
        };
        let err = async {
            let mut to = streams.stderr;
            if let Some(writer) = &mut to
                && (writer.write_all(&words).await.is_err() || writer.flush().await.is_err())
            {
                drop(errors);
                return unread.release();
            }
            if copy::output(errors, to, &exited).await == Read::Unwanted {
                unread.release();
            }
        };
        let (end, (), ()) = tokio::join!(waiting, out, err);
        end.map_err(ContainerError::Exec)
    };
    tokio::select! {
        end = work => end.map(Some),
        () = abandoned(input, &streams.gone) => Ok(None),
    }
}

async fn with_terminal(
    live: &LiveContainer,
    prepared: Prepared,
    streams: Streams,
    leaving: CancellationToken,
) -> Result<Option<ExecEnd>, ContainerError> {
    let console = Console::listen(&prepared.console).map_err(descriptors)?;
    let (read, stderr) = pipe_pair()?;
    let kept = vec![read.try_clone().map_err(descriptors)?];
    let mut errors = pipe::Receiver::from_owned_fd(read).map_err(descriptors)?;
    let mut running = live
        .monitor
        .start_exec(StartExec {
            way: prepared.way,
            timeout: None,
            stdin: None,
            stdout: nowhere()?,
            stderr,
            kept,
            leaving,
        })
        .await
        .map_err(ContainerError::Exec)?;
    let gone = &streams.gone;
    let mut resize = streams.resize;
    let beginning = async {
        let mut receiving = std::pin::pin!(console.receive());
        let mut early = None;
        let words = {
            let mut starting = std::pin::pin!(begun(&mut running, &mut errors));
            tokio::select! {
                words = &mut starting => words,
                terminal = &mut receiving => {
                    early = Some(terminal);
                    starting.await
                }
            }
        };
        let Begun::Runs(_) = words else {
            return failed(&mut running, words).await.map(Err);
        };
        let terminal = match early {
            Some(terminal) => terminal,
            None => tokio::time::timeout(TERMINAL_TIMEOUT, receiving)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        };
        let no_terminal = |source| ContainerError::Exec(MonitorError::ExecTerminal(source));
        let terminal = terminal.map_err(no_terminal)?;
        let master = terminal.duplicate().map_err(no_terminal)?;
        running
            .keep_terminal(master)
            .await
            .map_err(ContainerError::Exec)?;
        Ok(Ok(terminal))
    };
    let begun = tokio::select! {
        begun = beginning => begun?,
        () = gone.cancelled() => return Ok(None),
    };
    drop(console);
    let terminal = match begun {
        Ok(terminal) => terminal,
        Err(end) => return Ok(Some(end)),
    };
    let exited = CancellationToken::new();
    let waiting = async {
        let end = running.wait().await;
        exited.cancel();
        end
    };
    let out = copy::output(terminal.clone(), streams.stdout, &exited);
    let work = async {
        let (end, _) = tokio::join!(waiting, out);
        end.map_err(ContainerError::Exec)
    };
    let keys = Keys {
        terminal: terminal.clone(),
        in_line: false,
    };
    let input = streams.stdin.map(|from| (from, keys));
    tokio::select! {
        end = work => end.map(Some),
        () = abandoned(input, gone) => Ok(None),
        never = resizing(&mut resize, |size| terminal.resize(size)) => match never {},
    }
}

/// Sets the size whenever the client tells it.
async fn resizing(
    sizes: &mut Option<watch::Receiver<Option<TerminalSize>>>,
    set: impl Fn(TerminalSize) -> io::Result<()>,
) -> std::convert::Infallible {
    if let Some(sizes) = sizes {
        loop {
            let size = *sizes.borrow_and_update();
            if let Some(size) = size
                && let Err(error) = set(size)
            {
                tracing::debug!(%error, "cannot resize a terminal");
            }
            if sizes.changed().await.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}

/// Whether a process came to run.
enum Begun {
    /// It runs; it may have written this to its standard error already.
    Runs(Vec<u8>),
    /// It does not, and these are the runtime's words.
    Not(Vec<u8>),
}

/// Waits until the process runs, and reads what is written meanwhile: words of the runtime's, should it fail.
async fn begun(running: &mut RunningExec, errors: &mut pipe::Receiver) -> Begun {
    let mut words = Vec::new();
    let started = {
        let mut starting = std::pin::pin!(running.started());
        loop {
            let room = words.len() < WORDS_MAX;
            tokio::select! {
                biased;
                started = &mut starting => break started,
                read = errors.read_buf(&mut words), if room => {
                    if !matches!(read, Ok(1..)) {
                        break starting.await;
                    }
                }
            }
        }
    };
    if started.is_some() {
        return Begun::Runs(words);
    }
    let rest = async {
        while words.len() < WORDS_MAX && matches!(errors.read_buf(&mut words).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(WORDS_DRAIN, rest).await;
    Begun::Not(words)
}

/// Why a process does not run, or its end where it ran all the same.
async fn failed(running: &mut RunningExec, begun: Begun) -> Result<ExecEnd, ContainerError> {
    let (Begun::Runs(words) | Begun::Not(words)) = begun;
    running.wait().await.map_err(|error| {
        let error = match error {
            MonitorError::ExecRuntime { status, .. } => MonitorError::ExecRuntime {
                status,
                stderr: String::from_utf8_lossy(&words).into_owned(),
            },
            other => other,
        };
        ContainerError::Exec(create::in_runtimes_words(error))
    })
}

fn pipe_pair() -> Result<(OwnedFd, OwnedFd), ContainerError> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| descriptors(error.into()))
}

fn nowhere() -> Result<OwnedFd, ContainerError> {
    File::options()
        .write(true)
        .open("/dev/null")
        .map(OwnedFd::from)
        .map_err(descriptors)
}

fn descriptors(source: io::Error) -> ContainerError {
    ContainerError::Exec(MonitorError::ExecStreams(source))
}
