//! Root file systems of containers: layers beneath, a directory of their own on top.

use std::fs;
use std::path::{Path, PathBuf};

use super::digest::ChainId;
use super::error::StorageError;
use super::mapped;
use super::metadata;
use super::overlay::{MAX_LAYERS, Overlay};
use super::record::{self, RootfsOptions, RootfsRecord};
use super::{Inner, Storage};
use crate::id::Id;
use crate::step::{self, Step};
use crate::sys::mount;

/// A mounted root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The directory that holds what the container wrote, unless it is mounted without.
    pub upper: Option<PathBuf>,
}

impl Storage {
    /// Mounts `layers`, bottom first as images list them, with a fresh directory to write to, at
    /// `mountpoint`, which is made if missing.
    ///
    /// A repeated call for the same layers and mountpoint returns the root file system that is there. A
    /// failure leaves nothing.
    pub async fn create_rootfs(
        &self,
        container: &Id,
        layers: &[ChainId],
        mountpoint: &Path,
        options: RootfsOptions,
    ) -> Result<Rootfs, StorageError> {
        let record = RootfsRecord {
            container: container.clone(),
            layers: layers.to_vec(),
            mountpoint: mountpoint.to_owned(),
            options,
        };
        self.blocking(move |inner| inner.create_rootfs(record))
            .await
    }

    /// Mounts a container's root file system again, with what the container wrote, as after a reboot.
    ///
    /// Does nothing if it is mounted.
    pub async fn remount_rootfs(&self, container: &Id) -> Result<Rootfs, StorageError> {
        let container = container.clone();
        self.blocking(move |inner| {
            let _turn = inner.mount_turns.take(inner.layout.container(&container));
            let record = inner.state().containers.get(&container).cloned();
            let record = record.ok_or(StorageError::NoRootfs { container })?;
            inner.mount_rootfs(&record, false)
        })
        .await
    }

    /// Unmounts a container's root file system and takes away what the container wrote.
    ///
    /// Succeeds if there is none. Files are deleted in the background.
    pub async fn remove_rootfs(&self, container: &Id) -> Result<(), StorageError> {
        let container = container.clone();
        self.blocking(move |inner| inner.remove_rootfs(&container))
            .await
    }

    /// The root file systems there are, mounted or not. Asks memory only.
    pub fn rootfs_records(&self) -> Vec<RootfsRecord> {
        self.inner.state().containers.values().cloned().collect()
    }
}

impl Inner {
    fn create_rootfs(&self, record: RootfsRecord) -> Result<Rootfs, StorageError> {
        let id = record.container.clone();
        let _turn = self.mount_turns.take(self.layout.container(&id));
        let fresh = {
            let mut state = self.state();
            match state.containers.get(&id) {
                Some(there) if *there != record => {
                    return Err(StorageError::RootfsExists {
                        container: id,
                        mountpoint: there.mountpoint.clone(),
                    });
                }
                Some(_) => false,
                None => {
                    state.check_layers(&record.layers)?;
                    // From here on the layers cannot be removed.
                    state.containers.insert(id.clone(), record.clone());
                    true
                }
            }
        };
        let made = self
            .prepare_rootfs(&record)
            .and_then(|()| self.mount_rootfs(&record, fresh));
        if fresh
            && made.is_err()
            && let Err(e) = self.take_rootfs_away(&id)
        {
            tracing::warn!(container = %id, error = %e, "cleaning up a failed root file system");
        }
        made
    }

    /// Makes the directories of a root file system, as far as they are missing.
    fn prepare_rootfs(&self, record: &RootfsRecord) -> Result<(), StorageError> {
        let dir = self.layout.container(&record.container);
        let fail = |step| {
            let container = record.container.clone();
            move |source| StorageError::PrepareRootfs {
                container,
                step,
                source,
            }
        };
        if dir.join("rootfs.json").exists() {
            return Ok(());
        }
        fs::create_dir_all(&dir).map_err(fail("make its directory"))?;
        if !record.options.read_only {
            let upper = dir.join("upper");
            fs::create_dir_all(&upper).map_err(fail("make the upper directory"))?;
            // The top directory appears with the attributes of the upper one.
            let top = record.layers.last().map(|top| self.layout.diff(top));
            metadata::copy_directory(&top.unwrap_or_else(|| self.layout.empty()), &upper)
                .map_err(fail("copy the attributes of the top directory"))?;
            if let Some(users) = &record.options.users {
                mapped::hand_over(&upper, users).map_err(fail("own the top directory"))?;
            }
        }
        step::reached(Step::UpperMade);
        let path = dir.join("rootfs.json");
        record::write(&path, record).map_err(|source| StorageError::WriteRecord { path, source })
    }

    /// Mounts a root file system; a fresh one even where something foreign is mounted.
    fn mount_rootfs(&self, record: &RootfsRecord, fresh: bool) -> Result<Rootfs, StorageError> {
        let dir = self.layout.container(&record.container);
        let target = &record.mountpoint;
        let upper = (!record.options.read_only).then(|| dir.join("upper"));
        let rootfs = Rootfs {
            mountpoint: target.clone(),
            upper: upper.clone(),
        };
        let fail = |source| StorageError::Mount {
            target: target.clone(),
            source,
        };
        if !fresh && mount::is_mountpoint(target).map_err(fail)? {
            return Ok(rootfs);
        }
        fs::create_dir_all(target).map_err(fail)?;
        let upper = match upper {
            None => None,
            Some(upper) => {
                // What an earlier mount left there would be refused, or cleaned up under way.
                let work = dir.join("work");
                self.trash.take(&work).map_err(fail)?;
                fs::create_dir(&work).map_err(fail)?;
                Some((upper, work))
            }
        };
        let overlay = Overlay {
            lower: self.lower(&record.layers)?,
            upper,
            volatile: record.options.volatile,
            context: record.options.context.clone(),
            inert: false,
            users: record.options.users.clone(),
        };
        overlay.mount(target, self.method).map_err(fail)?;
        step::reached(Step::RootfsMounted);
        Ok(rootfs)
    }

    fn remove_rootfs(&self, container: &Id) -> Result<(), StorageError> {
        let _turn = self.mount_turns.take(self.layout.container(container));
        self.take_rootfs_away(container)
    }

    fn take_rootfs_away(&self, container: &Id) -> Result<(), StorageError> {
        let record = self.state().containers.get(container).cloned();
        if let Some(record) = &record {
            let target = &record.mountpoint;
            mount::detach_all(target).map_err(|source| StorageError::Unmount {
                target: target.clone(),
                source,
            })?;
            step::reached(Step::RootfsUnmounted);
        }
        self.trash
            .take(&self.layout.container(container))
            .map_err(|source| StorageError::RemoveRootfs {
                container: container.clone(),
                source,
            })?;
        step::reached(Step::RootfsTrashed);
        let mut state = self.state();
        state.containers.remove(container);
        state.uppers.remove(container);
        Ok(())
    }

    /// The directories to stack for `layers` (bottom first), top first.
    pub(crate) fn lower(&self, layers: &[ChainId]) -> Result<Vec<PathBuf>, StorageError> {
        if layers.len() >= MAX_LAYERS {
            return Err(StorageError::TooManyLayers {
                count: layers.len(),
                max: MAX_LAYERS - 1,
            });
        }
        let mut lower = Vec::with_capacity(layers.len() + 1);
        let state = self.state();
        for chain in layers.iter().rev() {
            let info = state.layers.get(chain);
            let info = info.ok_or(StorageError::NoLayer { chain: *chain })?;
            lower.push(self.layout.diff(chain));
            // Overlay does not ask the top directories whether they hide anything.
            if info.opaque {
                break;
            }
        }
        // A view of one layer is still an overlay, or its whiteouts would show; and an image may have none.
        lower.push(self.layout.empty());
        Ok(lower)
    }
}
