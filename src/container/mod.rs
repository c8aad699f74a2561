//! Containers of a pod.

pub mod spec;
pub mod view;
