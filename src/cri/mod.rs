//! The CRI surface: the only place that knows tonic and prost.

pub mod backend;
mod chunks;
mod classify;
pub mod control_service;
pub mod convert;
mod deadline;
mod detached;
pub mod image_service;
pub mod listed;
mod lookup;
pub mod observe;
pub mod redact;
pub mod runtime_service;
mod secret;
pub mod server;
pub mod socket;
pub mod status;
mod under_way;

#[cfg(test)]
mod tests;

/// Messages and services of `runtime.v1`, generated from `proto/`.
#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    rust_2018_idioms
)]
pub mod api {
    tonic::include_proto!("runtime.v1");
    pub use super::listed::{ListContainersResponse, ListPodSandboxResponse};
}

/// Messages and services of `corten.v1`, what the corten command needs beyond the CRI.
#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    rust_2018_idioms
)]
pub mod control_api {
    tonic::include_proto!("corten.v1");
}
