//! What a container's root gets before the runtime sees it, written so that no link of the image
//! leads the writing elsewhere.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, Mode, OFlags},
    io::Errno,
};

use super::rooted;

/// Most volumes an image can declare.
const VOLUMES_CAP: usize = 1024;

/// A root that cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// It cannot be opened.
    #[error("cannot open root file system {path:?}")]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A volume of the image is no path of a directory.
    #[error("volume {path:?} of the image cannot be made: {source}")]
    Volume {
        /// The volume.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The image declares too many.
    #[error("the image declares {0} volumes, more than {VOLUMES_CAP}")]
    TooManyVolumes(usize),
}

/// Makes the image's volumes as directories, and `/etc/mtab` where it is missing.
///
/// The root must be writable, and nothing of the container may run yet. Blocks on the file system.
pub fn prepare<'a>(
    rootfs: &Path,
    volumes: impl IntoIterator<Item = &'a str>,
) -> Result<(), RootfsError> {
    let root = rooted::open_root(rootfs).map_err(|source| RootfsError::Open {
        path: rootfs.to_owned(),
        source,
    })?;
    for (count, volume) in volumes.into_iter().enumerate() {
        if count >= VOLUMES_CAP {
            return Err(RootfsError::TooManyVolumes(count + 1));
        }
        let made = if Path::new(volume).is_absolute() {
            rooted::mkdir_in_root(root.as_fd(), Path::new(volume), Mode::from(0o755)).map(drop)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "is not an absolute path",
            ))
        };
        made.map_err(|source| RootfsError::Volume {
            path: volume.to_owned(),
            source,
        })?;
    }
    mtab(root.as_fd());
    Ok(())
}

/// Programs that look for `/etc/mtab` find the mounts there. An image without a plain `/etc`, or
/// with something of that name, is left as it is.
fn mtab(root: std::os::fd::BorrowedFd<'_>) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let made = rooted::open_in_root(root, Path::new("etc"), flags, Mode::empty()).and_then(|etc| {
        match fs::symlinkat("/proc/mounts", &etc, "mtab") {
            Err(Errno::EXIST) | Ok(()) => Ok(()),
            Err(e) => Err(e.into()),
        }
    });
    if let Err(e) = made {
        tracing::debug!("no /etc/mtab is made: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn volumes_and_mtab() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        prepare(dir.path(), ["/data/a", "/etc"]).unwrap();
        assert!(dir.path().join("data/a").is_dir());
        let link = std::fs::read_link(dir.path().join("etc/mtab")).unwrap();
        assert_eq!(link, Path::new("/proc/mounts"));
        prepare(dir.path(), []).unwrap();
    }

    #[test]
    fn links_of_the_image_change_nothing_outside() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("etc")).unwrap();
        symlink(outside.path(), dir.path().join("data")).unwrap();
        prepare(dir.path(), []).unwrap();
        for volume in ["/data/x", "/../x", "/a/../../x", "rel", ""] {
            let error = prepare(dir.path(), [volume]);
            assert!(matches!(error, Err(RootfsError::Volume { .. })), "{volume}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);

        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let target = outside.path().join("file");
        symlink(&target, dir.path().join("etc/mtab")).unwrap();
        prepare(dir.path(), []).unwrap();
        assert!(!target.exists());
    }
}
