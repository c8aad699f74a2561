//! Streams between clients and containers: exec, attach and port forwarding.

pub mod session;
