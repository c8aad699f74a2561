//! Sources of mounts that are not there: made as directories, as Kubernetes has every runtime do for a
//! `hostPath` without a type.

use std::{
    io,
    os::fd::AsFd,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::sys::rooted::{self, RootedError};

/// Mode of the directories that are made; they belong to the daemon's user, which is root.
const MODE: u32 = 0o755;

/// A source that is not there and cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AbsentError {
    /// A link on the way leads to nothing: what it should lead to is not for corten to make.
    #[error("{link:?} is a link to something that is not there")]
    Dangling {
        /// The link.
        link: PathBuf,
    },
    /// What is missing is more than names.
    #[error(
        "{path:?} has a component that is no name below {above:?}, which is all there is of it"
    )]
    NoName {
        /// The path asked for.
        path: PathBuf,
        /// The part of it that is there.
        above: PathBuf,
    },
    /// What is there of the path cannot be looked at.
    #[error("cannot look up {path:?}")]
    LookUp {
        /// The part.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is there changed meanwhile.
    #[error("cannot open {path:?}")]
    Open {
        /// The part.
        path: PathBuf,
        /// Why not.
        #[source]
        source: RootedError,
    },
    /// A directory cannot be made.
    #[error("cannot make directory {path:?}")]
    Make {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
}

/// A path of which only a part is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Absent {
    /// The part that is there, free of links.
    above: PathBuf,
    /// Names of the directories to make below it.
    names: Vec<std::ffi::OsString>,
}

impl Absent {
    /// Finds out what of an absolute path is there.
    pub fn of(path: &Path) -> Result<Self, AbsentError> {
        let look_up = |path: &Path| {
            let path = path.to_owned();
            move |source| AbsentError::LookUp { path, source }
        };
        for above in path.ancestors() {
            let kind = match above.symlink_metadata() {
                Ok(metadata) => metadata.file_type(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(look_up(above)(e)),
            };
            let real = match above.canonicalize() {
                Err(e) if e.kind() == io::ErrorKind::NotFound && kind.is_symlink() => {
                    let link = above.to_owned();
                    return Err(AbsentError::Dangling { link });
                }
                other => other.map_err(look_up(above))?,
            };
            let missing = path.strip_prefix(above).unwrap_or(Path::new(""));
            let names = missing
                .components()
                .map(|part| match part {
                    Component::Normal(name) => Some(name.to_owned()),
                    _ => None,
                })
                .collect::<Option<_>>()
                .ok_or_else(|| AbsentError::NoName {
                    path: path.to_owned(),
                    above: real.clone(),
                })?;
            return Ok(Self { above: real, names });
        }
        let none = io::Error::from(io::ErrorKind::NotFound);
        Err(look_up(path)(none))
    }

    /// Where it will be, free of links.
    pub fn path(&self) -> PathBuf {
        let mut path = self.above.clone();
        path.extend(&self.names);
        path
    }

    /// Makes what is missing. No link is followed, whoever may be putting one in the way.
    pub fn make(&self) -> Result<(), AbsentError> {
        let open = |path: &Path| {
            let path = path.to_owned();
            move |source| AbsentError::Open { path, source }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = rooted::open_root(Path::new("/")).map_err(open(Path::new("/")))?;
        let below = self.above.strip_prefix("/").unwrap_or(&self.above);
        let mut at = rooted::open_beneath(&root, below, flags).map_err(open(&self.above))?;
        let mut path = self.above.clone();
        for name in &self.names {
            path.push(name);
            let make = |source| AbsentError::Make {
                path: path.clone(),
                source,
            };
            let made = match rustix::fs::mkdirat(at.as_fd(), name, Mode::from(MODE)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(e) => return Err(make(e)),
            };
            at = rooted::open_beneath(&at, Path::new(name), flags).map_err(open(&path))?;
            if made {
                // mkdirat obeys the umask.
                rustix::fs::fchmod(&at, Mode::from(MODE)).map_err(make)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        (dir, real)
    }

    #[test]
    fn makes_all_that_is_missing() {
        let (_dir, dir) = scratch();
        std::fs::create_dir(dir.join("real")).unwrap();
        symlink(dir.join("real"), dir.join("link")).unwrap();
        let absent = Absent::of(&dir.join("link/a/b")).unwrap();
        assert_eq!(absent.path(), dir.join("real/a/b"));
        assert!(!absent.path().exists());
        absent.make().unwrap();
        absent.make().unwrap();
        for made in ["real/a", "real/a/b"] {
            let metadata = dir.join(made).symlink_metadata().unwrap();
            assert!(metadata.is_dir());
            assert_eq!(metadata.permissions().mode() & 0o7777, 0o755);
            assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
        }
    }

    #[test]
    fn never_makes_what_a_link_leads_to() {
        let (_dir, dir) = scratch();
        symlink(dir.join("nowhere"), dir.join("dangling")).unwrap();
        symlink("dangling", dir.join("chain")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        for path in ["dangling", "dangling/a/b", "chain", "chain/x"] {
            let error = Absent::of(&dir.join(path)).unwrap_err();
            assert!(
                matches!(error, AbsentError::Dangling { .. }),
                "{path}: {error}"
            );
        }
        assert!(matches!(
            Absent::of(&dir.join("loop/x")),
            Err(AbsentError::LookUp { .. })
        ));
        assert!(!dir.join("nowhere").exists());
    }

    #[test]
    fn what_is_put_in_the_way_meanwhile_stops_it() {
        let (_dir, dir) = scratch();
        let elsewhere = dir.join("elsewhere");
        std::fs::create_dir_all(dir.join("a")).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        // A link where a directory was to be made, and one where a directory was.
        let first = Absent::of(&dir.join("a/b/c")).unwrap();
        symlink(&elsewhere, dir.join("a/b")).unwrap();
        assert!(first.make().is_err());
        let second = Absent::of(&dir.join("a/d")).unwrap();
        std::fs::rename(dir.join("a"), dir.join("old")).unwrap();
        symlink(&elsewhere, dir.join("a")).unwrap();
        assert!(second.make().is_err());
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn what_is_missing_has_to_be_names() {
        let (_dir, dir) = scratch();
        let error = Absent::of(&dir.join("a/../../x")).unwrap_err();
        assert!(matches!(error, AbsentError::NoName { .. }), "{error}");
        let file = dir.join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Absent::of(&file.join("x")).is_err());
    }
}
