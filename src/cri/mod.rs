//! The CRI surface: the only place that knows tonic and prost.

pub mod convert;

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
