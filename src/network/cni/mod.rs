//! The Container Network Interface, versions 0.1.0 to 1.1.0: configuration, plugins, results, records.

pub mod args;
pub mod cache;
pub mod chain;
pub mod conf;
pub mod dir;
pub mod plugin;
pub mod result;
pub mod template;
pub mod version;
pub mod watch;
