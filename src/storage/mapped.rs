//! Overlays of layers whose files appear with the IDs of a user namespace.
//!
//! Overlay itself cannot map IDs, but takes layers from mounts that do; such mounts have to be attached
//! somewhere while it looks the layers up by path. They cover the layers' own directories, in a mount
//! namespace that only the mounting thread is in: nothing of them is left behind, whatever happens.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::overlay::{Method, Overlay};
use crate::id_map::{IdMapping, Owner, UserMappings};
use crate::sys::{aside, mount, users::Users};

/// Makes the overlay with its lower directories' IDs mapped, without attaching it. `target` is a directory
/// that nothing of the overlay lies below.
pub(crate) fn detached(
    overlay: &Overlay,
    users: &UserMappings,
    method: Method,
    target: &Path,
) -> io::Result<OwnedFd> {
    aside::run(|| {
        let users = Users::mapping(users).map_err(io::Error::other)?;
        for lower in &overlay.lower {
            let layer = mount::clone_mapped(lower, users.as_fd())?;
            mount::attach(layer.as_fd(), lower)?;
        }
        match method {
            Method::OneByOne => overlay.detached(),
            Method::OneOption => {
                overlay.mount_at(target)?;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = rustix::fs::open(target, flags, Mode::empty())?;
                mount::clone_tree(root.as_fd())
            }
        }
    })
}

/// Gives a directory that was made like one of a layer to whom that one's owner is on the host.
pub(crate) fn hand_over(dir: &Path, users: &UserMappings) -> io::Result<()> {
    let data = dir.metadata()?;
    let owner = users.owner(data.uid(), data.gid()).ok_or_else(|| {
        let text = format!(
            "the image's top directory is owned by {}:{}, which the user namespace does not map",
            data.uid(),
            data.gid()
        );
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    give(dir, owner)
}

fn give(path: &Path, owner: Owner) -> io::Result<()> {
    std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))
}

/// Finds out whether IDs can be mapped in `dir`, where overlay was tried out before, by doing it.
pub(crate) fn probe(dir: &Path, method: Method) -> io::Result<()> {
    let [lower, upper, work, at] =
        ["mapped", "upper-of-mapped", "work-of-mapped", "mapped-at"].map(|n| dir.join(n));
    for path in [&lower, &upper, &work, &at] {
        std::fs::create_dir_all(path)?;
    }
    std::fs::write(lower.join("file"), "")?;
    let one = vec![IdMapping {
        host_id: 1,
        container_id: 0,
        length: 1,
    }];
    let users = UserMappings {
        uids: one.clone(),
        gids: one,
    };
    let overlay = Overlay {
        lower: vec![lower],
        upper: Some((upper, work)),
        users: Some(users),
        ..Overlay::default()
    };
    overlay.mount(&at, method)?;
    let owner = at.join("file").metadata().map(|data| data.uid());
    mount::detach_all(&at)?;
    match owner? {
        1 => Ok(()),
        uid => Err(io::Error::other(format!(
            "overlay shows user ID {uid} for a mapped 1"
        ))),
    }
}
