//! Images: names, registries, pulling, loading, and which of them are here.
//!
//! What can be decided without asking anyone is pure: names ([`reference`]), the registries'
//! configuration ([`registries`]), manifests ([`manifest`]), the choice of a platform ([`platform`]) and
//! what changes when an image comes or goes (`plan`). A pull is one task however many ask for it; a
//! layer is fetched and unpacked as it streams in, once, however many images have it.
//!
//! [`Images::get`] and [`Images::list`] read a published snapshot. A layer lives while an image or a
//! holder refers to it; holders are containers, which name themselves with [`Images::acquire`].

pub mod auth;
pub(crate) mod authfile;
mod catalogue;
mod committer;
pub mod config;
pub mod digest;
mod error;
mod flights;
mod gc;
mod holds;
mod layers;
pub mod load;
pub mod manifest;
mod plan;
pub mod platform;
mod progress;
mod pull;
pub(crate) mod record;
pub mod reference;
pub mod registries;
pub(crate) mod registry;
mod remote;
mod stream;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use auth::Auth;
pub use config::{ImageConfig, ImageUser};
pub use error::{ErrorKind, ImageError};
pub use load::LoadOptions;
pub use platform::Platform;
pub use progress::{LayerProgress, Phase, Progress, Step};
pub use pull::{Pull, PullRequest};
pub use record::{Image, ImageRecord, LayerRecord, Pins};

use self::{
    catalogue::Catalogue,
    flights::Flights,
    holds::Holds,
    layers::Unpacker,
    pull::{Prepared, PullKey},
    registries::Registries,
    registry::{Http, PlainHosts, Timeouts},
    remote::{Net, Retry},
};
use crate::{
    storage::{ChainId, Storage},
    store::Store,
};

/// What the names of pulls begin with among the holders of layers.
const ARRIVAL: char = '@';

/// How images are handled.
#[derive(Debug, Clone)]
pub struct ImagesConfig {
    /// A directory for archives on their way in; made, and emptied at the start.
    pub temp_dir: PathBuf,
    /// registries.conf; drop-ins are read from the directory beside it. `None` reads nothing.
    pub registries_conf: Option<PathBuf>,
    /// A file of credentials for what a request brings none for.
    pub auth_file: Option<PathBuf>,
    /// Directories of certificates by registry; the first that knows the host counts.
    pub certs_dirs: Vec<PathBuf>,
    /// Hosts that may be spoken to over plain HTTP, or with a certificate nobody signed.
    pub insecure_registries: Vec<String>,
    /// What images are chosen for.
    pub platform: Platform,
    /// Layers of one image that are transferred and unpacked at a time.
    pub downloads_per_image: usize,
    /// The same, of all images together.
    pub downloads: usize,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a registry may be silent in the middle of a transfer. Unpacking does not count.
    pub stall_timeout: Duration,
    /// Tries in a row that may bring nothing before a transfer is given up.
    pub tries: u32,
    /// Wait after the first of them, doubled with each.
    pub backoff: Duration,
    /// Whether layers may be fetched from the URLs that a manifest gives.
    pub allow_foreign_layers: bool,
    /// Names of images that the kubelet may not collect; `*` at either end is open.
    pub pinned: Vec<String>,
    /// Most bytes an archive may have once uncompressed.
    pub max_archive: u64,
}

impl ImagesConfig {
    /// The defaults, with a directory for what is on its way.
    pub fn new(temp_dir: impl Into<PathBuf>) -> Self {
        Self {
            temp_dir: temp_dir.into(),
            registries_conf: Some("/etc/containers/registries.conf".into()),
            auth_file: None,
            certs_dirs: vec![
                "/etc/containers/certs.d".into(),
                "/etc/docker/certs.d".into(),
            ],
            insecure_registries: Vec::new(),
            platform: Platform::host(),
            downloads_per_image: 3,
            downloads: 6,
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(60),
            tries: 5,
            backoff: Duration::from_millis(300),
            allow_foreign_layers: false,
            pinned: Vec::new(),
            max_archive: 256 << 30,
        }
    }
}

/// What the images take on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsInfo {
    /// Where they are.
    pub path: PathBuf,
    /// Bytes.
    pub used_bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// An image that could not be kept at the start: it was dropped, and can be pulled again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its ID.
    pub id: String,
    /// Its names.
    pub names: Vec<String>,
    /// The layers that were missing, or what was wrong with its record.
    pub reason: String,
}

/// The images of this node. Clones are the same images.
#[derive(Debug, Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ImagesConfig,
    storage: Storage,
    store: Store,
    net: Net,
    unpacker: Unpacker,
    registries: RwLock<Arc<Registries>>,
    pins: RwLock<Pins>,
    catalogue: RwLock<Arc<Catalogue>>,
    /// Held while records change, so that each change starts from the last.
    commit: tokio::sync::Mutex<()>,
    holds: Mutex<Holds>,
    /// Layers are deleted while no pull starts to count on them.
    gate: tokio::sync::RwLock<()>,
    pulls: Flights<PullKey>,
    /// How many holders there were that are not containers.
    holders: AtomicU64,
    damaged: Vec<Damaged>,
}

impl Images {
    /// Opens the images that are recorded, and drops those whose layers are gone.
    ///
    /// Layers that no image has are left alone until [`Images::collect`], before which the containers
    /// that exist are to be declared with [`Images::adopt`].
    pub async fn open(
        config: ImagesConfig,
        storage: Storage,
        store: Store,
    ) -> Result<Self, ImageError> {
        let opened = {
            let (config, storage, store) = (config.clone(), storage.clone(), store.clone());
            blocking("(all)", move || open(&config, &storage, &store)).await??
        };
        for damaged in &opened.damaged {
            tracing::warn!(id = damaged.id, names = ?damaged.names, reason = damaged.reason,
                "an image was damaged and is dropped: pull it again");
        }
        for id in &opened.dropped {
            if let Err(error) = store.delete::<ImageRecord>(id).await {
                tracing::warn!(%error, id, "the record of a damaged image stays");
            }
        }
        let pins = Pins::new(&config.pinned);
        let timeouts = Timeouts {
            connect: config.connect_timeout,
            stall: config.stall_timeout,
        };
        let net = Net {
            http: Arc::new(Http::new(config.certs_dirs.clone(), timeouts)),
            plain: PlainHosts::default(),
            retry: Retry {
                tries: config.tries.max(1),
                backoff: config.backoff,
            },
            auth_file: config.auth_file.clone(),
        };
        let unpacker = Unpacker::new(
            storage.clone(),
            config.downloads_per_image,
            config.downloads,
        );
        Ok(Self {
            inner: Arc::new(Inner {
                catalogue: RwLock::new(Arc::new(Catalogue::new(opened.records, &pins))),
                config,
                storage,
                store,
                net,
                unpacker,
                registries: RwLock::new(Arc::new(opened.registries)),
                pins: RwLock::new(pins),
                commit: tokio::sync::Mutex::default(),
                holds: Mutex::default(),
                gate: tokio::sync::RwLock::default(),
                pulls: Flights::default(),
                holders: AtomicU64::new(0),
                damaged: opened.damaged,
            }),
        })
    }

    /// Starts a pull, or joins the one that is under way for the same name, platform and credentials.
    pub fn start_pull(&self, request: PullRequest) -> Result<Pull, ImageError> {
        let prepared = Prepared::new(&self.inner, request)?;
        let given = prepared.given().to_owned();
        let inner = self.inner.clone();
        let flight = self.inner.pulls.join(prepared.key(), &given, move |board| {
            prepared.run(inner, board)
        });
        Ok(Pull::new(flight))
    }

    /// Pulls an image. When the caller stops waiting, the work goes on for the next one.
    pub async fn pull(&self, request: PullRequest) -> Result<Arc<Image>, ImageError> {
        self.start_pull(request)?.wait().await
    }

    /// The image that a name, an ID or the beginning of an ID means.
    pub fn get(&self, any_reference: &str) -> Result<Option<Arc<Image>>, ImageError> {
        let catalogue = self.inner.catalogue();
        Ok(catalogue
            .find(any_reference, &self.inner.registries())?
            .cloned())
    }

    /// All images, in an order that does not change.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.inner.catalogue().images().to_vec()
    }

    /// Removes an image with all its names, and the layers that nothing else needs.
    ///
    /// One that is not there is no error. A container that uses the image keeps its layers.
    pub async fn remove(&self, any_reference: &str) -> Result<(), ImageError> {
        let Some(image) = self.get(any_reference)? else {
            return Ok(());
        };
        let inner = self.inner.clone();
        let id = image.id.clone();
        // What was begun is finished, whether or not the caller waits.
        let work = tokio::spawn(async move {
            inner.forget(&image.id).await?;
            // The image is gone. Layers that resist are tried again with the next removal.
            if let Err(error) = inner.collect().await {
                tracing::warn!(%error, id = image.id, "layers of a removed image stay for now");
            }
            Ok(())
        });
        work.await
            .unwrap_or(Err(ImageError::Interrupted { image: id }))
    }

    /// Names `owner` as a holder of an image's layers, until [`Images::release`].
    pub fn acquire(&self, any_reference: &str, owner: &str) -> Result<Arc<Image>, ImageError> {
        // The lock is taken first: a collection that starts now sees the image, or the hold.
        let mut holds = self.inner.holds();
        let image = self
            .get(any_reference)?
            .ok_or_else(|| ImageError::Unknown(digest::clip(any_reference)))?;
        holds.add(owner, image.layers.iter().copied());
        Ok(image)
    }

    /// Names `owner` as a holder of layers, as recorded before a restart; the image may be gone.
    pub fn adopt(&self, owner: &str, layers: &[ChainId]) {
        self.inner.holds().add(owner, layers.iter().copied());
    }

    /// Holds an image's layers for as long as the guard lives.
    pub fn hold(&self, any_reference: &str) -> Result<Hold, ImageError> {
        let owner = format!("#{}", self.inner.number());
        let image = self.acquire(any_reference, &owner)?;
        Ok(Hold {
            image,
            held: Held {
                inner: self.inner.clone(),
                owner,
            },
        })
    }

    /// Lets go of what `owner` holds; layers that nothing needs any more are deleted behind the scenes.
    pub fn release(&self, owner: &str) {
        self.inner.release(owner);
    }

    /// Deletes the layers that neither an image nor a holder needs, and says how many.
    pub async fn collect(&self) -> Result<usize, ImageError> {
        let inner = self.inner.clone();
        tokio::spawn(async move { inner.collect().await })
            .await
            .unwrap_or(Err(ImageError::Interrupted {
                image: "(all)".into(),
            }))
    }

    /// What the images take on disk.
    pub fn fs_info(&self) -> FsInfo {
        let usage = self.inner.storage.usage();
        FsInfo {
            path: self.inner.storage.root().to_owned(),
            used_bytes: usage.bytes,
            inodes: usage.inodes,
        }
    }

    /// The images that were dropped at the start.
    pub fn damaged(&self) -> &[Damaged] {
        &self.inner.damaged
    }

    /// Reads the registries' configuration again; what is wrong with it leaves the old one in force.
    pub async fn reload_registries(&self) -> Result<(), ImageError> {
        let path = self.inner.config.registries_conf.clone();
        let registries = blocking("(all)", move || read_registries(path.as_deref())).await??;
        *write(&self.inner.registries) = Arc::new(registries);
        Ok(())
    }

    /// Changes which images are pinned.
    pub async fn set_pinned(&self, patterns: &[String]) {
        let _commit = self.inner.commit.lock().await;
        *write(&self.inner.pins) = Pins::new(patterns);
        self.inner.publish(self.inner.catalogue().records().clone());
    }
}

/// An image that cannot lose its layers while this lives.
#[derive(Debug)]
pub struct Hold {
    image: Arc<Image>,
    held: Held,
}

impl Hold {
    /// The image.
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// Passes the hold on to `owner`, who releases it by name.
    pub fn give_to(self, owner: &str) -> Arc<Image> {
        self.held
            .inner
            .holds()
            .add(owner, self.image.layers.iter().copied());
        self.image
    }
}

/// Layers held under a name that no one else uses.
#[derive(Debug)]
struct Held {
    inner: Arc<Inner>,
    owner: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inner.release(&self.owner);
    }
}

impl Inner {
    fn registries(&self) -> Arc<Registries> {
        self.registries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, records: plan::Records) {
        let pins = self
            .pins
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        *write(&self.catalogue) = Arc::new(Catalogue::new(records, &pins));
    }

    /// A number for a holder that is not a container.
    fn number(&self) -> u64 {
        self.holders.fetch_add(1, Ordering::Relaxed)
    }

    /// Holds layers that are about to come in, once no collection is under way.
    async fn hold_for_arrival(self: &Arc<Self>, layers: Vec<ChainId>) -> impl Drop + use<> {
        let _gate = self.gate.read().await;
        let owner = format!("{ARRIVAL}{}", self.number());
        self.holds().add(&owner, layers);
        Held {
            inner: self.clone(),
            owner,
        }
    }

    /// Writes an image down, and publishes it.
    async fn record(&self, new: ImageRecord, image: &str) -> Result<Arc<Image>, ImageError> {
        let _commit = self.commit.lock().await;
        let id = new.id.clone();
        let mut records = self.catalogue().records().clone();
        for change in plan::add(&records, new) {
            self.store
                .put(change.id.as_str(), &change)
                .await
                .map_err(|source| ImageError::Store {
                    step: format!("recording image {image}"),
                    source: Arc::new(source),
                })?;
            records.insert(change.id.clone(), change);
            // Each step is published: what is written and what is shown never differ.
            self.publish(records.clone());
        }
        self.catalogue()
            .by_id(&id)
            .cloned()
            .ok_or_else(|| ImageError::Interrupted {
                image: image.to_owned(),
            })
    }

    /// Takes an image off the records.
    async fn forget(&self, id: &str) -> Result<(), ImageError> {
        let _commit = self.commit.lock().await;
        self.store
            .delete::<ImageRecord>(id)
            .await
            .map_err(|source| ImageError::Store {
                step: format!("removing image {id}"),
                source: Arc::new(source),
            })?;
        let mut records = self.catalogue().records().clone();
        records.retain(|key, _| key.as_str() != id);
        self.publish(records);
        Ok(())
    }

    fn release(self: &Arc<Self>, owner: &str) {
        let released = self.holds().release(owner);
        if released.is_empty() {
            return;
        }
        let catalogue = self.catalogue();
        let held = self.holds().held();
        let idle = plan::collectable(released, catalogue.records(), &held);
        if idle.is_empty() || owner.starts_with(ARRIVAL) {
            // What a failed pull leaves is kept for its next try.
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = self.clone();
            runtime.spawn(async move {
                if let Err(error) = inner.collect().await {
                    tracing::warn!(%error, "layers that nothing needs are left for later");
                }
            });
        }
    }
}

struct Opened {
    registries: Registries,
    records: plan::Records,
    damaged: Vec<Damaged>,
    /// Records to delete.
    dropped: Vec<String>,
}

/// The blocking part of opening.
fn open(config: &ImagesConfig, storage: &Storage, store: &Store) -> Result<Opened, ImageError> {
    let registries = read_registries(config.registries_conf.as_deref())?;
    load::prepare_temp_dir(&config.temp_dir)?;
    let loaded = store
        .load::<ImageRecord>()
        .map_err(|source| ImageError::Store {
            step: "reading the records of images".into(),
            source: Arc::new(source),
        })?;
    let mut damaged: Vec<Damaged> = loaded
        .set_aside
        .into_iter()
        .map(|aside| Damaged {
            id: aside.id,
            names: Vec::new(),
            reason: format!(
                "its record is unreadable and now at {}: {}",
                aside.moved_to.display(),
                aside.reason
            ),
        })
        .collect();
    let present = storage.layers().iter().map(|info| info.chain).collect();
    let records = loaded.records.into_iter().map(|(_, record)| record);
    let recovered = plan::recover(records.collect(), &present);
    let mut dropped = Vec::new();
    for (record, missing) in recovered.damaged {
        dropped.push(record.id.to_string());
        damaged.push(Damaged {
            id: record.id.to_string(),
            names: record
                .tags
                .into_keys()
                .chain(record.digests.into_keys())
                .collect(),
            reason: format!("{} of its layers are missing", missing.len()),
        });
    }
    Ok(Opened {
        registries,
        records: recovered.records,
        damaged,
        dropped,
    })
}

fn read_registries(path: Option<&std::path::Path>) -> Result<Registries, ImageError> {
    match path {
        Some(path) => Registries::load(path).map_err(|e| ImageError::Registries(Arc::new(e))),
        None => Ok(Registries::default()),
    }
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what may block where that does no harm.
async fn blocking<T: Send + 'static>(
    image: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ImageError::Interrupted {
            image: image.to_owned(),
        })
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
