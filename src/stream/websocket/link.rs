//! A WebSocket connection at work: one task that reads, one that writes.
//!
//! What is read goes to an [`Inbox`], which takes it as fast as whoever is behind it does; until then nothing more
//! is read from the client. What is written comes from a short queue, so that writers wait for a slow client. Clients
//! that hear nothing for a minute take a connection for dead, and their pings are not read while input waits: they
//! are then sent pongs that they did not ask for.

use std::{
    future::Future,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream},
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use super::codec::CodecError;

/// Largest message that is taken. Clients send what they read at once, some tens of kilobytes.
const MESSAGE_MAX: usize = 1 << 20;
/// Messages that wait for being sent.
const QUEUE: usize = 4;
/// Input that waits for being read, beside one message.
pub(super) const PIPE: usize = 64 << 10;
/// How often a client whose input waits is told that the connection lives.
const HEARTBEAT: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(15)
};
/// How long a client may take to answer that a connection is closed.
const CLOSING: Duration = Duration::from_secs(10);

/// Something to send.
#[derive(Debug)]
pub(super) enum Out {
    Message(Message),
    /// Closes the connection, and tells when the client knows.
    Finish(oneshot::Sender<()>),
}

/// What takes messages.
pub(super) trait Inbox: Send + 'static {
    /// Takes one; pending for as long as there is no room for it.
    fn take(
        &mut self,
        message: Bytes,
        link: &Shared,
    ) -> impl Future<Output = Result<(), CodecError>> + Send;
}

/// What the tasks of a connection share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The client is gone, or is to go.
    pub(super) gone: CancellationToken,
    /// Nobody wants input any more.
    pub(super) finishing: CancellationToken,
    /// Input waits.
    stalled: AtomicBool,
    /// Milliseconds from `start` to when data last went either way.
    active: AtomicU64,
    start: Instant,
    idle: Duration,
    /// Why the client is to go.
    farewell: Mutex<Option<CloseFrame>>,
}

impl Shared {
    fn touch(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(millis, Ordering::Relaxed);
    }

    /// Completes when no data went either way for too long.
    async fn idle(&self) {
        loop {
            let active = Duration::from_millis(self.active.load(Ordering::Relaxed));
            let Some(due) = self.start.checked_add(active.saturating_add(self.idle)) else {
                return std::future::pending().await;
            };
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    fn dismiss(&self, code: CloseCode, reason: String) {
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = Some(CloseFrame {
            code,
            reason: reason.into(),
        });
        self.gone.cancel();
    }

    /// Hands data over, unless nobody wants it any more: then the pipe is closed.
    pub(super) async fn deliver(&self, pipe: &mut Option<DuplexStream>, data: &[u8]) {
        let Some(to) = pipe else { return };
        self.stalled.store(true, Ordering::Relaxed);
        let taken = tokio::select! {
            written = to.write_all(data) => written.is_ok(),
            () = self.finishing.cancelled() => false,
            () = self.gone.cancelled() => false,
        };
        self.stalled.store(false, Ordering::Relaxed);
        if !taken {
            *pipe = None;
        }
    }
}

/// A connection whose tasks run. Its end comes when the client leaves or all senders are gone.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) out: mpsc::Sender<Out>,
    pub(super) shared: Arc<Shared>,
}

impl Link {
    /// Takes a connection over on which the handshake is done.
    pub(super) async fn start<S>(io: S, idle: Duration, inbox: impl Inbox) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let config = WebSocketConfig::default()
            .read_buffer_size(32 << 10)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * MESSAGE_MAX)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let (sink, stream) = socket.split();
        let shared = Arc::new(Shared {
            gone: CancellationToken::new(),
            finishing: CancellationToken::new(),
            stalled: AtomicBool::new(false),
            active: AtomicU64::new(0),
            start: Instant::now(),
            idle,
            farewell: Mutex::new(None),
        });
        let (out, queue) = mpsc::channel(QUEUE);
        tokio::spawn(read(stream, shared.clone(), inbox));
        tokio::spawn(write(sink, shared.clone(), queue));
        Self { out, shared }
    }

    /// Sends `last`, if there is any, closes the connection and waits until the client knows.
    pub(super) async fn finish(self, last: Option<Message>) -> io::Result<()> {
        self.shared.finishing.cancel();
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        if let Some(last) = last {
            let sent = self.out.send(Out::Message(last)).await;
            sent.map_err(|_| broken())?;
        }
        let (done, told) = oneshot::channel();
        let sent = self.out.send(Out::Finish(done)).await;
        sent.map_err(|_| broken())?;
        told.await.map_err(|_| broken())
    }
}

async fn read<S>(
    mut stream: SplitStream<WebSocketStream<S>>,
    shared: Arc<Shared>,
    mut inbox: impl Inbox,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            () = shared.gone.cancelled() => break,
        };
        let data = match message {
            Some(Ok(Message::Binary(data))) => data,
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(_))) | None => break,
            Some(Err(error)) => {
                tracing::debug!(%error, "a WebSocket broke off");
                if let Some(code) = fault(&error) {
                    shared.dismiss(code, error.to_string());
                }
                break;
            }
        };
        shared.touch();
        if let Err(error) = inbox.take(data, &shared).await {
            shared.dismiss(CloseCode::Invalid, error.to_string());
            break;
        }
        shared.touch();
    }
    // First this: whoever sees the end of input shall know whether the client is still there.
    shared.gone.cancel();
    drop(inbox);
    // Answers the client's close, or reads on for a moment, so that what was sent is not lost.
    let rest = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = tokio::time::timeout(CLOSING, rest).await;
}

/// What a client is told that did something it must not.
fn fault(error: &tungstenite::Error) -> Option<CloseCode> {
    match error {
        tungstenite::Error::Capacity(_) => Some(CloseCode::Size),
        tungstenite::Error::Utf8(_) => Some(CloseCode::Invalid),
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => None,
        tungstenite::Error::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

async fn write<S>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Out>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            // What the client still shall know of goes before its leaving.
            biased;
            _ = heartbeat.tick() => {
                if shared.stalled.load(Ordering::Relaxed)
                    && !send(&mut sink, &shared, Message::Pong(Bytes::new())).await
                {
                    break None;
                }
            }
            out = queue.recv() => match out {
                Some(Out::Message(message)) => {
                    if !send(&mut sink, &shared, message).await {
                        break None;
                    }
                }
                Some(Out::Finish(done)) => break Some(done),
                None => break Some(oneshot::channel().0),
            },
            () = shared.gone.cancelled() => break None,
            () = shared.idle() => {
                shared.dismiss(CloseCode::Away, "nothing was sent for too long".to_owned());
                break None;
            }
        }
    };
    // Writers fail from now on.
    drop(queue);
    let farewell = shared
        .farewell
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let frame = match (&ended, farewell) {
        (_, Some(frame)) => frame,
        (Some(_), None) => CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        },
        (None, None) => {
            shared.gone.cancel();
            return;
        }
    };
    let close = sink.send(Message::Close(Some(frame)));
    let closed = tokio::time::timeout(CLOSING, close).await;
    if let Some(done) = ended {
        if matches!(closed, Ok(Ok(()))) {
            // The answer, or the end of the connection.
            let _ = tokio::time::timeout(CLOSING, shared.gone.cancelled()).await;
        }
        let _ = done.send(());
    }
    shared.gone.cancel();
}

/// Sends a message, however long the client takes while it is not idle. Whether it could.
async fn send<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    shared: &Shared,
    message: Message,
) -> bool
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let data = !matches!(message, Message::Pong(_));
    let sent = tokio::select! {
        sent = sink.send(message) => sent.is_ok(),
        () = shared.gone.cancelled() => false,
        () = shared.idle() => {
            shared.dismiss(CloseCode::Away, "nothing was read for too long".to_owned());
            false
        }
    };
    if sent && data {
        shared.touch();
    }
    sent
}
