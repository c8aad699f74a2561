//! Errors of the network.

use super::{
    cni::{args::ArgsError, cache::CacheError, chain::ChainError},
    hostport::{HostPortError, TagError},
    native::NativeError,
    pod_cidr::PodCidrError,
};
use crate::id::Id;

/// Something about a pod's network that did not work.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The tag in the configuration.
    #[error("network configuration")]
    Tag(#[from] TagError),
    /// There is nothing to attach pods with.
    #[error("the network is not ready: {0}")]
    NotReady(String),
    /// The pod asks for something it cannot have.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// Plugins.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// What is done without plugins.
    #[error(transparent)]
    Native(#[from] NativeError),
    /// Records.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Ports of the host.
    #[error(transparent)]
    HostPort(#[from] HostPortError),
    /// The configuration made of a template.
    #[error(transparent)]
    Template(#[from] PodCidrError),
    /// A bug of corten's.
    #[error("internal error: {0}")]
    Panicked(String),
    /// There is no such attachment.
    #[error("sandbox {0} is not attached to a network")]
    NotAttached(Id),
    /// Attaching was begun and its end is not known.
    #[error("sandbox {0} was never attached completely")]
    Incomplete(Id),
}
