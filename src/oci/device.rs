//! Devices of the host, looked up by path.

use std::{
    fs::Metadata,
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::container::spec::Device;

/// Most devices that one request, or a whole `/dev`, can bring.
const DEVICES_CAP: usize = 4096;

/// Most entries that are looked at to find them.
const ENTRIES_CAP: usize = 65536;

/// Deepest directory that is looked into.
const DEPTH_CAP: usize = 8;

/// Parts of `/dev` that every container has of its own, or that are no devices.
const NOT_HOST_DEVICES: [&str; 8] = [
    "pts",
    "shm",
    "fd",
    "mqueue",
    ".lxc",
    ".lxd-mounts",
    ".udev",
    "console",
];

/// Block or character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Block device.
    Block,
    /// Character device.
    Character,
}

/// A device node to make in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedDevice {
    /// Path in the container.
    pub path: PathBuf,
    /// Kind.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits on the host.
    pub mode: u32,
    /// Owner on the host.
    pub uid: u32,
    /// Group on the host.
    pub gid: u32,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

/// A device that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Not an absolute path.
    #[error("device path {0:?} is not absolute")]
    NotAbsolute(PathBuf),
    /// Nothing but `r`, `w` and `m`, each once, are permissions.
    #[error("permissions {permissions:?} of device {path:?} are not made of r, w and m")]
    Permissions {
        /// The device.
        path: PathBuf,
        /// As given.
        permissions: String,
    },
    /// It cannot be looked up.
    #[error("cannot look up device {path:?}")]
    LookUp {
        /// The device.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("{0:?} is neither a device nor a directory of devices")]
    NoDevice(PathBuf),
    /// It holds too much.
    #[error("{path:?} holds more than {cap} {what}")]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// How many are taken.
        cap: usize,
        /// Of what.
        what: &'static str,
    },
}

/// Looks up what a request names: one device, or a directory of them. Blocks on the file system.
pub fn resolve(device: &Device) -> Result<Vec<ResolvedDevice>, DeviceError> {
    for path in [&device.host_path, &device.container_path] {
        if !path.is_absolute() {
            return Err(DeviceError::NotAbsolute(path.clone()));
        }
    }
    let permissions = permissions(device)?;
    let metadata = look_up(&device.host_path)?;
    if metadata.is_dir() {
        let mut walk = Walk::new(&device.host_path, permissions);
        walk.directory(&device.host_path, &device.container_path, 0, &[])?;
        return Ok(walk.found);
    }
    node(&device.container_path, &metadata, permissions)
        .map(|node| vec![node])
        .ok_or_else(|| DeviceError::NoDevice(device.host_path.clone()))
}

/// All devices below `dev`, for a privileged container. Blocks on the file system.
pub fn host(dev: &Path) -> Result<Vec<ResolvedDevice>, DeviceError> {
    let mut walk = Walk::new(dev, "rwm".to_owned());
    walk.directory(dev, Path::new("/dev"), 0, &NOT_HOST_DEVICES)?;
    Ok(walk.found)
}

fn permissions(device: &Device) -> Result<String, DeviceError> {
    let given = &device.permissions;
    if given.is_empty() {
        return Ok("rwm".to_owned());
    }
    let known = given.chars().all(|c| "rwm".contains(c));
    let twice = "rwm".chars().any(|c| given.matches(c).count() > 1);
    if !known || twice {
        return Err(DeviceError::Permissions {
            path: device.host_path.clone(),
            permissions: given.clone(),
        });
    }
    Ok(given.clone())
}

fn look_up(path: &Path) -> Result<Metadata, DeviceError> {
    path.metadata().map_err(|source| DeviceError::LookUp {
        path: path.to_owned(),
        source,
    })
}

fn node(path: &Path, metadata: &Metadata, permissions: String) -> Option<ResolvedDevice> {
    let kind = if metadata.file_type().is_block_device() {
        DeviceKind::Block
    } else if metadata.file_type().is_char_device() {
        DeviceKind::Character
    } else {
        return None;
    };
    Some(ResolvedDevice {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        permissions,
    })
}

struct Walk<'a> {
    top: &'a Path,
    permissions: String,
    seen: usize,
    found: Vec<ResolvedDevice>,
}

impl<'a> Walk<'a> {
    fn new(top: &'a Path, permissions: String) -> Self {
        Self {
            top,
            permissions,
            seen: 0,
            found: Vec::new(),
        }
    }

    fn directory(
        &mut self,
        here: &Path,
        inside: &Path,
        depth: usize,
        skip: &[&str],
    ) -> Result<(), DeviceError> {
        if depth > DEPTH_CAP {
            return Ok(());
        }
        let error = |source| DeviceError::LookUp {
            path: here.to_owned(),
            source,
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(here).map_err(error)? {
            self.seen += 1;
            if self.seen > ENTRIES_CAP {
                return Err(self.too_many(ENTRIES_CAP, "entries"));
            }
            names.push(entry.map_err(error)?.file_name());
        }
        names.sort();
        for name in names {
            if skip.iter().any(|s| name == *s) {
                continue;
            }
            let path = here.join(&name);
            // Links are other names of devices found elsewhere, and devices come and go.
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            if metadata.is_dir() {
                self.directory(&path, &inside.join(&name), depth + 1, &[])?;
            } else if let Some(node) =
                node(&inside.join(&name), &metadata, self.permissions.clone())
            {
                self.found.push(node);
                if self.found.len() > DEVICES_CAP {
                    return Err(self.too_many(DEVICES_CAP, "devices"));
                }
            }
        }
        Ok(())
    }

    fn too_many(&self, cap: usize, what: &'static str) -> DeviceError {
        DeviceError::TooMany {
            path: self.top.to_owned(),
            cap,
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(host: &str, permissions: &str) -> Device {
        Device {
            container_path: "/dev/x".into(),
            host_path: host.into(),
            permissions: permissions.into(),
        }
    }

    #[test]
    fn one_device() {
        let found = resolve(&device("/dev/null", "rw")).unwrap();
        assert_eq!(found.len(), 1);
        let null = &found[0];
        assert_eq!((null.major, null.minor), (1, 3));
        assert_eq!(null.kind, DeviceKind::Character);
        assert_eq!(null.path, Path::new("/dev/x"));
        assert_eq!(null.permissions, "rw");
        assert_eq!(
            resolve(&device("/dev/null", "")).unwrap()[0].permissions,
            "rwm"
        );
    }

    #[test]
    fn a_directory_of_devices() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        std::fs::create_dir(&sub).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.path().join("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            sub.join("zero"),
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::from(0o600),
            rustix::fs::makedev(1, 5),
        )
        .unwrap();
        let found = resolve(&device(dir.path().to_str().unwrap(), "r")).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, Path::new("/dev/x/sub/zero"));
        assert_eq!(
            (found[0].major, found[0].minor, found[0].mode),
            (1, 5, 0o600)
        );
    }

    #[test]
    fn the_whole_of_dev() {
        let found = host(Path::new("/dev")).unwrap();
        assert!(found.iter().any(|d| d.path == Path::new("/dev/null")));
        assert!(!found.iter().any(|d| d.path.starts_with("/dev/pts")));
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(matches!(
            resolve(&device("null", "")),
            Err(DeviceError::NotAbsolute(_))
        ));
        assert!(matches!(
            resolve(&device("/etc/passwd", "")),
            Err(DeviceError::NoDevice(_))
        ));
        for bad in ["x", "rr", "rwmr", " "] {
            assert!(matches!(
                resolve(&device("/dev/null", bad)),
                Err(DeviceError::Permissions { .. })
            ));
        }
        let error = resolve(&device("/dev/nonexistent", "")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot look up device \"/dev/nonexistent\""
        );
    }
}
