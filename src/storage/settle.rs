//! What a layer takes from the layers beneath it, once they are there.
//!
//! Overlay shows a merged directory with the attributes of its uppermost layer. A directory that a layer
//! has only because something is in it must therefore carry the attributes of the one it lies over. And
//! overlay lists whiteouts in directories that merge with nothing, as names that cannot be looked up: a
//! whiteout that hides nothing has to go.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::metadata::{self, Metadata};
use crate::sys::rooted;

/// Gives the directories at `implicit` in `layer` the metadata they have in the layers beneath, top first.
pub(crate) fn inherit(
    layer: BorrowedFd<'_>,
    implicit: &[PathBuf],
    beneath: &[OwnedFd],
) -> io::Result<()> {
    // Deepest first: setting an attribute changes no times above.
    for path in implicit.iter().rev() {
        let Some(lower) = visible(layer, path, beneath)?.into_iter().next() else {
            continue;
        };
        let metadata = Metadata::of_directory(lower.as_fd())?;
        let dir = rooted::open_beneath(layer, path, DIRECTORY).map_err(io::Error::other)?;
        metadata.set(dir.as_fd()).map_err(|(_, e)| e)?;
    }
    Ok(())
}

/// Removes those of the `whiteouts` of `layer` that hide nothing in the layers beneath, top first.
///
/// Returns how many went.
pub(crate) fn prune(
    layer: BorrowedFd<'_>,
    whiteouts: &[PathBuf],
    beneath: &[OwnedFd],
) -> io::Result<u64> {
    let mut last: Option<(&Path, Vec<OwnedFd>)> = None;
    let mut gone = 0;
    for path in whiteouts {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let lower = match last.take() {
            Some((known, lower)) if known == parent => lower,
            _ => visible(layer, parent, beneath)?,
        };
        let mut hides = false;
        for dir in &lower {
            if let Some(stat) = rooted::stat_name(dir.as_fd(), name)? {
                hides = !is_whiteout(&stat);
                break;
            }
        }
        last = Some((parent, lower));
        if hides {
            continue;
        }
        let Ok(dir) = rooted::open_beneath(layer, parent, DIRECTORY) else {
            // Replaced by a later entry.
            continue;
        };
        // The name may have become that of an object.
        if rooted::stat_name(dir.as_fd(), name)?.is_some_and(|stat| is_whiteout(&stat)) {
            let before = rustix::fs::fstat(&dir)?;
            rustix::fs::unlinkat(&dir, name, AtFlags::empty())?;
            rustix::fs::futimens(&dir, &metadata::times_of(&before))?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// Whether overlay takes this for a whiteout.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// The directories at `path` in the layers beneath that merge with the one in `layer`, top first.
fn visible(layer: BorrowedFd<'_>, path: &Path, beneath: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
    let Found::Directory(_, false) = look_up(layer, path)? else {
        return Ok(Vec::new());
    };
    let mut dirs = Vec::new();
    for lower in beneath {
        match look_up(lower.as_fd(), path)? {
            Found::Directory(dir, opaque) => {
                dirs.push(dir);
                if opaque {
                    break;
                }
            }
            Found::Absent => {}
            Found::Hidden => break,
        }
    }
    Ok(dirs)
}

/// What a layer has at a path.
enum Found {
    /// The directory, and whether it or one above hides all layers beneath.
    Directory(OwnedFd, bool),
    /// Nothing; layers beneath may have it.
    Absent,
    /// Something that hides the path in all layers beneath.
    Hidden,
}

fn look_up(layer: BorrowedFd<'_>, path: &Path) -> io::Result<Found> {
    let flags = DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(layer, ".", flags, Mode::empty())?;
    let mut opaque = metadata::is_opaque(at.as_fd())?;
    for name in path {
        match rustix::fs::openat(&at, name, flags, Mode::empty()) {
            Ok(next) => at = next,
            Err(Errno::NOENT) if opaque => return Ok(Found::Hidden),
            Err(Errno::NOENT) => return Ok(Found::Absent),
            // A whiteout, a file or a link.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Found::Hidden),
            Err(e) => return Err(e.into()),
        }
        opaque |= metadata::is_opaque(at.as_fd())?;
    }
    Ok(Found::Directory(at, opaque))
}
