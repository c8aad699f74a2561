//! The kernel's interfaces: the only place for `unsafe` code.

pub mod cgroup;
