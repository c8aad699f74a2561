//! Streams over WebSocket, as `*.channel.k8s.io` has them.

pub mod codec;
mod forward;
pub mod handshake;
mod link;
mod remote;
pub mod subprotocol;
mod writer;

pub use forward::{PORTS_MAX, channels, tunnel};
pub use remote::remote;

#[cfg(test)]
mod tests;
