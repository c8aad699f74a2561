//! A stream as its user sees it: bytes both ways.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::mux::{Found, Mux};

/// A connection's streams, shared between the task that has the socket and those that use the streams. Nothing waits
/// while it is locked.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<Mux>>);

impl Shared {
    pub(super) fn new(mux: Mux) -> Self {
        Self(Arc::new(Mutex::new(mux)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Mux> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel of a stream that the client opened, which is told so.
    pub(super) fn accept(&self, stream: u32) -> Channel {
        self.lock().accept(stream);
        Channel {
            shared: self.clone(),
            stream,
        }
    }
}

/// One stream. Reading gives its input, to the client's half-close; shutting down is ours. Dropped, it sends what was
/// written and ends in order; input that is left is dropped.
#[derive(Debug)]
pub(super) struct Channel {
    shared: Shared,
    stream: u32,
}

impl Channel {
    /// Drops all input from now on. For streams that are only written to.
    pub(super) fn ignore_input(&self) {
        self.shared.lock().ignore(self.stream);
    }

    /// Ends our side. For streams that are only read.
    pub(super) fn finish(&self) {
        self.shared.lock().finish(self.stream);
    }

    /// Breaks the stream off, which tells the client that something is wrong.
    pub(super) fn cancel(self) {
        self.shared.lock().cancel(self.stream);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.shared.lock().release(self.stream);
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let found = self.shared.lock().read(self.stream, buf, cx.waker());
        answer(found, io::ErrorKind::ConnectionReset).map_ok(|_| ())
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let found = self.shared.lock().write(self.stream, bytes, cx.waker());
        answer(found, io::ErrorKind::BrokenPipe)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let found = self.shared.lock().flush(self.stream, cx.waker());
        answer(found, io::ErrorKind::BrokenPipe).map_ok(|_| ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let found = self.shared.lock().shut(self.stream, cx.waker());
        answer(found, io::ErrorKind::BrokenPipe).map_ok(|_| ())
    }
}

fn answer(found: Found, broken: io::ErrorKind) -> Poll<io::Result<usize>> {
    match found {
        Found::Moved(size) => Poll::Ready(Ok(size)),
        Found::Wait => Poll::Pending,
        Found::Broken => Poll::Ready(Err(broken.into())),
    }
}
