//! The kernel's interfaces: the only place with unsafe code.

pub mod namespaces;
pub mod netlink;
pub mod sysctl;
