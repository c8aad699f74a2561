//! Mounts, made detached where the kernel can and put in place whole.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};

pub use rustix::mount::{MountAttrFlags as Attributes, MountPropagationFlags};

/// One option of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Param {
    /// A flag that is set.
    Flag(String),
    /// A name with its value; names may come again.
    Value(String, String),
}

/// Makes a mount of a new file system that is attached nowhere yet.
pub fn detached(kind: &str, params: &[Param], attributes: Attributes) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let explain = |e: Errno| explained(context.as_fd(), e);
    for param in params {
        match param {
            Param::Flag(name) => rustix::mount::fsconfig_set_flag(&context, name.as_str()),
            Param::Value(name, value) => {
                rustix::mount::fsconfig_set_string(&context, name.as_str(), value.as_str())
            }
        }
        .map_err(explain)?;
    }
    rustix::mount::fsconfig_create(&context).map_err(explain)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(explain)
}

/// Puts a detached mount in place.
pub fn attach(mount: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", CWD, target, flags)?)
}

/// Mounts the way kernels did before mounts could be detached.
pub fn mount_at(kind: &str, target: &Path, flags: MountFlags, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(rustix::mount::mount(
        kind,
        target,
        kind,
        flags,
        options.as_c_str(),
    )?)
}

/// Makes a detached copy of the part of an attached mount that a descriptor names.
pub fn clone_tree(at: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    copy_of(at, Depth::One)
}

/// Makes a detached copy of what lies at `source`, a file or a directory, with what is mounted below it, and
/// has it show and store IDs as the user namespace `users` maps them: what an ID inside owns appears as owned
/// by the host's ID for it. What is mounted below keeps its IDs.
///
/// The error is of kind [`io::ErrorKind::Unsupported`] where the file system cannot do that.
pub fn clone_mapped(source: &Path, users: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mount = copy(source, Depth::Tree)?;
    map_owners(mount.as_fd(), users, Depth::One)?;
    Ok(mount)
}

/// Makes a detached copy of the mount that `source` is on, from there on, that nothing can be written to.
pub fn read_only_copy(source: &Path) -> io::Result<OwnedFd> {
    let mount = copy(source, Depth::One)?;
    let change = Change {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID,
        ..Change::default()
    };
    change_attributes(mount.as_fd(), change, Depth::One)?;
    Ok(mount)
}

/// Makes a detached copy of what lies at `source`, with what is mounted below it or without.
pub fn copy(source: &Path, depth: Depth) -> io::Result<OwnedFd> {
    Ok(rustix::mount::open_tree(CWD, source, copying(depth))?)
}

/// The same of what a descriptor names.
pub fn copy_of(at: BorrowedFd<'_>, depth: Depth) -> io::Result<OwnedFd> {
    let flags = copying(depth) | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(at, "", flags)?)
}

fn copying(depth: Depth) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match depth {
        Depth::One => flags,
        Depth::Tree => flags | OpenTreeFlags::AT_RECURSIVE,
    }
}

/// Puts a detached mount on what a descriptor names.
pub fn attach_to(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// How much of a tree of mounts something is done to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// The mount alone.
    #[default]
    One,
    /// All below it too.
    Tree,
}

/// What becomes different of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Attributes they get.
    pub set: Attributes,
    /// Attributes they lose.
    pub clear: Attributes,
    /// Where mounts below them appear; as before when empty.
    pub propagation: MountPropagationFlags,
}

impl Default for Change {
    fn default() -> Self {
        Self {
            set: Attributes::empty(),
            clear: Attributes::empty(),
            propagation: MountPropagationFlags::empty(),
        }
    }
}

/// Changes the mount whose root a descriptor names.
pub fn change_attributes(mount: BorrowedFd<'_>, change: Change, depth: Depth) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: change.set.bits().into(),
        attr_clr: change.clear.bits().into(),
        propagation: change.propagation.bits().into(),
        userns_fd: 0,
    };
    set_attributes(mount, &attributes, depth)
}

/// Maps the IDs of a mount that was never attached as the user namespace `users` does.
///
/// The error is of kind [`io::ErrorKind::Unsupported`] where the file system cannot do that.
pub fn map_owners(mount: BorrowedFd<'_>, users: BorrowedFd<'_>, depth: Depth) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd().cast_unsigned().into(),
    };
    set_attributes(mount, &attributes, depth).map_err(|error| match Errno::from_io_error(&error) {
        Some(source @ Errno::INVAL) => io::Error::new(
            io::ErrorKind::Unsupported,
            Explained {
                said: vec!["its file system cannot map IDs".into()],
                source,
            },
        ),
        _ => error,
    })
}

fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: &libc::mount_attr,
    depth: Depth,
) -> io::Result<()> {
    let flags = match depth {
        Depth::One => libc::AT_EMPTY_PATH,
        Depth::Tree => libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
    };
    // SAFETY: the descriptors are open for the call, the path is a string that ends with NUL, and the kernel reads
    // `attributes`, of the size given, alone.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            std::mem::size_of_val(attributes),
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Detaches everything mounted at `target` itself; false if nothing was.
pub fn detach_all(target: &Path) -> io::Result<bool> {
    let mut any = false;
    loop {
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(target, flags) {
            Ok(()) => any = true,
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(any),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether `target` is the root of a mount.
pub fn is_mountpoint(target: &Path) -> io::Result<bool> {
    let stat = rustix::fs::statx(
        CWD,
        target,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::BASIC_STATS,
    );
    let stat = match stat {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    let root = rustix::fs::StatxAttributes::MOUNT_ROOT;
    if stat.stx_attributes_mask.contains(root) {
        return Ok(stat.stx_attributes.contains(root));
    }
    // Kernels before 5.8 do not tell; a mount of its own device differs from the directory above.
    let parent = rustix::fs::stat(target.parent().unwrap_or(Path::new("/")))?;
    let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    Ok(parent.st_dev != device)
}

/// Adds what the kernel logged in a file system context to an error.
fn explained(context: BorrowedFd<'_>, error: Errno) -> io::Error {
    let mut said = Vec::new();
    let mut message = [0u8; 512];
    while said.len() < 8 {
        match rustix::io::read(context, &mut message) {
            Ok(length) if length > 0 => {
                let text = String::from_utf8_lossy(&message[..length]);
                // "e " and the like tell the severity.
                let text = text.trim().get(2..).unwrap_or_default().to_owned();
                said.push(text);
            }
            _ => break,
        }
    }
    let plain = io::Error::from(error);
    if said.is_empty() {
        return plain;
    }
    io::Error::new(
        plain.kind(),
        Explained {
            said,
            source: error,
        },
    )
}

/// An error with the kernel's own words.
#[derive(Debug, thiserror::Error)]
#[error("{}", .said.join("; "))]
struct Explained {
    said: Vec<String>,
    #[source]
    source: Errno,
}

/// The error number beneath an error of this module.
pub fn errno(error: &io::Error) -> Option<Errno> {
    if let Some(explained) = error.get_ref().and_then(|e| e.downcast_ref::<Explained>()) {
        return Some(explained.source);
    }
    Errno::from_io_error(error)
}

/// The attributes of a mount that only shows files: nothing is written, and nothing trusted.
pub fn inert() -> Attributes {
    MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attaches_clones_and_detaches() {
        let dir = tempfile::tempdir().unwrap();
        let size = Param::Value("size".into(), "1M".into());
        let mount = detached("tmpfs", &[size], Attributes::empty()).unwrap();
        assert!(!is_mountpoint(dir.path()).unwrap());
        attach(mount.as_fd(), dir.path()).unwrap();
        assert!(is_mountpoint(dir.path()).unwrap());
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let part = std::fs::File::open(dir.path().join("a")).unwrap();
        let other = tempfile::tempdir().unwrap();
        attach(clone_tree(part.as_fd()).unwrap().as_fd(), other.path()).unwrap();
        assert!(other.path().join("b").is_dir());
        for target in [dir.path(), other.path()] {
            assert!(detach_all(target).unwrap());
            assert!(!detach_all(target).unwrap());
        }
        assert!(!detach_all(Path::new("/nonexistent/at/all")).unwrap());
    }

    #[test]
    fn ids_are_mapped_both_ways() {
        use crate::{
            id_map::{IdMapping, UserMappings},
            sys::users::Users,
        };
        use std::os::unix::fs::MetadataExt;

        let list = vec![IdMapping {
            host_id: 70_000,
            container_id: 0,
            length: 10,
        }];
        let users = Users::mapping(&UserMappings {
            uids: list.clone(),
            gids: list,
        })
        .unwrap();
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let (from, at) = (dir.path().join("from"), dir.path().join("at"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&at).unwrap();
        std::fs::write(from.join("file"), "").unwrap();
        let mount = clone_mapped(&from, users.as_fd()).unwrap();
        attach(mount.as_fd(), &at).unwrap();
        let seen = std::fs::metadata(at.join("file")).map(|m| (m.uid(), m.gid()));
        let chowned = std::os::unix::fs::chown(at.join("file"), Some(70_003), Some(70_004));
        detach_all(&at).unwrap();
        chowned.unwrap();
        assert_eq!(seen.unwrap(), (70_000, 70_000));
        let stored = std::fs::metadata(from.join("file")).unwrap();
        assert_eq!((stored.uid(), stored.gid()), (3, 4));

        // Not every file system can.
        let error = clone_mapped(Path::new("/proc"), users.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert_eq!(errno(&error), Some(Errno::INVAL));
    }

    #[test]
    fn says_what_the_kernel_objects_to() {
        let nonsense = Param::Value("size".into(), "much".into());
        let e = detached("tmpfs", &[nonsense], Attributes::empty()).unwrap_err();
        assert_eq!(errno(&e), Some(Errno::INVAL));
        assert!(e.to_string().contains("size"), "{e}");
    }
}
