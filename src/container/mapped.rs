//! Volumes whose IDs are mapped, for runtimes that cannot do it.
//!
//! Each is mounted on the host, already mapped, for as long as the runtime takes to make the container: the
//! runtime binds it from there, and the container keeps what it has bound. Nothing here ever deletes what is
//! below such a mount: places are unmounted, and removed only as empty files and directories.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use crate::{
    id_map::UserMappings,
    oci::mount::ResolvedMount,
    step::{self, Step},
    sys::{
        mount,
        users::{Users, UsersError},
    },
};

/// A volume that cannot be mapped, or a place of one that stays.
#[derive(Debug, thiserror::Error)]
pub enum MappedError {
    /// No user namespace to map by.
    #[error("ID mappings of the mount on {}", destination.display())]
    Users {
        /// Where it was to be mounted.
        destination: PathBuf,
        /// Why.
        #[source]
        source: UsersError,
    },
    /// The mount cannot be made.
    #[error("mapping the IDs of {} (for {})", path.display(), destination.display())]
    Map {
        /// What is to be mounted.
        path: PathBuf,
        /// Where it was to be mounted.
        destination: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A place to mount on cannot be made or taken away.
    #[error("{step} {}", path.display())]
    Place {
        /// What was tried.
        step: &'static str,
        /// The place.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn place(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MappedError {
    let path = path.to_owned();
    move |source| MappedError::Place { step, path, source }
}

/// Mounts what has mappings below `dir`, and has each such mount come from there with no mappings left to
/// do. Blocks.
pub(super) fn mount(dir: &Path, mounts: &mut [ResolvedMount]) -> Result<(), MappedError> {
    let with_mappings = |m: &&mut ResolvedMount| !m.mount.uid_mappings.is_empty();
    for (n, resolved) in mounts.iter_mut().filter(with_mappings).enumerate() {
        if n == 0 {
            DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(dir)
                .map_err(place("making", dir))?;
        }
        let target = dir.join(n.to_string());
        mount_one(resolved, &target)?;
        resolved.source = target;
        resolved.mount.uid_mappings.clear();
        resolved.mount.gid_mappings.clear();
    }
    Ok(())
}

fn mount_one(resolved: &ResolvedMount, target: &Path) -> Result<(), MappedError> {
    let destination = || resolved.mount.container_path.clone();
    let mappings = UserMappings {
        uids: resolved.mount.uid_mappings.clone(),
        gids: resolved.mount.gid_mappings.clone(),
    };
    let users = Users::mapping(&mappings).map_err(|source| MappedError::Users {
        destination: destination(),
        source,
    })?;
    let made = if resolved.is_directory {
        DirBuilder::new().mode(0o700).create(target)
    } else {
        let mut new = File::options();
        new.write(true).create_new(true).mode(0o600);
        new.open(target).map(drop)
    };
    made.map_err(place("making", target))?;
    step::reached(Step::MappedPlaced);
    mount::clone_mapped(&resolved.source, users.as_fd())
        .and_then(|mapped| mount::attach(mapped.as_fd(), target))
        .map_err(|source| MappedError::Map {
            path: resolved.source.clone(),
            destination: destination(),
            source,
        })?;
    step::reached(Step::MappedMounted);
    Ok(())
}

/// Takes all below `dir` away again, and `dir`. Does nothing where there is none. Blocks.
pub(crate) fn unmount(dir: &Path) -> Result<(), MappedError> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(place("reading", dir))?,
    };
    for entry in entries {
        let path = entry.map_err(place("reading", dir))?.path();
        mount::detach_all(&path).map_err(place("unmounting", &path))?;
        step::reached(Step::MappedUnmounted);
        // What is still mounted is busy, and what holds anything is not empty: neither is removed.
        let is_dir = path.symlink_metadata().is_ok_and(|data| data.is_dir());
        let removed = if is_dir {
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(place("removing", &path))?;
        step::reached(Step::MappedRemoved);
    }
    fs::remove_dir(dir).map_err(place("removing", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        container::spec::{Mount, MountSource, Propagation, ReadOnly},
        id_map::IdMapping,
        oci::mountinfo::Peers,
    };
    use std::os::unix::fs::MetadataExt;

    fn resolved(source: &Path, host_id: Option<u32>) -> ResolvedMount {
        let list: Vec<_> = host_id
            .into_iter()
            .map(|host_id| IdMapping {
                host_id,
                container_id: 0,
                length: 100,
            })
            .collect();
        ResolvedMount {
            mount: Mount {
                container_path: "/data".into(),
                source: MountSource::Host(source.to_owned()),
                read_only: ReadOnly::No,
                selinux_relabel: false,
                propagation: Propagation::Private,
                uid_mappings: list.clone(),
                gid_mappings: list,
                options: vec![],
            },
            source: source.to_owned(),
            is_directory: source.is_dir(),
            peers: Peers::default(),
            mounted_on: "/".into(),
        }
    }

    #[test]
    fn directories_and_files_are_mapped_and_outlive_their_mounts() {
        let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
        let (dir, file) = (scratch.path().join("dir"), scratch.path().join("file"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("precious"), "1").unwrap();
        fs::write(&file, "2").unwrap();
        let at = scratch.path().join("mapped");
        let mut mounts = vec![
            resolved(&dir, Some(70_000)),
            resolved(&file, None),
            resolved(&file, Some(80_000)),
        ];
        mount(&at, &mut mounts).unwrap();
        let owners: Vec<_> = mounts
            .iter()
            .map(|m| m.source.metadata().unwrap().uid())
            .collect();
        let seen = fs::read_to_string(mounts[0].source.join("precious"));
        unmount(&at).unwrap();
        assert_eq!(owners, [70_000, 0, 80_000]);
        assert_eq!(seen.unwrap(), "1");
        assert!(mounts.iter().all(|m| m.mount.uid_mappings.is_empty()));
        assert_eq!(mounts[1].source, file);
        assert!(!at.exists());
        assert_eq!(fs::read_to_string(dir.join("precious")).unwrap(), "1");
        assert_eq!(fs::read_to_string(file).unwrap(), "2");
        unmount(&at).unwrap();
    }

    #[test]
    fn what_is_no_empty_place_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("mapped");
        fs::create_dir_all(at.join("0/something")).unwrap();
        let error = unmount(&at).unwrap_err();
        assert!(matches!(error, MappedError::Place { .. }), "{error}");
        assert!(at.join("0/something").exists());
    }

    #[test]
    fn a_file_system_that_cannot_says_so() {
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("mapped");
        let mut mounts = vec![resolved(Path::new("/proc/sys"), Some(70_000))];
        let error = mount(&at, &mut mounts).unwrap_err();
        unmount(&at).unwrap();
        assert_eq!(
            crate::causes::whole(&error),
            "mapping the IDs of /proc/sys (for /data): its file system cannot map IDs: \
             Invalid argument (os error 22)"
        );
    }
}
