//! What the monitor and the daemon share: the wire between them, the exit record and the log format.
//!
//! The monitor itself is the binary of this package. Nothing here allocates without a bound, and no
//! decoder trusts its input.

pub mod attach;
pub mod config;
pub mod ctl;
pub mod log;
pub mod record;
pub mod socket;
pub mod wire;
