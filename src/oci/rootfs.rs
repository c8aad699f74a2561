//! What a container's root gets before the runtime sees it, written so that no link of the image
//! leads the writing elsewhere.

use std::{
    io,
    os::fd::AsFd,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};

use crate::{
    id_map::Owner,
    sys::rooted::{self, Met, RootedError, Step},
};

/// Most volumes an image can declare.
const VOLUMES_CAP: usize = 1024;

/// Places of the kernel's file systems: runtimes make files there by name.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];

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
        source: RootedError,
    },
    /// A place of the kernel's file systems is something else, and could be a way out.
    #[error("/{0} of the image is not a directory")]
    NotDirectory(&'static str),
    /// A place of the kernel's file systems cannot be looked at.
    #[error("cannot look at /{name} of the image")]
    LookUp {
        /// Which.
        name: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A volume of the image is no path of a directory.
    #[error("volume {0:?} of the image is not an absolute path without \"..\"")]
    VolumePath(String),
    /// The directory of a volume of the image cannot be made.
    #[error("volume {path:?} of the image cannot be made")]
    Volume {
        /// The volume.
        path: String,
        /// Why not.
        #[source]
        source: RootedError,
    },
    /// The image declares too many.
    #[error("the image declares {0} volumes, more than {VOLUMES_CAP}")]
    TooManyVolumes(usize),
}

/// What is made belongs to `owner`, who on the host is the container's root user, unless it is the host's own.
///
/// Refuses a root whose `/dev`, `/proc` or `/sys` is a link or a file: a runtime that makes devices
/// and links there by name would make them wherever a link leads. Makes the image's volumes as directories, and `/etc/mtab` where it is missing.
///
/// The root must be writable, and nothing of the container may run yet. Blocks on the file system.
pub fn prepare<'a>(
    rootfs: &Path,
    volumes: impl IntoIterator<Item = &'a str>,
    owner: Option<Owner>,
) -> Result<(), RootfsError> {
    let root = rooted::open_root(rootfs).map_err(|source| RootfsError::Open {
        path: rootfs.to_owned(),
        source,
    })?;
    for name in MOUNT_POINTS {
        match fs::statat(&root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {}
            // The runtime makes what is missing.
            Err(Errno::NOENT) => {}
            Ok(_) => return Err(RootfsError::NotDirectory(name)),
            Err(e) => {
                let source = e.into();
                return Err(RootfsError::LookUp { name, source });
            }
        }
    }
    for (count, volume) in volumes.into_iter().enumerate() {
        if count >= VOLUMES_CAP {
            return Err(RootfsError::TooManyVolumes(count + 1));
        }
        let path = Path::new(volume);
        if !path.is_absolute() || path.components().any(|c| c == Component::ParentDir) {
            return Err(RootfsError::VolumePath(volume.to_owned()));
        }
        let mut hand_over = |_: &Path, met: Met<'_>| {
            if let (Met::Made(made), Some(owner)) = (met, owner) {
                fs::fchown(made, Some(uid(owner)), Some(gid(owner)))?;
            }
            Ok(Step::Keep)
        };
        rooted::walk_making(root.as_fd(), path, Mode::from(0o755), &mut hand_over).map_err(
            |source| RootfsError::Volume {
                path: volume.to_owned(),
                source,
            },
        )?;
    }
    mtab(root.as_fd(), owner);
    Ok(())
}

fn uid(owner: Owner) -> Uid {
    Uid::from_raw(owner.uid)
}

fn gid(owner: Owner) -> Gid {
    Gid::from_raw(owner.gid)
}

/// Programs that look for `/etc/mtab` find the mounts there. An image without a plain `/etc`, or
/// with something of that name, is left as it is.
fn mtab(root: std::os::fd::BorrowedFd<'_>, owner: Option<Owner>) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let made = rooted::open_in_root(root, "etc", flags).and_then(|etc| {
        let made = fs::symlinkat("/proc/mounts", &etc, "mtab").and_then(|()| match owner {
            Some(owner) => fs::chownat(
                &etc,
                "mtab",
                Some(uid(owner)),
                Some(gid(owner)),
                AtFlags::SYMLINK_NOFOLLOW,
            ),
            None => Ok(()),
        });
        match made {
            Err(Errno::EXIST) | Ok(()) => Ok(()),
            Err(source) => Err(RootedError::Open {
                path: "etc/mtab".into(),
                source,
            }),
        }
    });
    if let Err(error) = made {
        tracing::debug!("no /etc/mtab is made: {}", crate::causes::whole(&error));
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
        prepare(dir.path(), ["/data/a", "/etc"], None).unwrap();
        assert!(dir.path().join("data/a").is_dir());
        let link = std::fs::read_link(dir.path().join("etc/mtab")).unwrap();
        assert_eq!(link, Path::new("/proc/mounts"));
        prepare(dir.path(), [], None).unwrap();
    }

    #[test]
    fn what_is_made_belongs_to_the_containers_root() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::create_dir(dir.path().join("there")).unwrap();
        let owner = Owner { uid: 7, gid: 8 };
        prepare(dir.path(), ["/there/a/b"], Some(owner)).unwrap();
        for (path, owner) in [
            ("there", (0, 0)),
            ("there/a", (7, 8)),
            ("there/a/b", (7, 8)),
            ("etc/mtab", (7, 8)),
        ] {
            let data = dir.path().join(path).symlink_metadata().unwrap();
            assert_eq!((data.uid(), data.gid()), owner, "{path}");
        }
    }

    #[test]
    fn places_of_the_kernel_are_directories() {
        for name in MOUNT_POINTS {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join(name)).unwrap();
            prepare(dir.path(), [], None).unwrap();
            std::fs::remove_dir(dir.path().join(name)).unwrap();
            symlink("tmp", dir.path().join(name)).unwrap();
            let error = prepare(dir.path(), [], None).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("/{name} of the image is not a directory")
            );
        }
    }

    #[test]
    fn links_of_the_image_change_nothing_outside() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("etc")).unwrap();
        symlink(outside.path(), dir.path().join("data")).unwrap();
        prepare(dir.path(), [], None).unwrap();
        // What a link leads to is inside, and is made there.
        prepare(dir.path(), ["/data/x"], None).unwrap();
        for volume in ["/../x", "/a/../../x", "rel", ""] {
            let error = prepare(dir.path(), [volume], None);
            assert!(matches!(error, Err(RootfsError::VolumePath(_))), "{volume}");
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = prepare(dir.path(), ["/file/x"], None);
        assert!(matches!(error, Err(RootfsError::Volume { .. })));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);

        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let target = outside.path().join("file");
        symlink(&target, dir.path().join("etc/mtab")).unwrap();
        prepare(dir.path(), [], None).unwrap();
        assert!(!target.exists());
    }
}
