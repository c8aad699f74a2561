//! What can go wrong with images, in the terms a caller can act on.

use std::{io, path::PathBuf, sync::Arc};

use super::{
    auth::AuthError,
    authfile::AuthFileError,
    config::ConfigError,
    digest::Digest,
    load::ArchiveError,
    manifest::ManifestError,
    platform::Platform,
    reference::ReferenceError,
    registries::{ConfError, ResolveError},
};
use crate::{storage::StorageError, store::StoreError};

/// The kind of an error: what a gRPC code is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request makes no sense.
    InvalidArgument,
    /// It does not exist.
    NotFound,
    /// The registry wants other credentials.
    Unauthenticated,
    /// The registry, or the administrator, forbids it.
    PermissionDenied,
    /// The registry cannot be reached; later it may.
    Unavailable,
    /// The disk is full, or a limit was met.
    ResourceExhausted,
    /// The image cannot be used here.
    FailedPrecondition,
    /// What came is not what was promised.
    DataLoss,
    /// Something here is broken.
    Internal,
}

/// What went wrong with an image. It can be shared by all who wait for one piece of work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// The text names no image.
    #[error("invalid image reference {value:?}: {source}")]
    InvalidReference {
        /// The text.
        value: String,
        /// Why.
        source: ReferenceError,
    },
    /// The beginning of several IDs.
    #[error("{value:?} is the beginning of several image IDs ({candidates})")]
    Ambiguous {
        /// The text.
        value: String,
        /// Some of them.
        candidates: String,
    },
    /// There is no such image here.
    #[error("image {0:?} is not on this node")]
    Unknown(String),
    /// The name leads to no registry, or to a forbidden one.
    #[error("pulling {image}: {source}")]
    Resolve {
        /// The image.
        image: String,
        /// Why.
        source: ResolveError,
    },
    /// The credentials of the request are malformed.
    #[error("pulling {image}: {source}")]
    Credentials {
        /// The image.
        image: String,
        /// Why.
        source: AuthError,
    },
    /// The configured file of credentials is malformed.
    #[error("pulling {image}: {source}")]
    AuthFile {
        /// The image.
        image: String,
        /// Why.
        source: Arc<AuthFileError>,
    },
    /// The registry has no such thing.
    #[error("pulling {image}: {host}: {step}: not found: {detail}")]
    NotFound {
        /// The image.
        image: String,
        /// The registry.
        host: String,
        /// What was being done.
        step: String,
        /// What the registry said.
        detail: String,
    },
    /// The registry refuses us.
    #[error("pulling {image}: {host}: {step}: {what}: {detail}", what = if *.known { "access denied" } else { "authentication required or failed" })]
    Denied {
        /// The image.
        image: String,
        /// The registry.
        host: String,
        /// What was being done.
        step: String,
        /// Whether it knows who we are.
        known: bool,
        /// What the registry said.
        detail: String,
    },
    /// The registry does not answer. The kubelet knows the text by its first word.
    #[error("RegistryUnavailable: pulling {image}: {host}: {step}: {detail}")]
    Unavailable {
        /// The image.
        image: String,
        /// The registry.
        host: String,
        /// What was being done.
        step: String,
        /// What happened.
        detail: String,
    },
    /// The registry answers in a way that makes no sense.
    #[error("pulling {image}: {host}: {step}: {detail}")]
    Protocol {
        /// The image.
        image: String,
        /// The registry.
        host: String,
        /// What was being done.
        step: String,
        /// What was wrong.
        detail: String,
    },
    /// Content that is not what its digest says.
    #[error("image {image}: {what} does not match its digest: expected {expected}, got {actual}")]
    DigestMismatch {
        /// The image.
        image: String,
        /// What it is.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: String,
    },
    /// Not for this machine.
    #[error("image {image} is not available for platform {wanted}; it is there for: {}", if .available.is_empty() { "none that says so".into() } else { .available.join(", ") })]
    NoPlatform {
        /// The image.
        image: String,
        /// What was wanted.
        wanted: Platform,
        /// What there is.
        available: Vec<String>,
    },
    /// A manifest or an index that cannot be used.
    #[error("image {image}: {source}")]
    Manifest {
        /// The image.
        image: String,
        /// Why.
        source: ManifestError,
    },
    /// A configuration that cannot be used.
    #[error("image {image}: {source}")]
    Config {
        /// The image.
        image: String,
        /// Why.
        source: ConfigError,
    },
    /// A layer could not be unpacked.
    #[error("image {image}: unpacking layer {layer}")]
    Unpack {
        /// The image.
        image: String,
        /// The layer.
        layer: Digest,
        /// Why.
        #[source]
        source: Arc<StorageError>,
    },
    /// The disk is full.
    #[error("no space left on device: image {image}: {step}")]
    DiskFull {
        /// The image.
        image: String,
        /// What was being done.
        step: String,
    },
    /// An archive or layout that cannot be loaded.
    #[error("loading an image: {0}")]
    Archive(#[source] Arc<ArchiveError>),
    /// The storage did not do as asked.
    #[error("{step}")]
    Storage {
        /// What was being done.
        step: String,
        /// Why.
        #[source]
        source: Arc<StorageError>,
    },
    /// The records could not be read or written.
    #[error("{step}")]
    Store {
        /// What was being done.
        step: String,
        /// Why.
        #[source]
        source: Arc<StoreError>,
    },
    /// The registries' configuration is malformed.
    #[error("{0}")]
    Registries(Arc<ConfError>),
    /// The certificates for a registry cannot be used.
    #[error("certificates for registry {host}: {detail}")]
    Certificates {
        /// The registry.
        host: String,
        /// File and reason.
        detail: String,
    },
    /// A directory or file of ours.
    #[error("{step} {path}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The daemon stopped, or a part of it broke, while this was being done.
    #[error("image {image}: the work was interrupted")]
    Interrupted {
        /// The image.
        image: String,
    },
}

impl ImageError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidReference { .. } | Self::Ambiguous { .. } | Self::Credentials { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::Resolve { source, .. } => match source {
                ResolveError::Blocked { .. } => ErrorKind::PermissionDenied,
                ResolveError::NoSearch(_) | ResolveError::Enforced { .. } => {
                    ErrorKind::InvalidArgument
                }
            },
            Self::Archive(source) if source.is_full() => ErrorKind::ResourceExhausted,
            Self::Archive(_) => ErrorKind::InvalidArgument,
            Self::Unknown(_) | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Denied { known: false, .. } => ErrorKind::Unauthenticated,
            Self::Denied { known: true, .. } => ErrorKind::PermissionDenied,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::DiskFull { .. } => ErrorKind::ResourceExhausted,
            Self::Store { source, .. } if source.is_full() => ErrorKind::ResourceExhausted,
            Self::NoPlatform { .. } | Self::Manifest { .. } | Self::Config { .. } => {
                ErrorKind::FailedPrecondition
            }
            Self::DigestMismatch { .. } | Self::Unpack { .. } => ErrorKind::DataLoss,
            Self::AuthFile { .. }
            | Self::Protocol { .. }
            | Self::Storage { .. }
            | Self::Store { .. }
            | Self::Registries(_)
            | Self::Certificates { .. }
            | Self::Io { .. }
            | Self::Interrupted { .. } => ErrorKind::Internal,
        }
    }
}

/// An error and its causes in one line, for where only text can go; what a registry said of itself is clipped.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    super::digest::clip(&crate::causes::whole(error))
}
