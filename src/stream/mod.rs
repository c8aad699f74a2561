//! Streams between clients and containers: exec, attach and port forwarding.

pub mod resize;
pub mod session;
pub mod spdy;
pub mod status;
