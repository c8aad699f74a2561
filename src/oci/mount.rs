//! Where the mounts of a request come from: looked up on the host before anything is built.

use std::{
    fs::Metadata,
    io,
    path::{Path, PathBuf},
};

use super::{
    absent::{Absent, AbsentError},
    mountinfo::{MountTable, Peers},
};
use crate::container::spec::{Mount, MountSource, Propagation};

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
    /// There is nothing, and there is not to be anything.
    #[error(
        "mount source {path:?} (for {destination:?}) does not exist, and absent_mount_sources_to_reject has it refused"
    )]
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
    /// There is nothing, and no directory can be made of it.
    #[error("mount source {path:?} (for {destination:?}) does not exist and cannot be made")]
    Absent {
        /// Source asked for.
        path: PathBuf,
        /// Where it was to be mounted.
        destination: PathBuf,
        /// Why not.
        #[source]
        source: AbsentError,
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
    /// An image to mount, with no view of it given.
    #[error("image {0:?} to mount on {1:?} has not been prepared")]
    NoView(String, PathBuf),
}

/// Looks up the source of one mount. `view` is where what is mounted of an image is on the host, for a
/// mount of an image. A directory that is missing is made, unless it is one of `refused` or below one.
/// Blocks on the file system.
pub fn resolve(
    mount: &Mount,
    view: Option<&Path>,
    table: &MountTable,
    refused: &[PathBuf],
) -> Result<ResolvedMount, MountError> {
    let (source, metadata) = match &mount.source {
        MountSource::Host(path) => host(path, &mount.container_path, refused)?,
        MountSource::Image { image, .. } => {
            let view = view.ok_or_else(|| {
                MountError::NoView(image.image.clone(), mount.container_path.clone())
            })?;
            real(view).map_err(|source| MountError::LookUp {
                path: view.to_owned(),
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
    refused: &[PathBuf],
) -> Result<(PathBuf, Metadata), MountError> {
    if !path.is_absolute() {
        return Err(MountError::NotAbsolute(path.to_owned()));
    }
    let look_up = |source| MountError::LookUp {
        path: path.to_owned(),
        source,
    };
    match real(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        found => return found.map_err(look_up),
    }
    let cannot = |source| MountError::Absent {
        path: path.to_owned(),
        destination: destination.to_owned(),
        source,
    };
    let absent = Absent::of(path).map_err(cannot)?;
    // Links may lead to a refused place, and a refused place may itself be reached through a link.
    let to_make = absent.path();
    if refused
        .iter()
        .any(|refused| path.starts_with(refused) || to_make.starts_with(refused))
    {
        return Err(MountError::Missing {
            path: path.to_owned(),
            destination: destination.to_owned(),
        });
    }
    absent.make().map_err(cannot)?;
    tracing::info!(path = %to_make.display(), "made the missing source of a mount");
    real(&to_make).map_err(look_up)
}

/// A path free of links, and what is there.
fn real(path: &Path) -> io::Result<(PathBuf, Metadata)> {
    let real = path.canonicalize()?;
    let metadata = real.metadata()?;
    Ok((real, metadata))
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

    fn ask(path: &Path, refused: &[&Path]) -> Result<ResolvedMount, MountError> {
        let mount = mount(MountSource::Host(path.into()), Propagation::Private);
        let refused: Vec<PathBuf> = refused.iter().map(|path| path.to_path_buf()).collect();
        resolve(&mount, None, &MountTable::default(), &refused)
    }

    #[test]
    fn links_of_the_host_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        std::fs::write(&real, "").unwrap();
        symlink(&real, dir.path().join("link")).unwrap();
        let found = ask(&dir.path().join("link"), &[]).unwrap();
        assert_eq!(found.source, real);
        assert!(!found.is_directory);
    }

    #[test]
    fn a_missing_source_is_made_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let path = dir.join("a/b");
        symlink(&dir, dir.join("link")).unwrap();
        for (asked, refused) in [
            ("a/b", "a"),
            ("a/b", "a/b"),
            ("link/a/b", "a/b"),
            ("a/b", ""),
        ] {
            let refused = dir.join(refused);
            let error = ask(&dir.join(asked), &[&refused]).unwrap_err();
            assert!(matches!(error, MountError::Missing { .. }), "{error}");
            assert!(error.to_string().contains(asked), "{error}");
        }
        assert!(!path.exists());
        let made = ask(&dir.join("link/a/b"), &[&dir.join("a/bc")]).unwrap();
        assert!(made.is_directory);
        assert_eq!(made.source, path);
        // What is there is never refused.
        assert!(ask(&path, &[Path::new("/")]).is_ok());
        assert!(matches!(
            ask(Path::new("rel"), &[]),
            Err(MountError::NotAbsolute(_))
        ));
        let file = dir.join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(
            ask(&file.join("x"), &[]),
            Err(MountError::LookUp { .. })
        ));
        symlink("nowhere", dir.join("dangling")).unwrap();
        assert!(matches!(
            ask(&dir.join("dangling"), &[]),
            Err(MountError::Absent { .. })
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
            resolve(&mount, None, &table, &[])
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
    fn an_image_is_mounted_from_its_view() {
        let view = tempfile::tempdir().unwrap();
        let source = MountSource::Image {
            image: ImageRef::default(),
            sub_path: "data".into(),
        };
        let mount = mount(source, Propagation::Private);
        let ask = |view| resolve(&mount, view, &MountTable::default(), &[]);
        let real = view.path().canonicalize().unwrap();
        assert_eq!(ask(Some(view.path())).unwrap().source, real);
        assert!(matches!(ask(None), Err(MountError::NoView(..))));
    }
}
