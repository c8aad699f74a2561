//! A client of our own against the server's side, over pipes in memory and over loopback.

mod client;
mod connection;
mod forward;
mod memory;
mod remote;
