//! Thin layers over system calls; the only place where unsafe code may live.

pub mod mount;
pub mod rooted;
