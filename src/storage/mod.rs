//! Image layers and the root file systems built from them.
//!
//! A layer is a directory named by its chain ID. It is unpacked aside, verified while it streams, synced,
//! and only then moved to its place together with its record: what is in place is whole, after a crash or
//! a power cut too, and what a killed process leaves lies where [`Storage::open`] deletes it. Layers know
//! nothing of each other's files, so any number can be unpacked at once, children before parents; what
//! little a child takes from its parents is settled when it is committed.
//!
//! A container's root file system is an overlay mount of its layers and a directory of its own.

mod ahead;
pub mod compression;
pub mod digest;
pub mod entry;
mod error;
mod layers;
mod layout;
mod limits;
mod mapped;
mod metadata;
mod overlay;
pub(crate) mod record;
mod rootfs;
mod settle;
mod state;
mod stream;
mod sync;
pub(crate) mod tar;
mod trash;
mod turns;
mod unpack;
mod usage;
mod view;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;

use crate::causes::whole;
use crate::step::{self, Step};
pub use crate::sys::rooted as path;
use crate::sys::{exclusive, mount};
pub use compression::Compression;
pub use digest::{ChainId, DiffId, DigestError};
pub use error::StorageError;
pub use layers::Staged;
pub use limits::Limits;
pub use record::{LayerInfo, RootfsOptions, RootfsRecord, ViewOptions, ViewRecord};
pub use rootfs::Rootfs;
pub use tar::TarError;
pub use unpack::UnpackError;
pub use usage::Usage;

/// The storage of layers and root file systems. Clones share it.
#[derive(Debug, Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    layout: layout::Layout,
    limits: Limits,
    method: overlay::Method,
    /// Why IDs of layers cannot be mapped, if they cannot.
    unmapped: Option<String>,
    /// The storage's directory, and that of its layers, for syncing.
    root: OwnedFd,
    layers: OwnedFd,
    state: Mutex<state::State>,
    trash: trash::Trash,
    syncs: sync::SharedSync,
    layer_turns: turns::Turns<ChainId>,
    /// Of containers and views, by the directories they have here.
    mount_turns: turns::Turns<PathBuf>,
    staged: AtomicU64,
    set_aside: Vec<SetAside>,
    /// Held for as long as the storage is open.
    _lock: File,
}

/// Something in the storage that could not be understood and was moved out of the way.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// Where it lies now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

impl Storage {
    /// Opens the storage in the directory `root`/storage, with the default limits on layers.
    ///
    /// Makes it if it is not there. Tries out that overlay works there, deletes what a killed process
    /// left, and reads the records; anything that cannot be read is set aside and never stops the start.
    pub fn open(root: &Path) -> Result<Self, StorageError> {
        Self::open_with(root, Limits::default())
    }

    /// Opens the storage with other limits on layers.
    pub fn open_with(root: &Path, limits: Limits) -> Result<Self, StorageError> {
        let root = root.join("storage");
        let prepare = |(path, source)| StorageError::Prepare { path, source };
        let layout = layout::Layout::create(&root).map_err(prepare)?;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| StorageError::Prepare { path, source }
        };
        let lock = exclusive::open(&layout.lock()).map_err(at(&layout.lock()))?;
        exclusive::lock(&lock).map_err(|e| match e {
            rustix::io::Errno::WOULDBLOCK => StorageError::Locked { path: root.clone() },
            e => at(&layout.lock())(e.into()),
        })?;
        for dir in [layout.staging(), layout.trash()] {
            detach_within(&dir).map_err(at(&dir))?;
        }
        let trash = trash::Trash::open(layout.trash()).map_err(at(&layout.trash()))?;
        for entry in std::fs::read_dir(layout.staging()).map_err(at(&layout.staging()))? {
            let entry = entry.map_err(at(&layout.staging()))?;
            trash.take(&entry.path()).map_err(at(&entry.path()))?;
            step::reached(Step::StagingSwept);
        }
        let (method, unmapped) = probe(&layout)?;
        let mut set_aside = Vec::new();
        let state = load(&layout, &trash, &mut set_aside).map_err(prepare)?;
        let inner = Inner {
            root: layers::open_directory(&root).map_err(at(&root))?,
            layers: layers::open_directory(&layout.layers()).map_err(at(&layout.layers()))?,
            layout,
            limits,
            method,
            unmapped,
            state: Mutex::new(state),
            trash,
            syncs: sync::SharedSync::default(),
            layer_turns: turns::Turns::default(),
            mount_turns: turns::Turns::default(),
            staged: AtomicU64::new(0),
            set_aside,
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What could not be understood when the storage was opened.
    pub fn set_aside(&self) -> &[SetAside] {
        &self.inner.set_aside
    }

    /// Why layers cannot be mounted with their IDs mapped; `None` when they can. Found out by trying when the
    /// storage was opened.
    pub fn unmapped_because(&self) -> Option<&str> {
        self.inner.unmapped.as_deref()
    }

    /// The directory that holds everything.
    pub fn root(&self) -> &Path {
        self.inner.layout.root()
    }

    /// Runs blocking work on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(StorageError::Worker)?
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, state::State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A staging directory's path that no other has.
    fn new_staging(&self) -> PathBuf {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        self.layout.staging().join(number.to_string())
    }
}

/// Unmounts what is mounted in the directories in `dir`: a process that was killed while it tried overlay out has left
/// that mounted, and what is mounted cannot be deleted.
fn detach_within(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        for inner in std::fs::read_dir(entry.path())? {
            mount::detach_all(&inner?.path())?;
        }
    }
    Ok(())
}

/// Tries overlay out and says what to do where it does not work; where it does, whether it can map IDs too.
fn probe(layout: &layout::Layout) -> Result<(overlay::Method, Option<String>), StorageError> {
    let dir = layout.staging().join("probe");
    let probed = overlay::probe(&dir);
    let mapped = match &probed {
        Ok(method) => mapped::probe(&dir, *method),
        Err(_) => Ok(()),
    };
    let removed = std::fs::remove_dir_all(&dir);
    let method = probed.map_err(|source| {
        let nested = overlay::lies_on_overlay(layout.root()).unwrap_or(false);
        let hint = if nested {
            "it lies on an overlay itself, as inside a container; put it on a volume"
        } else if source.kind() == io::ErrorKind::PermissionDenied {
            "mounting takes root and CAP_SYS_ADMIN"
        } else {
            "it wants a kernel with overlayfs, and a file system with extended attributes such as \
             ext4, xfs with ftype=1, or btrfs"
        };
        StorageError::NoOverlay {
            path: layout.root().to_owned(),
            hint: hint.to_owned(),
            source,
        }
    })?;
    removed.map_err(|source| StorageError::Prepare { path: dir, source })?;
    let unmapped = mapped
        .err()
        .map(|e| format!("{}: {}", layout.root().display(), whole(&e)));
    Ok((method, unmapped))
}

/// Reads all records; moves away what has none that can be read.
fn load(
    layout: &layout::Layout,
    trash: &trash::Trash,
    set_aside: &mut Vec<SetAside>,
) -> Result<state::State, (PathBuf, io::Error)> {
    let mut state = state::State::default();
    let mut aside = |path: PathBuf, reason: String| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut to = layout.set_aside().join(name.as_ref());
        let mut number = 0;
        while to.symlink_metadata().is_ok() {
            number += 1;
            to = layout.set_aside().join(format!("{name}.{number}"));
        }
        tracing::warn!(path = %path.display(), reason, "set aside");
        std::fs::rename(&path, &to).map_err(|e| (path, e))?;
        set_aside.push(SetAside { path: to, reason });
        Ok(())
    };
    for (path, read) in records::<LayerInfo>(&layout.layers(), "layer.json")? {
        match read {
            Ok(info) if layout.layer(&info.chain) == path => {
                state.layers.insert(info.chain, info);
            }
            Ok(_) => aside(path, "the record is of another layer".into())?,
            Err(e) => aside(path, e.to_string())?,
        }
    }
    // A container or a view whose record never got written was never mounted.
    let unborn = |path: &Path, e: io::Error| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => trash
            .take(path)
            .map(|_| {
                step::reached(Step::UnbornSwept);
                None
            })
            .map_err(|e| (path.to_owned(), e)),
        _ => Ok(Some(e.to_string())),
    };
    for (path, read) in records::<RootfsRecord>(&layout.containers(), "rootfs.json")? {
        match read {
            Ok(record) if layout.container(&record.container) == path => {
                state.containers.insert(record.container.clone(), record);
            }
            Ok(_) => aside(path, "the record is of another container".into())?,
            Err(e) => {
                if let Some(reason) = unborn(&path, e)? {
                    aside(path, reason)?;
                }
            }
        }
    }
    for (path, read) in records::<ViewRecord>(&layout.views(), "view.json")? {
        match read {
            Ok(view) if layout.view(&view.key) == path => {
                state.views.insert(view.key.clone(), view);
            }
            Ok(_) => aside(path, "the record is of another view".into())?,
            Err(e) => {
                if let Some(reason) = unborn(&path, e)? {
                    aside(path, reason)?;
                }
            }
        }
    }
    Ok(state)
}

type Records<T> = Vec<(PathBuf, io::Result<T>)>;

fn records<T: DeserializeOwned>(
    dir: &Path,
    name: &str,
) -> Result<Records<T>, (PathBuf, io::Error)> {
    let fail = |e| (dir.to_owned(), e);
    let mut records = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let read = record::read(&path.join(name));
        records.push((path, read));
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
