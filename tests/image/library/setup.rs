//! Images in a directory of their own.

use std::{path::Path, sync::Arc, time::Duration};

use corten::{
    image::{Auth, Image, ImageError, Images, ImagesConfig, PullRequest},
    storage::{ChainId, Storage},
    store::Store,
};
use tempfile::TempDir;

/// Images, and the directory that they are in.
pub(crate) struct Setup {
    pub(crate) dir: TempDir,
    pub(crate) images: Images,
    pub(crate) storage: Storage,
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
        Self::at(tempfile::tempdir().unwrap(), change).await
    }

    /// In a directory of the test's choice.
    pub(crate) async fn at(dir: TempDir, change: impl FnOnce(&Path, &mut ImagesConfig)) -> Self {
        let mut config = config(dir.path());
        change(dir.path(), &mut config);
        let storage = Storage::open(dir.path()).unwrap();
        let store = Store::open(&dir.path().join("records")).unwrap();
        let images = Images::open(config, storage.clone(), store).await.unwrap();
        Self {
            dir,
            images,
            storage,
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
            dir,
            images,
            storage,
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
