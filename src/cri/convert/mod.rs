//! Pure converters between protocol messages and domain types.
//!
//! Everything a caller sends is checked here, once: what comes out is valid as far as that can be told
//! without looking at the machine. Errors name the field and the value ([`error::FieldError`]).

pub mod capabilities;
pub mod container;
pub mod container_view;
pub mod device;
pub mod dns;
pub mod env;
pub mod error;
pub mod event;
pub mod filter;
pub mod id_map;
pub mod image;
pub mod image_view;
pub mod metrics;
pub mod mount;
pub mod namespaces;
pub mod number;
pub mod pod;
pub mod pod_view;
pub mod port;
pub mod resources;
pub mod security;
pub mod signal;
pub mod stats;
pub mod sysctl;
pub mod text;
pub mod user;

#[cfg(test)]
pub(crate) mod arbitrary;
