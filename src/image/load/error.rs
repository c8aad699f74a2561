//! What can be wrong with an archive.

use std::{io, path::PathBuf};

use crate::image::{digest::DigestError, reference::ReferenceError};

/// An archive or a layout that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be opened.
    #[error("opening {path}: {source}")]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read, or not be kept meanwhile.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is too large once uncompressed.
    #[error("the archive has more than {0} bytes")]
    TooLarge(u64),
    /// It has too many members.
    #[error("the archive has more than {0} members")]
    TooMany(usize),
    /// Neither of the formats.
    #[error(
        "this is neither an OCI layout (oci-layout, index.json) nor a docker archive (manifest.json)"
    )]
    Unrecognised,
    /// A member's name leads out of the archive.
    #[error("member {0:?} of the archive has a path that leads out of it")]
    Path(String),
    /// A link in the archive leads nowhere.
    #[error("link {0:?} of the archive leads nowhere, or round in a circle")]
    Link(String),
    /// Something that is referred to is not there.
    #[error("the archive has no {0:?}")]
    Missing(String),
    /// A member is larger than it may be.
    #[error("{path:?} in the archive has {size} bytes, at most {most} are read")]
    Member {
        /// The member.
        path: String,
        /// Its size.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// A document in it is malformed.
    #[error("{file} in the archive is malformed: {reason}")]
    Json {
        /// The document.
        file: String,
        /// Why.
        reason: String,
    },
    /// A digest in it is malformed.
    #[error("{file} in the archive: {source}")]
    Digest {
        /// The document.
        file: String,
        /// Why.
        source: DigestError,
    },
    /// A blob is not what its name says.
    #[error("blob {path:?} in the archive has other content than its digest says")]
    Blob {
        /// The blob.
        path: String,
    },
    /// A name in it is malformed.
    #[error("name {name:?} in the archive: {source}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        source: ReferenceError,
    },
    /// Nothing in it.
    #[error("the archive holds no image")]
    Empty,
}

impl ArchiveError {
    pub(super) fn io(step: &'static str, source: io::Error) -> Self {
        Self::Io { step, source }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)))
    }
}
