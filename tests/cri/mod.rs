//! The verbs of the CRI, one by one.

mod attributes;
mod bad_input;
mod commands;
mod devices;
mod every_rpc;
mod exec;
mod handlers;
mod hundred;
mod idempotence;
mod identity;
mod lifecycle;
mod listing;
mod logs;
mod mounts;
mod namespaces;
mod network;
mod resources;
mod sandboxes;
mod service;
mod stats;
mod userns;
