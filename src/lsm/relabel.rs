//! Giving what a volume holds the label of the container it is for.
//!
//! A container of an earlier pod may be changing the volume meanwhile: no link is ever followed, and each
//! label is set through a descriptor of the thing itself.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Dir, FileType, OFlags, XattrFlags},
    io::Errno,
};

use crate::sys::rooted::{self, RootedError, fd_path};

/// Extended attribute where the kernel keeps the label of a file.
pub(crate) const ATTRIBUTE: &str = "security.selinux";
/// Most files of one volume.
const FILES_MAX: u64 = 16 << 20;
/// Places whose label is the system's, with which it would not work any more.
const SYSTEM: [&str; 25] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/system",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

/// A volume that cannot be given a label.
#[derive(Debug, thiserror::Error)]
pub enum RelabelError {
    /// The system itself needs its labels.
    #[error("{0:?} is part of the system, which would not work any more under a container's label")]
    System(PathBuf),
    /// It cannot be opened.
    #[error("opening {path:?} to give it label {label:?}")]
    Open {
        /// Which.
        path: PathBuf,
        /// The label.
        label: String,
        /// Why not.
        #[source]
        source: RootedError,
    },
    /// A file of it cannot be given the label.
    #[error("giving {path:?} label {label:?}")]
    Set {
        /// Which.
        path: PathBuf,
        /// The label.
        label: String,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// A directory of it cannot be read.
    #[error("reading directory {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// It is too large.
    #[error("{0:?} holds more than {FILES_MAX} files, too many to give each a label")]
    TooMany(PathBuf),
}

/// Gives `source`, a path free of links, and all in it a label. File systems that have none are left as they
/// are, and what has the label already is not written to. Blocks on the file system, for long if it is large.
pub fn relabel(source: &Path, label: &str) -> Result<(), RelabelError> {
    if SYSTEM.iter().any(|path| source == Path::new(path)) {
        return Err(RelabelError::System(source.to_owned()));
    }
    let open = |source: &Path| {
        let path = source.to_owned();
        let label = label.to_owned();
        move |source| RelabelError::Open {
            path,
            label,
            source,
        }
    };
    let host = rooted::open_root(Path::new("/")).map_err(open(Path::new("/")))?;
    let below = source.strip_prefix("/").unwrap_or(source);
    let root = rooted::open_beneath(&host, below, OFlags::PATH).map_err(open(source))?;
    let mut walk = Walk {
        source,
        label,
        files: 0,
        todo: vec![PathBuf::new()],
    };
    if !walk.set(root.as_fd(), Path::new(""))? {
        return Ok(());
    }
    while let Some(dir) = walk.todo.pop() {
        // What is no directory any more was labelled as what it was.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match rooted::open_beneath(&root, &dir, flags) {
            Ok(fd) => walk.directory(&fd, &dir)?,
            Err(e) if gone(e.errno()) => {}
            Err(e) => return Err(open(&source.join(&dir))(e)),
        }
    }
    Ok(())
}

/// Nothing, or something else, is there by now.
fn gone(errno: Option<Errno>) -> bool {
    matches!(
        errno,
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE)
    )
}

struct Walk<'a> {
    source: &'a Path,
    label: &'a str,
    files: u64,
    /// Directories to go into, below the source. One descriptor at a time is open, however deep it is.
    todo: Vec<PathBuf>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &OwnedFd, path: &Path) -> Result<(), RelabelError> {
        let read = |source| RelabelError::Read {
            path: self.source.join(path),
            source,
        };
        let entries = Dir::read_from(dir).map_err(read)?;
        for entry in entries {
            let entry = entry.map_err(read)?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name == OsStr::new(".") || name == OsStr::new("..") {
                continue;
            }
            self.files += 1;
            if self.files > FILES_MAX {
                return Err(RelabelError::TooMany(self.source.to_owned()));
            }
            let below = path.join(&name);
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            let found = match rooted::open_beneath(dir, Path::new(&name), flags) {
                Ok(found) => found,
                Err(e) if e.errno() == Some(Errno::LOOP) => continue,
                Err(e) if gone(e.errno()) => continue,
                Err(source) => {
                    return Err(RelabelError::Open {
                        path: self.source.join(below),
                        label: self.label.to_owned(),
                        source,
                    });
                }
            };
            let stat = rustix::fs::fstat(&found).map_err(read)?;
            let labelled = self.set(found.as_fd(), &below)?;
            if labelled && FileType::from_raw_mode(stat.st_mode).is_dir() {
                self.todo.push(below);
            }
        }
        Ok(())
    }

    /// Sets the label of one thing; says whether it is on a file system that has labels.
    fn set(&self, fd: BorrowedFd<'_>, path: &Path) -> Result<bool, RelabelError> {
        let at = fd_path(fd);
        let mut present = [0u8; 512];
        if let Ok(length) = rustix::fs::getxattr(&at, ATTRIBUTE, &mut present[..])
            && present[..length]
                .strip_suffix(b"\0")
                .unwrap_or(&present[..length])
                == self.label.as_bytes()
        {
            return Ok(true);
        }
        match rustix::fs::setxattr(&at, ATTRIBUTE, self.label.as_bytes(), XattrFlags::empty()) {
            Ok(()) => Ok(true),
            // Neither has labels of its own, and what is below may be another file system only by
            // a mount, which then has the label it was mounted with.
            Err(Errno::OPNOTSUPP | Errno::ROFS) => Ok(false),
            Err(e) if gone(Some(e)) => Ok(true),
            Err(source) => Err(RelabelError::Set {
                path: self.source.join(path),
                label: self.label.to_owned(),
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

    fn label_of(path: &Path) -> Option<Vec<u8>> {
        let mut value = [0u8; 512];
        let length = rustix::fs::lgetxattr(path, ATTRIBUTE, &mut value[..]).ok()?;
        Some(value[..length].to_vec())
    }

    /// Labels can be set as plain attributes where no policy says which there are.
    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        (dir, real)
    }

    #[test]
    fn all_of_a_volume_and_nothing_else() {
        let (_dir, dir) = scratch();
        let volume = dir.join("volume");
        std::fs::create_dir_all(volume.join("a/b")).unwrap();
        std::fs::create_dir(dir.join("host")).unwrap();
        for file in ["volume/file", "volume/a/b/deep", "host/shadow"] {
            std::fs::write(dir.join(file), "").unwrap();
        }
        symlink(dir.join("host"), volume.join("a/out")).unwrap();
        symlink("../host/shadow", volume.join("up")).unwrap();
        for _ in 0..2 {
            relabel(&volume, LABEL).unwrap();
            for path in ["", "file", "a", "a/b", "a/b/deep"] {
                let label = label_of(&volume.join(path)).unwrap();
                assert_eq!(String::from_utf8(label).unwrap(), LABEL, "{path}");
            }
            for path in ["host", "host/shadow"] {
                assert_eq!(label_of(&dir.join(path)), None, "{path}");
            }
        }
        let other = "system_u:object_r:container_file_t:s0:c3,c4";
        relabel(&volume.join("a"), other).unwrap();
        assert_eq!(
            label_of(&volume.join("a/b/deep")).unwrap(),
            other.as_bytes()
        );
        assert_eq!(label_of(&volume.join("file")).unwrap(), LABEL.as_bytes());
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let (_dir, dir) = scratch();
        std::fs::create_dir_all(dir.join("host/volume")).unwrap();
        symlink(dir.join("host"), dir.join("link")).unwrap();
        for path in ["link", "link/volume"] {
            let error = relabel(&dir.join(path), LABEL).unwrap_err();
            assert!(
                matches!(error, RelabelError::Open { .. }),
                "{path}: {error}"
            );
        }
        assert_eq!(label_of(&dir.join("host")), None);
        assert_eq!(label_of(&dir.join("host/volume")), None);
    }

    #[test]
    fn the_system_keeps_its_labels() {
        for path in ["/", "/etc", "/usr", "/var/lib"] {
            let error = relabel(Path::new(path), LABEL).unwrap_err();
            assert!(matches!(error, RelabelError::System(_)), "{path}");
        }
    }

    #[test]
    fn file_systems_without_labels_are_left_alone() {
        relabel(Path::new("/proc/sys/kernel"), LABEL).unwrap();
    }
}
