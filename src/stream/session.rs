//! What a protocol makes of a client's connection, whichever protocol it is.
//!
//! A framing (SPDY, WebSocket) turns an upgraded connection into one of these; what runs behind it (exec, attach,
//! port forwarding) sees plain readers and writers. Readers give back-pressure: what nobody reads is not taken from
//! the client beyond a bounded window. Writers are pending while the client's window is full.

use std::{fmt, future::Future, io, pin::Pin};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

pub use crate::monitor::TerminalSize;

/// Bytes from the client. Its end is the client's half-close.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Bytes to the client. `poll_shutdown` half-closes the stream.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Which streams an exec or attach has, as the CRI request named them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The client sends input.
    pub stdin: bool,
    /// The client gets output.
    pub stdout: bool,
    /// The client gets errors. Never with a terminal.
    pub stderr: bool,
    /// There is a terminal, so there may be a stream of sizes.
    pub tty: bool,
}

/// An exec's or attach's streams.
pub struct Remote {
    /// Input, when wanted.
    pub stdin: Option<Reader>,
    /// Output, when wanted.
    pub stdout: Option<Writer>,
    /// Errors, when wanted.
    pub stderr: Option<Writer>,
    /// The terminal's size as the client last told it; `None` until it does. The sender goes with the client.
    pub resize: Option<watch::Receiver<Option<TerminalSize>>>,
    /// Tells the client how it ended.
    pub ending: Box<dyn Ending>,
    /// Cancelled when the client is gone.
    pub gone: CancellationToken,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("resize", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}

/// The last word to a client.
pub trait Ending: Send {
    /// Sends the status in the words of the negotiated protocol, once all output was written, and closes the
    /// connection in order: nothing that was sent is lost.
    fn finish(
        self: Box<Self>,
        outcome: Outcome,
    ) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;
}

/// How an exec or attach ended. The protocols from version 4 on send it as a `metav1.Status`, older ones as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command exited with 0, or the container's output ended.
    Success,
    /// The command exited with another code, or with 128 and the signal that killed it.
    Exit(i32),
    /// It could not be run, or broke off.
    Failed(String),
}

/// The forwarded connections of one client.
#[derive(Debug)]
pub struct Forwards {
    /// Each connection that the client opens. Bounded: who does not take them slows the client down.
    pub incoming: mpsc::Receiver<Forward>,
    /// Cancelled when the client is gone.
    pub gone: CancellationToken,
}

/// One forwarded connection.
pub struct Forward {
    /// Port in the pod.
    pub port: u16,
    /// Its bytes, both ways, with half-close both ways.
    pub data: Box<dyn Duplex>,
    /// Text that tells the client what failed; shut down without any when nothing did.
    pub error: Writer,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
