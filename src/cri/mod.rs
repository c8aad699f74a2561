//! The CRI surface: the only place that knows tonic and prost.

pub mod backend;
mod classify;
pub mod convert;
pub mod redact;
mod secret;
pub mod status;

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
