//! Directories that a layer has only because something is in them.
//!
//! Overlay shows a merged directory with the attributes of its uppermost layer. A directory that no entry
//! of a layer describes must therefore carry those of the directory it lies over.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::metadata::{self, Metadata};
use crate::sys::rooted;

/// What a layer has under a path.
enum Found {
    /// The directory.
    Directory(OwnedFd),
    /// Nothing; layers beneath may have it.
    Absent,
    /// Something that hides the path in all layers beneath.
    Hidden,
}

/// Gives the directories at `implicit` in `layer` the metadata they have in the layers beneath, top first.
pub(crate) fn inherit(
    layer: BorrowedFd<'_>,
    implicit: &[PathBuf],
    beneath: &[OwnedFd],
) -> io::Result<()> {
    // Deepest first: setting an attribute changes no times above.
    for path in implicit.iter().rev() {
        let Some(metadata) = beneath_of(layer, path, beneath)? else {
            continue;
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = rooted::open_beneath(layer, path, flags).map_err(io::Error::other)?;
        metadata.set(dir.as_fd()).map_err(|(_, e)| e)?;
    }
    Ok(())
}

fn beneath_of(
    layer: BorrowedFd<'_>,
    path: &Path,
    beneath: &[OwnedFd],
) -> io::Result<Option<Metadata>> {
    match look_up(layer, path)? {
        (_, true) => return Ok(None),
        (Found::Directory(_), false) => {}
        (Found::Absent | Found::Hidden, _) => return Ok(None),
    }
    for lower in beneath {
        match look_up(lower.as_fd(), path)? {
            (Found::Directory(dir), _) => {
                return Ok(Some(Metadata::of_directory(dir.as_fd())?));
            }
            (Found::Absent, false) => {}
            (Found::Absent | Found::Hidden, _) => return Ok(None),
        }
    }
    Ok(None)
}

/// Looks a path up in one layer, and whether a directory on the way hides what lies beneath.
fn look_up(layer: BorrowedFd<'_>, path: &Path) -> io::Result<(Found, bool)> {
    let open = |dir: BorrowedFd<'_>, name: &OsStr| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, rustix::fs::Mode::empty())
    };
    let mut at = open(layer, OsStr::new("."))?;
    let mut opaque = metadata::is_opaque(at.as_fd())?;
    for name in path {
        match open(at.as_fd(), name) {
            Ok(next) => at = next,
            Err(Errno::NOENT) => return Ok((Found::Absent, opaque)),
            // A whiteout, a file or a link.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok((Found::Hidden, opaque)),
            Err(e) => return Err(e.into()),
        }
        opaque |= metadata::is_opaque(at.as_fd())?;
    }
    Ok((Found::Directory(at), opaque))
}
