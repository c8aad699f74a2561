//! Errors of native work.

use std::{io, path::PathBuf};

use super::{
    ipam::{IpamError, RangeError},
    masquerade::MasqueradeError,
};
use crate::sys::rtnetlink::RtnetlinkError;

/// Something about a pod's network that was not done.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// Addresses.
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// The networks that the pod brings.
    #[error("addresses of the pod")]
    Ranges(#[from] RangeError),
    /// Links, addresses of links, routes.
    #[error(transparent)]
    Kernel(#[from] RtnetlinkError),
    /// The packet filter.
    #[error(transparent)]
    Masquerade(#[from] MasqueradeError),
    /// A kernel parameter.
    #[error("writing {}", path.display())]
    Parameter {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The pod's namespace.
    #[error("entering the network namespace {}", path.display())]
    Enter {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link of this name is something else.
    #[error("{0} already exists but is not a bridge")]
    NoBridge(String),
    /// It has another address, which is not to be taken from it.
    #[error("{bridge} already has the address {has}, and not {wanted}")]
    OtherAddress {
        /// Which.
        bridge: String,
        /// As it is.
        has: String,
        /// As it should be.
        wanted: String,
    },
    /// A link that was there a moment ago.
    #[error("the link {0} is gone")]
    Gone(String),
    /// Packets do not pass.
    #[error("the link {0} does not become operational")]
    NotOperational(String),
    /// Somebody else has them.
    #[error("addresses of {0} are still being looked for on the network")]
    Tentative(String),
    /// Not a hardware address.
    #[error("{0:?} is not a hardware address")]
    Mac(String),
    /// Something is not as it was.
    #[error("{0}")]
    Changed(String),
    /// No thread.
    #[error("starting a thread for a pod's network")]
    Thread(#[source] io::Error),
    /// The thread died.
    #[error("the thread for a pod's network died")]
    Died,
}
