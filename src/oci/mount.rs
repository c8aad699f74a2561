//! Where the mounts of a request come from: looked up on the host before anything is built.

use std::{
    fs::Metadata,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::{
    mountinfo::{MountTable, Peers},
    rooted,
};
use crate::container::spec::{Mount, MountSource, Propagation};

/// What is done about a source that is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingSource {
    /// The request is refused.
    #[default]
    Refuse,
    /// A directory is made.
    MakeDirectory,
}

/// A mount of a request, with its source looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedMount {
    /// As asked for.
    pub mount: Mount,
    /// Source on the host, free of links.
    pub source: PathBuf,
    /// The source is a directory.
    pub is_directory: bool,
    /// How the mount that the source lies in propagates.
    pub peers: Peers,
    /// Where that mount is.
    pub mounted_on: PathBuf,
}

/// A mount whose source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Not an absolute path.
    #[error("mount source {0:?} is not an absolute path")]
    NotAbsolute(PathBuf),
    /// There is nothing.
    #[error("mount source {path:?} (for {destination:?}) does not exist")]
    Missing {
        /// Source asked for.
        path: PathBuf,
        /// Where it was to be mounted.
        destination: PathBuf,
    },
    /// It cannot be looked up.
    #[error("cannot look up mount source {path:?}")]
    LookUp {
        /// Source asked for.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The missing directory cannot be made.
    #[error("cannot make mount source {path:?}")]
    Make {
        /// Source asked for.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Mounts made in the container cannot reach the host.
    #[error("path {path:?} is mounted on {mounted_on:?} but it is not a shared mount")]
    NotShared {
        /// Source asked for.
        path: PathBuf,
        /// The mount it lies in.
        mounted_on: PathBuf,
    },
    /// Mounts made on the host cannot reach the container.
    #[error("path {path:?} is mounted on {mounted_on:?} but it is not a shared or slave mount")]
    NotSharedOrSlave {
        /// Source asked for.
        path: PathBuf,
        /// The mount it lies in.
        mounted_on: PathBuf,
    },
    /// A path below an image's root that cannot be used.
    #[error("sub path {path:?} of image {image:?} cannot be used")]
    SubPath {
        /// The path asked for.
        path: PathBuf,
        /// The image.
        image: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An image to mount, with no view of it given.
    #[error("image {0:?} to mount on {1:?} has not been prepared")]
    NoView(String, PathBuf),
}

/// Looks up the source of one mount. `view` is where the image is mounted on the host, for a mount
/// of an image. Blocks on the file system.
pub fn resolve(
    mount: &Mount,
    view: Option<&Path>,
    table: &MountTable,
    missing: MissingSource,
) -> Result<ResolvedMount, MountError> {
    let (source, metadata) = match &mount.source {
        MountSource::Host(path) => host(path, &mount.container_path, missing)?,
        MountSource::Image { image, sub_path } => {
            let view = view.ok_or_else(|| {
                MountError::NoView(image.image.clone(), mount.container_path.clone())
            })?;
            below_view(view, sub_path).map_err(|source| MountError::SubPath {
                path: sub_path.clone(),
                image: image.image.clone(),
                source,
            })?
        }
    };
    let covering = table.covering(&source);
    let peers = covering.map_or(Peers::default(), |m| m.peers);
    let mounted_on = covering.map_or_else(|| PathBuf::from("/"), |m| m.path.clone());
    check_propagation(mount, &source, peers, &mounted_on)?;
    Ok(ResolvedMount {
        mount: mount.clone(),
        is_directory: metadata.is_dir(),
        source,
        peers,
        mounted_on,
    })
}

fn host(
    path: &Path,
    destination: &Path,
    missing: MissingSource,
) -> Result<(PathBuf, Metadata), MountError> {
    if !path.is_absolute() {
        return Err(MountError::NotAbsolute(path.to_owned()));
    }
    let look_up = || {
        let real = path.canonicalize()?;
        let metadata = real.metadata()?;
        io::Result::Ok((real, metadata))
    };
    let error = match look_up() {
        Ok(found) => return Ok(found),
        Err(e) => e,
    };
    if error.kind() != io::ErrorKind::NotFound {
        return Err(MountError::LookUp {
            path: path.to_owned(),
            source: error,
        });
    }
    if missing == MissingSource::Refuse {
        return Err(MountError::Missing {
            path: path.to_owned(),
            destination: destination.to_owned(),
        });
    }
    std::fs::create_dir_all(path)
        .and_then(|()| look_up())
        .map_err(|source| MountError::Make {
            path: path.to_owned(),
            source,
        })
}

/// Resolves a path below an image's root, whose links must not lead out of it. The image's files
/// are read-only, so that what was found stays what is mounted.
fn below_view(view: &Path, sub_path: &Path) -> io::Result<(PathBuf, Metadata)> {
    let root = rooted::open_root(view)?;
    let relative = if sub_path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        sub_path
    };
    let fd = rooted::open_in_root(root.as_fd(), relative, OFlags::PATH, Mode::empty())?;
    let file = std::fs::File::from(fd);
    let metadata = file.metadata()?;
    let path = rustix::fs::readlinkat(
        rustix::fs::CWD,
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)),
        Vec::new(),
    )?;
    let path = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path.as_bytes());
    Ok((PathBuf::from(path), metadata))
}

fn check_propagation(
    mount: &Mount,
    source: &Path,
    peers: Peers,
    mounted_on: &Path,
) -> Result<(), MountError> {
    match mount.propagation {
        Propagation::Bidirectional if !peers.shared => Err(MountError::NotShared {
            path: source.to_owned(),
            mounted_on: mounted_on.to_owned(),
        }),
        Propagation::HostToContainer if !peers.shared && !peers.slave => {
            Err(MountError::NotSharedOrSlave {
                path: source.to_owned(),
                mounted_on: mounted_on.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::spec::ImageRef;
    use std::os::unix::fs::symlink;

    fn mount(source: MountSource, propagation: Propagation) -> Mount {
        Mount {
            container_path: "/data".into(),
            source,
            read_only: Default::default(),
            selinux_relabel: false,
            propagation,
            uid_mappings: vec![],
            gid_mappings: vec![],
            options: vec![],
        }
    }

    fn ask(path: &Path, missing: MissingSource) -> Result<ResolvedMount, MountError> {
        let mount = mount(MountSource::Host(path.into()), Propagation::Private);
        resolve(&mount, None, &MountTable::default(), missing)
    }

    #[test]
    fn links_of_the_host_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        std::fs::write(&real, "").unwrap();
        symlink(&real, dir.path().join("link")).unwrap();
        let found = ask(&dir.path().join("link"), MissingSource::Refuse).unwrap();
        assert_eq!(found.source, real);
        assert!(!found.is_directory);
    }

    #[test]
    fn a_missing_source_is_refused_or_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let error = ask(&path, MissingSource::Refuse).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("mount source {path:?} (for \"/data\") does not exist")
        );
        assert!(!path.exists());
        assert!(
            ask(&path, MissingSource::MakeDirectory)
                .unwrap()
                .is_directory
        );
        assert!(matches!(
            ask(Path::new("rel"), MissingSource::Refuse),
            Err(MountError::NotAbsolute(_))
        ));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(
            ask(&file.join("x"), MissingSource::Refuse),
            Err(MountError::LookUp { .. })
        ));
    }

    #[test]
    fn propagation_needs_a_mount_that_propagates() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let line = |tag: &str| format!("1 1 0:1 / {} rw {tag}- tmpfs tmpfs rw\n", dir.display());
        let ask = |tag: &str, propagation| {
            let table = MountTable::parse(line(tag).as_bytes());
            let mount = mount(MountSource::Host(dir.clone()), propagation);
            resolve(&mount, None, &table, MissingSource::Refuse)
        };
        use Propagation::{Bidirectional, HostToContainer};
        assert!(ask("shared:1 ", Bidirectional).is_ok());
        assert!(ask("shared:1 ", HostToContainer).is_ok());
        assert!(ask("master:1 ", HostToContainer).is_ok());
        assert!(matches!(
            ask("master:1 ", Bidirectional),
            Err(MountError::NotShared { .. })
        ));
        let error = ask("", HostToContainer).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("path {dir:?} is mounted on {dir:?} but it is not a shared or slave mount")
        );
    }

    #[test]
    fn an_image_cannot_lead_out_of_itself() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(outside.path().join("secret")).unwrap();
        let view = tempfile::tempdir().unwrap();
        std::fs::create_dir(view.path().join("inner")).unwrap();
        symlink(outside.path(), view.path().join("out")).unwrap();
        let ask = |sub_path: &str, view: Option<&Path>| {
            let source = MountSource::Image {
                image: ImageRef::default(),
                sub_path: sub_path.into(),
            };
            let mount = mount(source, Propagation::Private);
            resolve(&mount, view, &MountTable::default(), MissingSource::Refuse)
        };
        let real = view.path().canonicalize().unwrap();
        assert_eq!(ask("", Some(view.path())).unwrap().source, real);
        assert_eq!(
            ask("inner", Some(view.path())).unwrap().source,
            real.join("inner")
        );
        for path in ["out/secret", "../../etc", "inner/../../etc", "missing"] {
            assert!(
                matches!(
                    ask(path, Some(view.path())),
                    Err(MountError::SubPath { .. })
                ),
                "{path}"
            );
        }
        assert!(matches!(ask("", None), Err(MountError::NoView(..))));
    }
}
