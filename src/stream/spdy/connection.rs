//! The task that has a connection's socket.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Limits,
    channel::{Channel, Shared},
    decode::{DecodeError, Decoder},
    headers::Headers,
    mux::Mux,
};
use crate::causes::whole;

/// How much is read at a time.
const READ: usize = 32 << 10;

/// Reads and writes before other tasks get their turn.
const ROUNDS: usize = 32;

/// Why a connection ends early.
#[derive(Debug, Error)]
pub(super) enum ConnectionError {
    #[error("cannot read a frame")]
    Decode(#[from] DecodeError),
    #[error("stream {stream} is opened, which is even or not beyond stream {last}")]
    StreamId { stream: u32, last: u32 },
    #[error("stream {0} is accepted, which was not opened from here")]
    Reply(u32),
    #[error("a window of {0} bytes, or by them, is too large")]
    Window(u32),
    #[error("cannot read from the client")]
    Read(#[source] io::Error),
    #[error("cannot write to the client")]
    Write(#[source] io::Error),
    #[error("the client closed the connection")]
    Closed,
    #[error("the connection was not used for {0:?}")]
    Idle(Duration),
}

impl ConnectionError {
    /// Whether the client can still be told.
    fn is_usable(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::Write(_) | Self::Closed)
    }
}

/// A running connection. Dropped, it ends in order: what was written is still sent.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Shared,
    gone: CancellationToken,
}

impl Connection {
    /// Starts a connection's task on a socket whose HTTP upgrade is done.
    pub(super) fn start<I>(io: I, limits: Limits) -> Self
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Shared::new(Mux::new(limits));
        let gone = CancellationToken::new();
        let driver = Driver {
            io,
            limits,
            out: BytesMut::new(),
            unflushed: false,
            read: vec![0; READ].into_boxed_slice(),
            decoder: Decoder::new(),
            end: End {
                shared: shared.clone(),
                gone: gone.clone(),
            },
        };
        tokio::spawn(driver.run());
        Self { shared, gone }
    }

    /// The next stream that the client opens; `None` when there will be none. Accept or reject it.
    pub(super) async fn next(&self) -> Option<(u32, Headers)> {
        poll_fn(|cx| self.shared.lock().next(cx)).await
    }

    /// Accepts a stream.
    pub(super) fn accept(&self, stream: u32) -> Channel {
        self.shared.accept(stream)
    }

    /// Refuses a stream.
    pub(super) fn reject(&self, stream: u32) {
        self.shared.lock().reject(stream);
    }

    /// Refuses all further streams.
    pub(super) fn stop_accepting(&self) {
        self.shared.lock().stop_accepting();
    }

    /// Waits until nothing that was written waits any more.
    pub(super) async fn drained(&self) {
        poll_fn(|cx| match self.shared.lock().is_drained(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// Ends all streams and the connection in order, and waits for that.
    pub(super) async fn close(self) -> io::Result<()> {
        self.shared.lock().close();
        self.gone.cancelled().await;
        match self.shared.lock().is_delivered() {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Cancelled when the connection is over.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.gone
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.lock().close();
    }
}

/// Tells everyone that the connection is over, however its task ends.
struct End {
    shared: Shared,
    gone: CancellationToken,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shared.lock().end();
        self.gone.cancel();
    }
}

struct Driver<I> {
    io: I,
    limits: Limits,
    /// Frames for the socket.
    out: BytesMut,
    /// The socket may keep what it was given.
    unflushed: bool,
    read: Box<[u8]>,
    decoder: Decoder,
    end: End,
}

impl<I: AsyncRead + AsyncWrite + Send + Unpin> Driver<I> {
    async fn run(mut self) {
        let error = match self.exchange().await {
            Ok(()) => {
                self.end.shared.lock().set_delivered();
                // The client closes when it has read all. Until then what it still sends is dropped; to close with
                // bytes unread would have the kernel reset the connection, and what is on its way would be lost.
                self.wait_for_close().await;
                None
            }
            Err(error) => {
                let mut mux = self.end.shared.lock();
                // A client can leave when it has seen all streams end, which may be before the connection is ended here.
                if self.out.is_empty() && mux.is_sent() {
                    mux.set_delivered();
                }
                drop(mux);
                debug!(error = whole(&error), "A SPDY connection broke off");
                Some(error)
            }
        };
        if error.as_ref().is_none_or(ConnectionError::is_usable) {
            let in_order = matches!(error, None | Some(ConnectionError::Idle(_)));
            self.end.shared.lock().go_away(in_order, &mut self.out);
            let farewell = async {
                self.io.write_all_buf(&mut self.out).await?;
                self.io.shutdown().await
            };
            if let Ok(Ok(())) = timeout(self.limits.linger, farewell).await {
                self.wait_for_close().await;
            }
        }
    }

    /// Moves bytes until all is sent after the connection's end was asked for.
    async fn exchange(&mut self) -> Result<(), ConnectionError> {
        let mut used = Instant::now();
        let mut ping = Instant::now() + self.limits.ping;
        loop {
            let idle = used + self.limits.idle;
            let wake = idle.min(ping);
            tokio::select! {
                done = poll_fn(|cx| self.pump(cx)) => return done,
                () = sleep_until(wake) => {}
            }
            let now = Instant::now();
            let mut mux = self.end.shared.lock();
            if mux.was_active() {
                used = now;
            } else if now >= used + self.limits.idle {
                return Err(ConnectionError::Idle(self.limits.idle));
            }
            if now >= ping {
                ping = now + self.limits.ping;
                if !mux.may_take() {
                    mux.ping();
                }
            }
        }
    }

    /// Moves bytes both ways as far as socket and streams let it.
    fn pump(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        // First of all, so that no change from here on is missed.
        self.end.shared.lock().register(cx.waker());
        for _ in 0..ROUNDS {
            let wrote = self.write(cx)?;
            if self.out.is_empty() && !self.unflushed && self.end.shared.lock().is_closed() {
                return Poll::Ready(Ok(()));
            }
            let read = self.take(cx)?;
            if !wrote && !read {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives frames to the socket. Tells whether it took any.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, ConnectionError> {
        if self.out.is_empty() {
            self.end.shared.lock().fill(&mut self.out);
        }
        let mut wrote = false;
        while !self.out.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.out) {
                Poll::Pending => return Ok(wrote),
                Poll::Ready(Ok(0)) => {
                    return Err(ConnectionError::Write(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(size)) => self.out.advance(size),
                Poll::Ready(Err(error)) => return Err(ConnectionError::Write(error)),
            }
            wrote = true;
            self.unflushed = true;
            if self.out.is_empty() {
                // Most connections are idle most of the time.
                self.out = BytesMut::new();
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(ConnectionError::Write(error)),
            }
        }
        Ok(wrote)
    }

    /// Takes frames from the socket. Tells whether there were any.
    fn take(&mut self, cx: &mut Context<'_>) -> Result<bool, ConnectionError> {
        if !self.end.shared.lock().may_take() {
            return Ok(false);
        }
        let mut buffer = ReadBuf::new(&mut self.read);
        match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(error)) => return Err(ConnectionError::Read(error)),
            Poll::Ready(Ok(())) => {}
        }
        let mut input = buffer.filled();
        if input.is_empty() {
            return Err(ConnectionError::Closed);
        }
        let mut mux = self.end.shared.lock();
        while let Some(event) = self.decoder.next(&mut input)? {
            mux.take(event)?;
        }
        Ok(true)
    }

    /// Drops what the client sends until it closes, for a bounded time.
    async fn wait_for_close(&mut self) {
        let closed = async { while let Ok(1..) = self.io.read(&mut self.read).await {} };
        // Out of time is as good: the client had its chance.
        let _ = timeout(self.limits.linger, closed).await;
    }
}
