//! Containers of a pod.

pub mod record;
pub mod spec;
pub mod state;
