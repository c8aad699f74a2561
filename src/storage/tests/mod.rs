//! The storage on a real file system, with real overlay mounts.

mod archive;
mod crash;
mod entries;
mod hostile;
mod mounts;
mod whiteouts;

use super::*;
use crate::causes::whole;
use archive::Archive;

/// A storage in a directory of its own.
struct Fixture {
    storage: Option<Storage>,
    dir: tempfile::TempDir,
}

/// The layers of an image, bottom first, with their chain.
struct Image {
    chain: Vec<ChainId>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        Self {
            storage: Some(Storage::open(dir.path()).unwrap()),
            dir,
        }
    }

    fn storage(&self) -> &Storage {
        self.storage.as_ref().unwrap()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Opens the storage anew, as a process does that comes after another.
    fn reopen(&mut self) {
        self.storage = None;
        self.storage = Some(Storage::open(self.dir.path()).unwrap());
    }

    fn image(&self, archives: Vec<Archive>) -> Image {
        let blobs: Vec<Vec<u8>> = archives.into_iter().map(Archive::finish).collect();
        let diffs: Vec<DiffId> = blobs.iter().map(|b| archive::diff_id(b)).collect();
        let chain = ChainId::of(&diffs);
        for (i, blob) in blobs.iter().enumerate() {
            let parent = i.checked_sub(1).map(|i| chain[i]);
            self.storage()
                .apply(chain[i], parent, diffs[i], Compression::Detect, &blob[..])
                .unwrap();
        }
        Image { chain }
    }

    /// The directory of a single layer.
    fn layer(&self, archive: Archive) -> PathBuf {
        let image = self.image(vec![archive]);
        self.storage().inner.layout.diff(&image.chain[0])
    }

    /// What refusing a single layer says, with all its causes.
    fn refused(&self, archive: Archive) -> String {
        let blob = archive.finish();
        let diff = archive::diff_id(&blob);
        let chain = ChainId::of(&[diff])[0];
        let e = self
            .storage()
            .apply(chain, None, diff, Compression::Detect, &blob[..])
            .unwrap_err();
        assert!(!self.storage().has_layer(&chain));
        self.assert_nothing_staged();
        whole(&e)
    }

    fn assert_nothing_staged(&self) {
        let left: Vec<_> = names(&self.storage().inner.layout.staging());
        assert!(left.is_empty(), "{left:?}");
    }

    /// Mounts an image read-only, looks at it, and unmounts it.
    fn seen<T>(&self, image: &Image, look: impl FnOnce(&Path) -> T) -> T {
        let at = self.path().join("seen");
        let runtime = runtime();
        let storage = self.storage();
        runtime
            .block_on(storage.mount_view("seen", &image.chain, ViewOptions::default(), &at))
            .unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&at)));
        runtime.block_on(storage.unmount(&at)).unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let Some(storage) = self.storage.take() else {
            return;
        };
        let targets = storage
            .rootfs_records()
            .into_iter()
            .map(|r| r.mountpoint)
            .chain(storage.views().into_iter().map(|v| v.target));
        for target in targets {
            let _ = crate::sys::mount::detach_all(&target);
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn container(n: u8) -> crate::id::Id {
    crate::id::Id::parse(&format!("{n:02x}").repeat(32)).unwrap()
}
