//! The kernel's interfaces: the only place for `unsafe` code.

#[cfg(test)]
pub(crate) mod allocations;
pub mod aside;
pub mod cgroup;
mod child;
pub mod descriptors;
pub mod device_filter;
pub mod elf;
pub mod exclusive;
pub mod filter;
pub mod fork;
pub mod glance;
pub mod heap;
pub mod keyring;
pub mod links;
pub mod membership;
pub mod mount;
pub mod namespaces;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod pidfd;
pub mod program;
pub mod rooted;
pub mod rtnetlink;
pub mod signals;
pub mod sysctl;
pub mod users;
pub mod watched;
