//! Pods: sandboxes and the actors that own them.

pub mod spec;
pub mod view;
