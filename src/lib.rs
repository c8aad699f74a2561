//! corten: a Kubernetes container runtime.
//!
//! The daemon serves the CRI on a unix socket; `docs/architecture.md` is the map of this crate.

mod backoff;
mod causes;
pub mod cli;
pub mod config;
pub mod container;
pub mod cri;
pub mod daemon;
pub mod events;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod id;
pub mod id_map;
pub mod image;
pub mod kept;
pub mod layout;
mod locks;
pub mod lsm;
pub mod monitor;
pub mod network;
pub mod oci;
mod orphans;
pub mod pod;
pub mod runtime;
pub mod services;
pub mod stats;
pub mod step;
pub mod storage;
pub mod store;
pub mod stream;
pub mod sys;
