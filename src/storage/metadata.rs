//! Owner, mode, times and extended attributes of what a layer holds.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// The attribute that tells overlay to hide a directory's lower content.
const OPAQUE: &str = "trusted.overlay.opaque";
/// Attributes that steer overlay itself, and labels that belong to another machine's policy.
const REFUSED: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"security.selinux"];
/// The longest list of attribute names, and the largest value, the kernel knows.
const XATTR_MAX: usize = 64 * 1024;

/// Everything about an object but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A step of setting metadata that failed.
pub(crate) type Failed = (&'static str, Errno);

impl Metadata {
    /// Memory it takes while it waits to be set.
    pub(crate) fn weight(&self) -> usize {
        let xattrs = self.xattrs.iter().map(|(n, v)| n.len() + v.len() + 64);
        128 + xattrs.sum::<usize>()
    }

    /// Sets everything on an open file or directory that root has just made, as far as it was not made so. Returns how
    /// many attributes the file system has no place for.
    pub(crate) fn set(&self, fd: BorrowedFd<'_>) -> Result<usize, Failed> {
        // To look costs next to nothing, while each change is a write to the journal.
        let made = rustix::fs::fstat(fd).map_err(|e| ("look at it", e))?;
        let owned = (made.st_uid, made.st_gid) == (self.uid, self.gid);
        if !owned {
            self.set_owner(fd)?;
        }
        // A change of owner takes setuid bits and capabilities away, so they follow it.
        if !owned || made.st_mode & 0o7777 != self.mode {
            let mode = Mode::from_raw_mode(self.mode);
            rustix::fs::fchmod(fd, mode).map_err(|e| ("set the mode", e))?;
        }
        let dropped = self.set_xattrs(|name, value| {
            rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())
        })?;
        rustix::fs::futimens(fd, &self.times()).map_err(|e| ("set the times", e))?;
        Ok(dropped)
    }

    fn set_owner(&self, fd: BorrowedFd<'_>) -> Result<(), Failed> {
        rustix::fs::fchown(
            fd,
            Some(Uid::from_raw(self.uid)),
            Some(Gid::from_raw(self.gid)),
        )
        .map_err(|e| ("set the owner", e))
    }

    /// Hands each attribute that a layer may carry to `set`.
    pub(crate) fn set_xattrs(
        &self,
        set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    ) -> Result<usize, Failed> {
        let mut dropped = 0;
        for (name, value) in &self.xattrs {
            if !permitted(name) {
                dropped += 1;
                continue;
            }
            match set(name, value) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => dropped += 1,
                // The kernel keeps user attributes to files and directories.
                Err(Errno::PERM) if name.starts_with(b"user.") => dropped += 1,
                Err(e) => return Err(("set an extended attribute", e)),
            }
        }
        Ok(dropped)
    }

    pub(crate) fn times(&self) -> Timestamps {
        let time = Timespec {
            tv_sec: self.mtime.0,
            tv_nsec: self.mtime.1.into(),
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }

    /// Reads the metadata of an open directory.
    pub(crate) fn of_directory(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(fd)?;
        let mut names = vec![0u8; XATTR_MAX];
        let length = match rustix::fs::flistxattr(fd, &mut names[..]) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(e) => return Err(e),
        };
        let mut xattrs = Vec::new();
        for name in names[..length].split(|b| *b == 0) {
            if name.is_empty() || !permitted(name) {
                continue;
            }
            let mut value = vec![0u8; XATTR_MAX];
            let length = rustix::fs::fgetxattr(fd, name, &mut value[..])?;
            value.truncate(length);
            xattrs.push((name.to_vec(), value));
        }
        Ok(Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            xattrs,
        })
    }
}

/// The times of something, to be set again.
pub(crate) fn times_of(stat: &rustix::fs::Stat) -> Timestamps {
    let time = |seconds, nanos| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Whether a layer may set the attribute.
pub(crate) fn permitted(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.contains(&0)
        && !REFUSED.iter().any(|refused| name.starts_with(refused))
}

/// Has overlay hide what lower layers have in this directory.
pub(crate) fn set_opaque(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())
}

/// Whether overlay hides what lower layers have in this directory.
pub(crate) fn is_opaque(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut value = [0u8; 8];
    match rustix::fs::fgetxattr(dir, OPAQUE, &mut value[..]) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Gives the directory at `to` the metadata of the one at `from`, both paths of the host.
pub(crate) fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    let from = std::fs::File::open(from)?;
    let to = std::fs::File::open(to)?;
    use std::os::fd::AsFd;
    let metadata = Metadata::of_directory(from.as_fd())?;
    match metadata.set(to.as_fd()) {
        Ok(_) => Ok(()),
        Err((_, e)) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_cannot_steer_overlay() {
        for refused in [
            "trusted.overlay.opaque",
            "trusted.overlay.redirect",
            "trusted.overlay.overlay.whiteout",
            "user.overlay.metacopy",
            "security.selinux",
            "",
            "user.a\0b",
        ] {
            assert!(!permitted(refused.as_bytes()), "{refused}");
        }
        for kept in [
            "security.capability",
            "user.mime_type",
            "system.posix_acl_access",
        ] {
            assert!(permitted(kept.as_bytes()), "{kept}");
        }
    }
}
