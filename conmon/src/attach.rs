//! The attach socket: one packet of `SOCK_SEQPACKET` is one byte of stream number and data.
//!
//! The monitor sends [`STDOUT`] and [`STDERR`]; a client sends [`STDIN`], and a packet of [`STDIN`]
//! without data when its input ended. A client that reads too slowly is disconnected, never waited for.

/// Stream number of data for the container's standard input.
pub const STDIN: u8 = 1;
/// Stream number of the container's standard output, or of its terminal.
pub const STDOUT: u8 = 2;
/// Stream number of the container's standard error.
pub const STDERR: u8 = 3;
/// Most data in one packet, without the stream number.
pub const MAX_DATA: usize = 8 * 1024;
