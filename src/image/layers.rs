//! Layers from wherever they come into the storage: several at a time, each of them once.

use std::{
    io::{self, Read},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    committer::{Arrivals, Committer},
    digest::Digest,
    error::ImageError,
    manifest::Layer,
    progress::{Board, Phase},
    record::LayerRecord,
    remote::Remote,
    stream::{Mismatch, Verdict, Verified, pipe},
};
use crate::locks::Locks;
use crate::storage::{ChainId, Compression, DiffId, LayerInfo, Staged, Storage, StorageError};

/// Most bytes of a damaged layer that are read to tell whether its digest is wrong too.
const MAX_DRAIN: u64 = 64 << 20;

/// How long a layer of which nothing comes counts among those under way.
const SILENCE: Duration = Duration::from_secs(5);

/// A layer unpacked, or not.
type Unpacked = Result<Staged, StorageError>;

/// A layer to have.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// How it comes.
    pub(crate) layer: Layer,
    /// What it is once uncompressed.
    pub(crate) diff: DiffId,
    /// Its place.
    pub(crate) chain: ChainId,
    /// The layer below.
    pub(crate) parent: Option<ChainId>,
}

/// Blobs that lie on this machine.
pub(crate) trait Blobs: Send + Sync {
    /// Opens the blob of a layer.
    fn open(&self, layer: &Layer) -> Result<Box<dyn Read + Send>, ImageError>;
}

/// Where the layers come from.
#[derive(Clone)]
pub(crate) enum Origin {
    /// A registry.
    Remote(Arc<Remote>),
    /// An archive or a directory.
    Local(Arc<dyn Blobs>),
}

/// Brings layers into the storage.
#[derive(Debug, Clone)]
pub(crate) struct Unpacker {
    storage: Storage,
    locks: Arc<Locks<ChainId>>,
    /// Of all images together.
    total: Arc<Semaphore>,
    per_image: usize,
}

/// The layers of an image: what each is once unpacked, and below which.
pub(crate) fn wanted(layers: &[Layer], diff_ids: &[Digest]) -> Vec<Wanted> {
    let diffs: Vec<DiffId> = diff_ids.iter().map(diff_id).collect();
    let chains = ChainId::of(&diffs);
    let parents = std::iter::once(None).chain(chains.iter().copied().map(Some));
    layers
        .iter()
        .zip(diffs)
        .zip(chains.iter().copied().zip(parents))
        .map(|((layer, diff), (chain, parent))| Wanted {
            layer: layer.clone(),
            diff,
            chain,
            parent,
        })
        .collect()
}

fn diff_id(digest: &Digest) -> DiffId {
    let mut bytes = [0u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(digest.hex().as_bytes().chunks(2)) {
        *byte = pair.iter().fold(0, |n, c| {
            n << 4 | (*c as char).to_digit(16).unwrap_or(0) as u8
        });
    }
    DiffId::from_bytes(bytes)
}

impl Unpacker {
    pub(crate) fn new(storage: Storage, per_image: usize, total: usize) -> Self {
        Self {
            storage,
            locks: Arc::default(),
            total: Arc::new(Semaphore::new(total.max(1))),
            per_image: per_image.max(1),
        }
    }

    /// Brings all layers of an image in, or says which could not be and why.
    ///
    /// Those that came stay, for the next try.
    pub(crate) async fn bring(
        &self,
        image: &str,
        wanted: Vec<Wanted>,
        origin: &Origin,
        board: &Board,
    ) -> Result<Vec<LayerRecord>, ImageError> {
        let count = wanted.len();
        let slots = Arc::new(Semaphore::new(self.per_image));
        let cancel = CancellationToken::new();
        let (arrivals, committer) = Committer::new(image, self.storage.clone());
        let committer = tokio::spawn(committer.run());
        let mut tasks = JoinSet::new();
        for (index, wanted) in wanted.into_iter().enumerate() {
            let present = self.storage.has_layer(&wanted.chain);
            let task = Task {
                unpacker: self.clone(),
                image: image.to_owned(),
                wanted,
                origin: origin.clone(),
                board: board.clone(),
                index,
                arrivals: arrivals.clone(),
                cancel: cancel.clone(),
            };
            // Slots are given from the bottom up: what is above waits for what is below in the end.
            let slot = match present {
                true => None,
                false => slots.clone().acquire_owned().await.ok(),
            };
            tasks.spawn(async move { (index, task.run(slot).await) });
        }
        drop(arrivals);
        let mut records: Vec<Option<LayerRecord>> = vec![None; count];
        let mut failed: Option<ImageError> = None;
        while let Some(joined) = tasks.join_next().await {
            let error = match joined {
                Ok((index, Ok(record))) => {
                    records[index] = Some(record);
                    continue;
                }
                Ok((_, Err(error))) => error,
                Err(_) => ImageError::Interrupted {
                    image: image.to_owned(),
                },
            };
            cancel.cancel();
            // What was merely given up because of the first failure says nothing.
            if matches!(failed, None | Some(ImageError::Interrupted { .. })) {
                failed = Some(error);
            }
        }
        let _ = committer.await;
        match failed {
            Some(error) => Err(error),
            None => Ok(records.into_iter().flatten().collect()),
        }
    }
}

/// One layer's way.
struct Task {
    unpacker: Unpacker,
    image: String,
    wanted: Wanted,
    origin: Origin,
    board: Board,
    index: usize,
    arrivals: Arrivals,
    cancel: CancellationToken,
}

impl Task {
    async fn run(mut self, slot: Option<OwnedSemaphorePermit>) -> Result<LayerRecord, ImageError> {
        let locks = self.unpacker.locks.clone();
        let _lock = locks.lock(self.wanted.chain).await;
        // Another pull may have brought it meanwhile.
        if let Some(info) = self.unpacker.storage.layer(&self.wanted.chain) {
            self.arrivals.present(self.index);
            self.board.phase(self.index, Phase::Exists);
            return Ok(self.record(&info));
        }
        let total = self.unpacker.total.clone();
        let permit = total.acquire_owned().await;
        let permit = permit.map_err(|_| self.interrupted())?;
        if self.cancel.is_cancelled() {
            return Err(self.interrupted());
        }
        self.board.phase(self.index, Phase::Transferring);
        let staged = match self.origin.clone() {
            Origin::Remote(remote) => self.transfer(&remote, permit).await?,
            Origin::Local(blobs) => self.copy(blobs, permit).await?,
        };
        drop(slot);
        let committed = self.arrivals.staged(self.index, staged, self.wanted.parent);
        // Whether all have arrived is told by who may still send.
        self.arrivals = Arrivals::closed();
        let info = committed.await.map_err(|_| self.interrupted())?;
        let info = info.map_err(|source| self.failed(source))?;
        self.board.phase(self.index, Phase::Done);
        Ok(self.record(&info))
    }

    /// From a registry: unpacked while it comes. Its place among those that are under way goes to another when
    /// nothing comes any more: a registry that hangs holds up nobody but itself.
    async fn transfer(
        &self,
        remote: &Remote,
        permit: OwnedSemaphorePermit,
    ) -> Result<Staged, ImageError> {
        let (sender, reader) = pipe();
        let (verdict, unpacking) = self.unpack(reader)?;
        let meter = self.board.meter(self.index);
        let pulse = meter.pulse();
        let mut permit = Some(permit);
        let fed = {
            let feed = remote.feed(&self.wanted.layer, &sender, meter);
            tokio::pin!(feed);
            loop {
                tokio::select! {
                    fed = &mut feed => break fed,
                    () = self.cancel.cancelled() => break Err(self.interrupted()),
                    () = pulse.stopped(SILENCE), if permit.is_some() => permit = None,
                }
            }
        };
        if fed.is_ok() {
            self.board.phase(self.index, Phase::Unpacking);
        }
        drop(sender);
        let unpacked = unpacking.await.map_err(|_| self.interrupted())?;
        // A transfer that failed is why the unpacking failed.
        fed?;
        unpacked.map_err(|source| self.refused(&verdict, source))
    }

    /// From this machine.
    async fn copy(
        &self,
        blobs: Arc<dyn Blobs>,
        _permit: OwnedSemaphorePermit,
    ) -> Result<Staged, ImageError> {
        let layer = self.wanted.layer.clone();
        let opened = super::blocking(&self.image, move || blobs.open(&layer)).await??;
        let (verdict, unpacking) = self.unpack(opened)?;
        let unpacked = unpacking.await.map_err(|_| self.interrupted())?;
        unpacked.map_err(|source| self.refused(&verdict, source))
    }

    /// On a thread of its own: it waits for as long as the blob does, and those of the pool are for what ends soon.
    fn unpack(
        &self,
        blob: impl Read + Send + 'static,
    ) -> Result<(Verdict, oneshot::Receiver<Unpacked>), ImageError> {
        let wanted = self.wanted.clone();
        let storage = self.unpacker.storage.clone();
        let compression = Compression::from_media_type(&wanted.layer.blob.media_type);
        let mut verified = Verified::new(blob, wanted.layer.blob);
        let verdict = verified.verdict();
        let (done, unpacking) = oneshot::channel();
        let work = move || {
            let staged = storage.stage(wanted.chain, wanted.diff, compression, &mut verified);
            // Damage stops the unpacking early; only the end tells that this is not the blob at all.
            if matches!(&staged, Err(error) if !error.is_no_space()) {
                let _ = io::copy(&mut verified.take(MAX_DRAIN), &mut io::sink());
            }
            // Nobody may wait any more.
            let _ = done.send(staged);
        };
        thread::Builder::new()
            .name("unpack".into())
            .spawn(work)
            .map_err(|source| ImageError::Io {
                step: "starting a thread to unpack a layer into",
                path: self.unpacker.storage.root().to_owned(),
                source: Arc::new(source),
            })?;
        Ok((verdict, unpacking))
    }

    /// Why a layer was not unpacked: it was not the one, or else it could not be.
    fn refused(&self, verdict: &Verdict, source: StorageError) -> ImageError {
        let blob = &self.wanted.layer.blob;
        let what = format!("layer {}", blob.digest);
        let mismatch = |what, actual| ImageError::DigestMismatch {
            image: self.image.clone(),
            what,
            expected: blob.digest.clone(),
            actual,
        };
        match verdict.get() {
            Some(Mismatch::Digest(actual)) => mismatch(what, actual.to_string()),
            Some(Mismatch::Size(seen)) => mismatch(
                what,
                format!(
                    "a blob of another size ({seen} bytes seen, {} promised)",
                    blob.size
                ),
            ),
            None => self.failed(Arc::new(source)),
        }
    }

    fn failed(&self, source: Arc<StorageError>) -> ImageError {
        let layer = &self.wanted.layer.blob.digest;
        if source.is_no_space() {
            return ImageError::DiskFull {
                image: self.image.clone(),
                step: format!("unpacking layer {layer}"),
            };
        }
        if let StorageError::WrongDiffId {
            expected, found, ..
        } = &*source
            && let Some(expected) = Digest::from_hex(&expected.hex())
        {
            return ImageError::DigestMismatch {
                image: self.image.clone(),
                what: format!("the uncompressed layer {layer}"),
                expected,
                actual: found.to_string(),
            };
        }
        ImageError::Unpack {
            image: self.image.clone(),
            layer: layer.clone(),
            source,
        }
    }

    fn interrupted(&self) -> ImageError {
        ImageError::Interrupted {
            image: self.image.clone(),
        }
    }

    fn record(&self, info: &LayerInfo) -> LayerRecord {
        LayerRecord {
            chain: info.chain,
            blob: self.wanted.layer.blob.digest.clone(),
            blob_size: self.wanted.layer.blob.size,
            size: info.disk_bytes,
        }
    }
}
