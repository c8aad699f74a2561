//! Where things lie under the storage's directory.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::digest::ChainId;
use crate::id::Id;

/// The directories of a storage.
///
/// ```text
/// lock                       held by the process that uses the storage
/// layers/CHAIN/diff          what a layer holds, whiteouts as overlay wants them
/// layers/CHAIN/layer.json    what is known of it; a layer without one is not there
/// containers/ID/upper, work  what a container writes
/// containers/ID/rootfs.json  its layers and where they are mounted
/// views/KEY/view.json        a read-only mount of layers
/// staging/N/diff, attic      a layer being unpacked; emptied when the storage is opened
/// trash/N                    to be deleted
/// set-aside/NAME             what could not be understood; for a person to look at
/// empty                      the lowest layer of everything
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the directories, readable to root alone: layers hold setuid programs of every age.
    pub(crate) fn create(root: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let layout = Self {
            root: root.to_owned(),
        };
        let mut directory = DirBuilder::new();
        directory.recursive(true).mode(0o700);
        let dirs = [
            root.to_owned(),
            layout.layers(),
            layout.containers(),
            layout.views(),
            layout.staging(),
            layout.trash(),
            layout.set_aside(),
            layout.empty(),
        ];
        for dir in dirs {
            directory.create(&dir).map_err(|e| (dir.clone(), e))?;
        }
        let fail = |path: PathBuf| move |e| (path, e);
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(fail(root.into()))?;
        fs::set_permissions(layout.empty(), fs::Permissions::from_mode(0o755))
            .map_err(fail(layout.empty()))?;
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer(&self, chain: &ChainId) -> PathBuf {
        self.layers().join(chain.hex())
    }

    pub(crate) fn diff(&self, chain: &ChainId) -> PathBuf {
        self.layer(chain).join("diff")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn container(&self, id: &Id) -> PathBuf {
        self.containers().join(id.as_str())
    }

    pub(crate) fn views(&self) -> PathBuf {
        self.root.join("views")
    }

    pub(crate) fn view(&self, key: &str) -> PathBuf {
        self.views().join(key)
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub(crate) fn set_aside(&self) -> PathBuf {
        self.root.join("set-aside")
    }

    pub(crate) fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }
}
