//! Streams between clients and containers: exec, attach and port forwarding.
//!
//! The CRI answers a request for a stream with a URL that holds a one-shot [`token`]. The [`server`] grants the
//! upgrade that a client asks of that URL ([`upgrade`]); a protocol turns the connection into the streams that
//! [`session`] names, and what runs behind them ([`behind`]) knows nothing of the protocol.

mod attach;
pub mod behind;
mod copy;
mod exec;
mod forward;
pub mod request;
pub mod resize;
pub mod server;
pub mod session;
pub mod spdy;
pub mod status;
mod terminal;
pub mod tls;
pub mod token;
pub mod upgrade;
pub mod websocket;
