//! OCI runtimes: handlers by name, their command lines, and the specification they are given.
//!
//! Everything under [`spec`] is pure: what a specification needs to know of the host is gathered
//! first ([`node`], [`user`], [`device`], [`mount`], [`seccomp::load`]) and handed in as values.

pub mod absent;
pub mod annotations;
pub mod capability;
pub mod cgroup;
pub mod clamp;
pub mod command;
pub mod device;
pub mod features;
pub mod handler;
#[cfg(test)]
mod live;
pub mod message;
pub mod mount;
pub mod mountinfo;
pub mod node;
pub mod rootfs;
pub mod run;
pub mod seccomp;
pub mod spec;
pub mod user;

pub use handler::{Handler, HandlerConfig, Handlers};
pub use run::{ContainerState, RuntimeError};
