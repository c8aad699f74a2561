//! Read-only views of layers: image volumes.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use super::digest::ChainId;
use super::error::StorageError;
use super::overlay::Overlay;
use super::record::{self, ViewOptions, ViewRecord};
use super::{Inner, Storage};
use crate::step::{self, Step};
use crate::sys::{mount, rooted};

impl Storage {
    /// Mounts what `layers` (bottom first) hold, or a part of it, read-only at `target`.
    ///
    /// `target` is made if missing, a file or a directory like what is mounted. Setuid bits and devices mean nothing in the view. A repeated call finds the view; a failure leaves nothing.
    pub async fn mount_view(
        &self,
        key: &str,
        layers: &[ChainId],
        options: ViewOptions,
        target: &Path,
    ) -> Result<(), StorageError> {
        let record = ViewRecord {
            users: options.users,
            key: key.to_owned(),
            layers: layers.to_vec(),
            sub_path: options.sub_path,
            context: options.context,
            target: target.to_owned(),
        };
        self.blocking(move |inner| inner.create_view(record)).await
    }

    /// Takes a view away. Succeeds if it is not there.
    pub async fn remove_view(&self, key: &str) -> Result<(), StorageError> {
        let key = key.to_owned();
        self.blocking(move |inner| inner.remove_view(&key)).await
    }

    /// Unmounts whatever is mounted at `target`. Succeeds if nothing is.
    pub async fn unmount(&self, target: &Path) -> Result<(), StorageError> {
        let target = target.to_owned();
        self.blocking(move |inner| {
            let viewed = inner
                .state()
                .views
                .values()
                .find(|v| v.target == target)
                .cloned();
            match viewed {
                Some(view) => inner.remove_view(&view.key),
                None => unmount(&target),
            }
        })
        .await
    }

    /// The views there are, mounted or not. Asks memory only.
    pub fn views(&self) -> Vec<ViewRecord> {
        self.inner.state().views.values().cloned().collect()
    }
}

impl Inner {
    fn create_view(&self, record: ViewRecord) -> Result<(), StorageError> {
        check_key(&record.key)?;
        let _turn = self.mount_turns.take(self.layout.view(&record.key));
        let fresh = {
            let mut state = self.state();
            match state.views.get(&record.key) {
                Some(there) if *there != record => {
                    return Err(StorageError::ViewExists {
                        key: record.key,
                        target: there.target.clone(),
                    });
                }
                Some(_) => false,
                None => {
                    state.check_layers(&record.layers)?;
                    state.views.insert(record.key.clone(), record.clone());
                    true
                }
            }
        };
        let made = self.mount_new_view(&record, fresh);
        if fresh
            && made.is_err()
            && let Err(e) = self.take_view_away(&record.key)
        {
            tracing::warn!(view = record.key, error = %e, "cleaning up a failed view");
        }
        made
    }

    /// Mounts a view; a fresh one even where something foreign is mounted.
    fn mount_new_view(&self, record: &ViewRecord, fresh: bool) -> Result<(), StorageError> {
        let target = &record.target;
        let fail = |source| StorageError::Mount {
            target: target.clone(),
            source,
        };
        if !fresh && mount::is_mountpoint(target).map_err(fail)? {
            return Ok(());
        }
        let dir = self.layout.view(&record.key);
        let path = dir.join("view.json");
        fs::create_dir_all(&dir)
            .and_then(|()| record::write(&path, record))
            .map_err(|source| StorageError::WriteRecord { path, source })?;
        let overlay = Overlay {
            lower: self.lower(&record.layers)?,
            inert: true,
            users: record.users.clone(),
            context: record.context.clone(),
            ..Overlay::default()
        };
        if is_top(&record.sub_path) {
            fs::create_dir_all(target).map_err(fail)?;
            overlay.mount(target, self.method).map_err(fail)?;
            step::reached(Step::ViewMounted);
            return Ok(());
        }
        // Only a part of an attached mount can be cloned on every kernel.
        let whole = dir.join("whole");
        fs::create_dir_all(&whole).map_err(fail)?;
        if !mount::is_mountpoint(&whole).map_err(fail)? {
            overlay.mount(&whole, self.method).map_err(fail)?;
            step::reached(Step::WholeMounted);
        }
        let mounted = mount_part(&whole, record);
        unmount(&whole)?;
        step::reached(Step::WholeUnmounted);
        mounted
    }

    fn remove_view(&self, key: &str) -> Result<(), StorageError> {
        if check_key(key).is_err() {
            return Ok(());
        }
        let _turn = self.mount_turns.take(self.layout.view(key));
        self.take_view_away(key)
    }

    fn take_view_away(&self, key: &str) -> Result<(), StorageError> {
        let record = self.state().views.get(key).cloned();
        if let Some(record) = &record {
            unmount(&record.target)?;
            step::reached(Step::ViewUnmounted);
        }
        let dir = self.layout.view(key);
        unmount(&dir.join("whole"))?;
        self.trash
            .take(&dir)
            .map_err(|source| StorageError::Unmount {
                target: dir,
                source,
            })?;
        self.state().views.remove(key);
        Ok(())
    }
}

fn mount_part(whole: &Path, record: &ViewRecord) -> Result<(), StorageError> {
    let target = &record.target;
    let inside = |source| StorageError::SubPath {
        path: record.sub_path.clone(),
        source,
    };
    let fail = |source| StorageError::Mount {
        target: target.clone(),
        source,
    };
    let root = rooted::open_root(whole).map_err(inside)?;
    let part = rooted::open_in_root(&root, &record.sub_path, OFlags::PATH).map_err(inside)?;
    let stat = rustix::fs::fstat(&part).map_err(|e| fail(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        fs::create_dir_all(target).map_err(fail)?;
    } else if !target.exists() {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        fs::File::create_new(target).map_err(fail)?;
    }
    let clone = mount::clone_tree(part.as_fd()).map_err(fail)?;
    mount::attach(clone.as_fd(), target).map_err(fail)?;
    step::reached(Step::ViewMounted);
    Ok(())
}

fn unmount(target: &Path) -> Result<(), StorageError> {
    mount::detach_all(target)
        .map(|_| ())
        .map_err(|source| StorageError::Unmount {
            target: target.to_owned(),
            source,
        })
}

fn is_top(sub_path: &Path) -> bool {
    sub_path.as_os_str().is_empty() || sub_path == Path::new("/") || sub_path == Path::new(".")
}

/// A key is a file name here.
fn check_key(key: &str) -> Result<(), StorageError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    let fits = (1..=200).contains(&key.len()) && key.chars().all(plain);
    if fits && key != "." && key != ".." {
        return Ok(());
    }
    Err(StorageError::ViewKey {
        key: key.chars().take(220).collect(),
    })
}
