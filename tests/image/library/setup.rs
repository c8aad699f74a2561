//! Images in a directory of their own.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use corten::{
    image::{Auth, Image, ImageError, Images, ImagesConfig, PullRequest},
    storage::{ChainId, Storage},
    store::Store,
};

/// Images, and the directory that they are in.
pub(crate) struct Setup {
    pub(crate) images: Images,
    pub(crate) storage: Storage,
    pub(crate) dir: Place,
}

/// A directory that is gone once this is, even if work that a test left under way still puts things there.
pub(crate) struct Place(PathBuf);

impl Place {
    /// A new directory, where they usually are.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap().keep())
    }

    /// A new directory in another.
    pub(crate) fn inside(parent: &Path) -> Self {
        Self(tempfile::tempdir_in(parent).unwrap().keep())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut last = None;
        for _ in 0..500 {
            match std::fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != ErrorKind::NotFound => last = Some(error),
                _ => return,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if !std::thread::panicking() {
            panic!("{} stays: {last:?}", self.0.display());
        }
    }
}

pub(crate) fn config(dir: &Path) -> ImagesConfig {
    ImagesConfig {
        registries_conf: Some(dir.join("registries.conf")),
        certs_dirs: vec![dir.join("certs.d")],
        backoff: Duration::from_millis(5),
        stall_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(5),
        ..ImagesConfig::new(dir.join("tmp"))
    }
}

impl Setup {
    pub(crate) async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    /// With a configuration, or files in the directory, of the test's choice.
    pub(crate) async fn with(change: impl FnOnce(&Path, &mut ImagesConfig)) -> Self {
        Self::at(Place::new(), change).await
    }

    /// In a directory of the test's choice.
    pub(crate) async fn at(dir: Place, change: impl FnOnce(&Path, &mut ImagesConfig)) -> Self {
        let mut config = config(dir.path());
        change(dir.path(), &mut config);
        let storage = Storage::open(dir.path()).unwrap();
        let store = Store::open(&dir.path().join("records")).unwrap();
        let images = Images::open(config, storage.clone(), store).await.unwrap();
        Self {
            images,
            storage,
            dir,
        }
    }

    /// As after a restart of the daemon.
    pub(crate) async fn reopened(self) -> Self {
        let Self {
            dir,
            images,
            storage,
        } = self;
        drop(images);
        drop(storage);
        let storage = reopen(dir.path()).await;
        let store = Store::open(&dir.path().join("records")).unwrap();
        let images = Images::open(config(dir.path()), storage.clone(), store)
            .await
            .unwrap();
        Self {
            images,
            storage,
            dir,
        }
    }

    pub(crate) async fn pull(&self, name: &str) -> Result<Arc<Image>, ImageError> {
        self.images.pull(request(name)).await
    }

    pub(crate) async fn pull_as(&self, name: &str, auth: Auth) -> Result<Arc<Image>, ImageError> {
        self.images
            .pull(PullRequest {
                auth: Some(auth),
                ..request(name)
            })
            .await
    }

    /// The content of a file in a layer; layers are plain directories.
    pub(crate) fn layer_file(&self, chain: &ChainId, path: &str) -> Option<Vec<u8>> {
        let dir = self.dir.path().join("storage/layers").join(chain.hex());
        std::fs::read(dir.join("diff").join(path)).ok()
    }

    pub(crate) fn layers(&self) -> usize {
        self.storage.layers().len()
    }
}

/// The storage's lock is let go when the last of the work that was under way is.
async fn reopen(dir: &Path) -> Storage {
    for _ in 0..500 {
        match Storage::open(dir) {
            Ok(storage) => return storage,
            Err(corten::storage::StorageError::Locked { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the storage stays locked");
}

pub(crate) fn request(name: &str) -> PullRequest {
    PullRequest {
        reference: name.into(),
        ..PullRequest::default()
    }
}

/// An error with its causes.
pub(crate) fn text(error: &ImageError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
