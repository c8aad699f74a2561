//! What can go wrong with layers and root file systems.

use std::io;
use std::path::PathBuf;

use super::digest::{ChainId, DiffId};
use super::unpack::UnpackError;
use crate::id::Id;
use crate::sys::rooted::RootedError;

/// An operation on the storage that failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A directory of the storage could not be made or opened.
    #[error("prepare the storage directory {path:?}")]
    Prepare {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process uses the storage.
    #[error("the storage in {path:?} is in use by another process")]
    Locked {
        /// The storage's directory.
        path: PathBuf,
    },
    /// Overlay mounts do not work where the storage lies.
    #[error("overlay does not work in {path:?}: {hint}")]
    NoOverlay {
        /// The storage's directory.
        path: PathBuf,
        /// What to do about it.
        hint: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// A layer's archive could not be unpacked.
    #[error("unpack layer {chain}")]
    Unpack {
        /// The layer.
        chain: ChainId,
        /// Why.
        #[source]
        source: Box<UnpackError>,
    },
    /// A layer's archive is another one than its image says.
    #[error("layer {chain} should have the diff ID {expected}, but what came has {found}")]
    WrongDiffId {
        /// The layer.
        chain: ChainId,
        /// What the image says.
        expected: DiffId,
        /// What came.
        found: DiffId,
    },
    /// The layer beneath is not there.
    #[error("layer {chain} lies on layer {parent}, which is not there")]
    NoParent {
        /// The layer.
        chain: ChainId,
        /// The layer beneath it.
        parent: ChainId,
    },
    /// A layer is not there.
    #[error("layer {chain} is not there")]
    NoLayer {
        /// The layer.
        chain: ChainId,
    },
    /// A layer is needed by something else.
    #[error("layer {chain} is in use by {user}")]
    LayerInUse {
        /// The layer.
        chain: ChainId,
        /// What needs it.
        user: String,
    },
    /// An unpacked layer could not be put in its place.
    #[error("commit layer {chain}: {step}")]
    Commit {
        /// The layer.
        chain: ChainId,
        /// The step that failed.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer could not be taken away.
    #[error("remove layer {chain}")]
    RemoveLayer {
        /// The layer.
        chain: ChainId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A container has a root file system already, of other layers or elsewhere.
    #[error("container {container} has another root file system already, at {mountpoint:?}")]
    RootfsExists {
        /// The container.
        container: Id,
        /// Where it is mounted.
        mountpoint: PathBuf,
    },
    /// A container has no root file system.
    #[error("container {container} has no root file system")]
    NoRootfs {
        /// The container.
        container: Id,
    },
    /// The directories of a root file system could not be made.
    #[error("prepare the root file system of container {container}: {step}")]
    PrepareRootfs {
        /// The container.
        container: Id,
        /// The step that failed.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directories of a root file system could not be taken away.
    #[error("remove the root file system of container {container}")]
    RemoveRootfs {
        /// The container.
        container: Id,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A mount failed.
    #[error("mount layers at {target:?}")]
    Mount {
        /// Where.
        target: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An unmount failed.
    #[error("unmount {target:?}")]
    Unmount {
        /// Where.
        target: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More layers than overlay can stack.
    #[error("{count} layers are more than the {max} that can be stacked")]
    TooManyLayers {
        /// How many.
        count: usize,
        /// How many are possible.
        max: usize,
    },
    /// A view of this name is of other layers or elsewhere.
    #[error("the view {key:?} is mounted already, at {target:?}")]
    ViewExists {
        /// The view.
        key: String,
        /// Where it is mounted.
        target: PathBuf,
    },
    /// A view's name cannot be a file name.
    #[error(
        "{key:?} cannot name a view: 1 to 200 of the characters A-Z a-z 0-9 . _ : - are possible"
    )]
    ViewKey {
        /// The name.
        key: String,
    },
    /// The path to be mounted is not in the layers.
    #[error("sub path {path:?} of the layers")]
    SubPath {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: RootedError,
    },
    /// The record of a view or a root file system could not be written.
    #[error("write the record {path:?}")]
    WriteRecord {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The usage of a container could not be found out.
    #[error("measure {path:?}")]
    Measure {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The work was given up half way because the process is ending or the worker failed.
    #[error("the storage's worker ended before the work was done")]
    Worker(#[source] tokio::task::JoinError),
}

impl StorageError {
    /// Whether the file system is full, or a quota is used up.
    pub fn is_no_space(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            let code = error
                .downcast_ref::<rustix::io::Errno>()
                .map(|e| e.raw_os_error())
                .or_else(|| {
                    error
                        .downcast_ref::<io::Error>()
                        .and_then(io::Error::raw_os_error)
                });
            if matches!(code, Some(libc::ENOSPC | libc::EDQUOT)) {
                return true;
            }
            next = error.source();
        }
        false
    }
}
