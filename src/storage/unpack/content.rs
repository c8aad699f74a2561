//! The content of files, from the archive to the file system.

use std::io::BufRead;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::storage::tar::{Sparse, TarError, TarReader};

/// Why writing a file failed.
pub(super) enum WriteError {
    Archive(TarError),
    File(Errno),
}

/// Writes `length` bytes of the archive, at an offset or where the file stands.
pub(super) fn write_all<R: BufRead>(
    fd: &OwnedFd,
    mut offset: Option<u64>,
    mut length: u64,
    archive: &mut TarReader<R>,
) -> Result<(), WriteError> {
    while length > 0 {
        let have = archive.fill().map_err(WriteError::Archive)?;
        if have.is_empty() {
            return Err(WriteError::Archive(TarError::Truncated));
        }
        let n = usize::try_from(length).map_or(have.len(), |length| length.min(have.len()));
        let wrote = match offset {
            None => rustix::io::write(fd, &have[..n]),
            Some(offset) => rustix::io::pwrite(fd, &have[..n], offset),
        };
        let wrote = match wrote {
            Ok(0) => return Err(WriteError::File(Errno::IO)),
            Ok(wrote) => wrote,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(WriteError::File(e)),
        };
        archive.consume(wrote);
        length -= wrote as u64;
        offset = offset.map(|offset| offset + wrote as u64);
    }
    Ok(())
}

pub(super) fn write_sparse<R: BufRead>(
    fd: &OwnedFd,
    sparse: &Sparse,
    archive: &mut TarReader<R>,
) -> Result<(), WriteError> {
    for (offset, length) in &sparse.segments {
        write_all(fd, Some(*offset), *length, archive)?;
    }
    rustix::fs::ftruncate(fd, sparse.real_size).map_err(WriteError::File)
}
