//! SPDY/3.1 as Kubernetes' streaming uses it: the server's side of an upgraded connection.
//!
//! [`remote`] makes the streams of an exec or attach of it, [`forward`] those of port forwarding. Below them, from the
//! wire up: [`decode`] and [`frame`] read and write frames (no I/O), `mux` keeps the streams of a connection (no I/O
//! either), `connection` moves bytes between the socket and the mux, `channel` is a stream as its user sees it.

mod channel;
mod compress;
mod connection;
pub mod decode;
mod dictionary;
mod forward;
pub mod frame;
pub mod headers;
mod mux;
mod pairs;
mod remote;
#[cfg(test)]
mod tests;
mod version;

use std::time::Duration;

pub use compress::{InflateError, MAX_BLOCK};
pub use forward::{FORWARD_PROTOCOL, forward};
pub use remote::{RemoteError, remote};
pub use version::RemoteVersion;

/// What a client may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams of one connection at a time. What is beyond them is refused. A forwarded connection takes two.
    pub streams: usize,
    /// A connection without a frame for so long is closed.
    pub idle: Duration,
    /// How long the client may take to open the streams that belong together.
    pub creation: Duration,
    /// How long the client may take to close the connection once it was told how things ended.
    pub linger: Duration,
    /// How often a client that cannot be read from, since nobody takes its input, is asked for a sign of life. Its end would
    /// come behind what is not read; but the kernel of a client that is gone answers with a reset.
    pub ping: Duration,
}

impl Default for Limits {
    /// What the kubelet's own servers allow, and a bound on streams.
    fn default() -> Self {
        Self {
            streams: 1024,
            idle: Duration::from_secs(4 * 60 * 60),
            creation: Duration::from_secs(30),
            linger: Duration::from_secs(10),
            ping: Duration::from_secs(10),
        }
    }
}
