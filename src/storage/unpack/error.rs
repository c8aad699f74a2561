//! Why a layer could not be unpacked.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::storage::entry::NameError;
use crate::storage::tar::TarError;
use crate::sys::rooted::RootedError;

/// A layer that could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is damaged or could not be read.
    #[error("read entry {index} of the layer (after {after:?})")]
    Archive {
        /// Which entry.
        index: u64,
        /// The name of the entry before.
        after: String,
        /// Why.
        #[source]
        source: TarError,
    },
    /// What follows the archive could not be read.
    #[error("read the layer to its end")]
    Tail(#[source] std::io::Error),
    /// The name of an entry is not acceptable.
    #[error("the {what} {name:?} of a layer entry")]
    Name {
        /// Name or link target.
        what: &'static str,
        /// What it says.
        name: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// The directory of an entry could not be reached or made.
    #[error("reach the directory of layer entry {path:?}")]
    Parent {
        /// The entry.
        path: PathBuf,
        /// Why.
        #[source]
        source: RootedError,
    },
    /// A step of making an entry failed.
    #[error("{step} of layer entry {path:?}")]
    Make {
        /// The entry.
        path: PathBuf,
        /// The step.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The top of the layer is no directory.
    #[error("the layer's top entry is no directory")]
    Top,
    /// The layer exceeds a limit.
    #[error("the layer has more {what} than the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}
