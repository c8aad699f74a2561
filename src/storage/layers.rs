//! Unpacking layers, putting them in place and taking them away.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::ahead;
use super::compression::{self, Compression};
use super::digest::{ChainId, DiffId};
use super::error::StorageError;
use super::record::{self, LayerInfo};
use super::stream::HashedStream;
use super::tar::{TarError, TarReader};
use super::unpack::{self, UnpackError};
use super::{Inner, Storage, settle};
use crate::step::{self, Step};

/// A layer unpacked and verified, not yet in its place. Dropping it deletes it.
#[derive(Debug)]
pub struct Staged {
    storage: Storage,
    dir: PathBuf,
    info: LayerInfo,
    implicit: Vec<PathBuf>,
    whiteouts: Vec<PathBuf>,
    /// Completed by what its parents tell, and recorded.
    settled: bool,
    placed: bool,
}

impl Staged {
    /// The layer's name.
    pub fn chain(&self) -> ChainId {
        self.info.chain
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed {
            self.storage.inner.discard(&self.dir);
        }
    }
}

impl Storage {
    /// Unpacks a layer on top of `parent` and puts it in place, unless it is there.
    ///
    /// Blocks. `blob` is read to its end, but only if the layer was not there. Two calls for one layer do
    /// the work once, if the first succeeds. A failure leaves nothing.
    pub fn apply(
        &self,
        chain: ChainId,
        parent: Option<ChainId>,
        expect: DiffId,
        compression: Compression,
        blob: impl Read + Send,
    ) -> Result<LayerInfo, StorageError> {
        let _turn = self.inner.layer_turns.take(chain);
        if let Some(info) = self.layer(&chain) {
            return Ok(info);
        }
        if let Some(parent) = parent.filter(|parent| !self.has_layer(parent)) {
            return Err(StorageError::NoParent { chain, parent });
        }
        let staged = self.stage(chain, expect, compression, blob)?;
        self.commit(staged, parent)
    }

    /// Unpacks and verifies a layer aside, whether or not the layers beneath it are there.
    ///
    /// Blocks. Any number of layers can be staged at once; [`Storage::commit`] or
    /// [`Storage::commit_all`] then puts them in place from the bottom up.
    pub fn stage(
        &self,
        chain: ChainId,
        expect: DiffId,
        compression: Compression,
        blob: impl Read + Send,
    ) -> Result<Staged, StorageError> {
        let fail = |step| {
            move |source| StorageError::Commit {
                chain,
                step,
                source,
            }
        };
        let dir = self.inner.new_staging();
        let mut staged = Staged {
            storage: self.clone(),
            dir: dir.clone(),
            info: LayerInfo {
                chain,
                parent: None,
                diff_id: expect,
                size: 0,
                disk_bytes: 0,
                inodes: 0,
                opaque: false,
            },
            implicit: Vec::new(),
            whiteouts: Vec::new(),
            settled: false,
            placed: false,
        };
        let (diff, attic) = make_staging(&dir).map_err(fail("make the staging directory"))?;
        step::reached(Step::StagingMade);
        let unpack = |source| StorageError::Unpack {
            chain,
            source: Box::new(source),
        };
        let limits = self.inner.limits;
        let tail = |e| unpack(UnpackError::Tail(e));
        let stream = compression::decompress(blob, compression).map_err(tail)?;
        let stream = HashedStream::new(stream, limits.bytes);
        let (unpacked, found) = ahead::read(stream, |blocks| {
            let mut archive = TarReader::new(&mut *blocks);
            let unpacked = unpack::unpack(&mut archive, diff.as_fd(), attic.as_fd(), limits)
                .map_err(|e| unpack(clarify(e)))?;
            blocks.finish().map_err(tail)?;
            Ok(unpacked)
        })
        .map_err(tail)?;
        let unpacked = unpacked?;
        // It was read to its end, so there is one.
        let found = found.ok_or_else(|| tail(ahead::broken_off()))?;
        if found != expect {
            return Err(StorageError::WrongDiffId {
                chain,
                expected: expect,
                found,
            });
        }
        if unpacked.dropped_xattrs > 0 {
            tracing::debug!(%chain, count = unpacked.dropped_xattrs, "extended attributes not kept");
        }
        staged.info.size = unpacked.size;
        staged.info.disk_bytes = unpacked.disk_bytes;
        staged.info.inodes = unpacked.inodes;
        staged.info.opaque = unpacked.opaque_top;
        staged.implicit = unpacked.implicit;
        staged.whiteouts = unpacked.whiteouts;
        step::reached(Step::LayerUnpacked);
        Ok(staged)
    }

    /// Puts a staged layer in place on top of `parent`, durably.
    pub fn commit(
        &self,
        staged: Staged,
        parent: Option<ChainId>,
    ) -> Result<LayerInfo, StorageError> {
        let chain = staged.chain();
        let mut infos = self.commit_all(vec![(staged, parent)])?;
        infos.pop().ok_or(StorageError::NoLayer { chain })
    }

    /// Puts staged layers in place, in the order given (bottom first), with a single sync for all.
    ///
    /// Each parent is there already or comes before. Blocks until everything is durable; if it fails,
    /// layers already in place stay and the rest is deleted.
    pub fn commit_all(
        &self,
        staged: Vec<(Staged, Option<ChainId>)>,
    ) -> Result<Vec<LayerInfo>, StorageError> {
        let mut pending: HashMap<ChainId, (PathBuf, Option<ChainId>)> = HashMap::new();
        let mut ready = Vec::with_capacity(staged.len());
        for (mut staged, parent) in staged {
            let chain = staged.chain();
            staged.info.parent = parent;
            if !self.has_layer(&chain) && !pending.contains_key(&chain) {
                self.settle(&mut staged, parent, &pending)?;
                staged.settled = true;
                pending.insert(chain, (staged.dir.join("diff"), parent));
            }
            ready.push(staged);
        }
        if let Some(first) = ready.iter().find(|s| pending.contains_key(&s.chain())) {
            let chain = first.chain();
            self.inner
                .syncs
                .sync(self.inner.root.as_fd())
                .map_err(|e| StorageError::Commit {
                    chain,
                    step: "sync the file system",
                    source: e.into(),
                })?;
            step::reached(Step::LayersSynced);
        }
        let mut infos = Vec::with_capacity(ready.len());
        for staged in &mut ready {
            infos.push(self.place(staged)?);
        }
        if let Some(last) = ready.last().filter(|_| !pending.is_empty()) {
            rustix::fs::fsync(&self.inner.layers).map_err(|e| StorageError::Commit {
                chain: last.chain(),
                step: "sync the directory of layers",
                source: e.into(),
            })?;
            step::reached(Step::LayersDirectorySynced);
        }
        Ok(infos)
    }

    /// Completes a staged layer with what only its parents can tell, and its record.
    fn settle(
        &self,
        staged: &mut Staged,
        parent: Option<ChainId>,
        pending: &HashMap<ChainId, (PathBuf, Option<ChainId>)>,
    ) -> Result<(), StorageError> {
        let chain = staged.chain();
        let fail = |step| {
            move |source| StorageError::Commit {
                chain,
                step,
                source,
            }
        };
        let mut beneath = Vec::new();
        let mut next = parent;
        while let Some(parent) = next {
            let diff = match pending.get(&parent) {
                Some((diff, below)) => {
                    next = *below;
                    diff.clone()
                }
                None => {
                    let info = self.layer(&parent);
                    next = info.ok_or(StorageError::NoParent { chain, parent })?.parent;
                    self.inner.layout.diff(&parent)
                }
            };
            if !staged.implicit.is_empty() || !staged.whiteouts.is_empty() {
                beneath.push(open_directory(&diff).map_err(fail("open a layer beneath"))?);
            }
        }
        let diff = open_directory(&staged.dir.join("diff")).map_err(fail("open the layer"))?;
        let pruned = settle::prune(diff.as_fd(), &staged.whiteouts, &beneath)
            .map_err(fail("drop whiteouts that hide nothing"))?;
        staged.info.inodes = staged.info.inodes.saturating_sub(pruned);
        settle::inherit(diff.as_fd(), &staged.implicit, &beneath)
            .map_err(fail("take over directories from the layers beneath"))?;
        self.inner.discard(&staged.dir.join("attic"));
        record::write(&staged.dir.join("layer.json"), &staged.info)
            .map_err(fail("write the record"))
    }

    /// Moves a settled and synced layer to its place, unless another came first.
    fn place(&self, staged: &mut Staged) -> Result<LayerInfo, StorageError> {
        let chain = staged.chain();
        let to = self.inner.layout.layer(&chain);
        let mut state = self.inner.state();
        if let Some(info) = state.layers.get(&chain) {
            return Ok(info.clone());
        }
        if !staged.settled {
            // It was there when the commit began, and was removed meanwhile.
            return Err(StorageError::NoLayer { chain });
        }
        let parent = staged.info.parent;
        if let Some(parent) = parent.filter(|p| !state.layers.contains_key(p)) {
            return Err(StorageError::NoParent { chain, parent });
        }
        fs::rename(&staged.dir, &to).map_err(|source| StorageError::Commit {
            chain,
            step: "move it to its place",
            source,
        })?;
        staged.placed = true;
        step::reached(Step::LayerPlaced);
        state.layers.insert(chain, staged.info.clone());
        Ok(staged.info.clone())
    }

    /// Takes a layer away. Succeeds if it is not there; refuses while anything lies on it.
    ///
    /// Blocks for a rename; its files are deleted in the background.
    pub fn remove_layer(&self, chain: &ChainId) -> Result<(), StorageError> {
        let mut state = self.inner.state();
        if let Some(user) = state.user_of(chain) {
            return Err(StorageError::LayerInUse {
                chain: *chain,
                user,
            });
        }
        self.inner
            .trash
            .take(&self.inner.layout.layer(chain))
            .map_err(|source| StorageError::RemoveLayer {
                chain: *chain,
                source,
            })?;
        step::reached(Step::LayerTrashed);
        state.layers.remove(chain);
        Ok(())
    }

    /// Whether the layer is there. Asks memory only.
    pub fn has_layer(&self, chain: &ChainId) -> bool {
        self.inner.state().layers.contains_key(chain)
    }

    /// What is known of a layer. Asks memory only.
    pub fn layer(&self, chain: &ChainId) -> Option<LayerInfo> {
        self.inner.state().layers.get(chain).cloned()
    }

    /// All layers. Asks memory only.
    pub fn layers(&self) -> Vec<LayerInfo> {
        self.inner.state().layers.values().cloned().collect()
    }
}

impl Inner {
    /// Deletes something in the background; what cannot even be moved waits for the next start.
    pub(crate) fn discard(&self, path: &Path) {
        if let Err(e) = self.trash.take(path) {
            tracing::warn!(path = %path.display(), error = %e, "could not move to the trash");
        }
    }
}

fn make_staging(dir: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let (diff, attic) = (dir.join("diff"), dir.join("attic"));
    fs::create_dir(dir)?;
    fs::create_dir(&diff)?;
    fs::create_dir(&attic)?;
    fs::set_permissions(&diff, fs::Permissions::from_mode(0o755))?;
    Ok((open_directory(&diff)?, open_directory(&attic)?))
}

pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Tells a layer that is too large from one that cannot be read.
fn clarify(error: UnpackError) -> UnpackError {
    if let UnpackError::Archive {
        source: TarError::Read(read),
        ..
    } = &error
    {
        let large = read
            .get_ref()
            .and_then(|e| e.downcast_ref::<super::stream::StreamTooLarge>());
        if let Some(large) = large {
            return UnpackError::Limit {
                what: "bytes",
                limit: large.0,
            };
        }
    }
    error
}
