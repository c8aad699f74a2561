//! Pods: sandboxes and the actors that own them.

mod lane;
pub mod spec;
pub mod state;
