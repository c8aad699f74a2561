//! Where everything of one daemon lies: each path is named by the ID of its pod or container.

use std::path::{Path, PathBuf};

use crate::id::Id;

/// The directories of one daemon.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    runroot: PathBuf,
}

impl Layout {
    /// `root` survives a reboot, `runroot` does not need to.
    pub fn new(root: &Path, runroot: &Path) -> Self {
        Self {
            root: root.to_owned(),
            runroot: runroot.to_owned(),
        }
    }

    /// Durable directory of the daemon.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Volatile directory of the daemon.
    pub fn runroot(&self) -> &Path {
        &self.runroot
    }

    /// Durable records.
    pub fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    /// Cached results of network plugins.
    pub fn cni(&self) -> PathBuf {
        self.root.join("cni")
    }

    /// All sandboxes' pinned namespaces.
    pub fn namespaces(&self) -> PathBuf {
        self.runroot.join("ns")
    }

    /// A sandbox's pinned namespaces.
    pub fn sandbox_namespaces(&self, id: &Id) -> PathBuf {
        self.namespaces().join(id.as_str())
    }

    /// All sandboxes' directories.
    pub fn sandboxes(&self) -> PathBuf {
        self.runroot.join("sandboxes")
    }

    /// A sandbox's directory: `hostname`, `hosts`, `resolv.conf` and `shm`.
    pub fn sandbox(&self, id: &Id) -> PathBuf {
        self.sandboxes().join(id.as_str())
    }

    /// All containers' bundles.
    pub fn bundles(&self) -> PathBuf {
        self.runroot.join("containers")
    }

    /// A container's OCI bundle, with the sockets of its monitor.
    pub fn bundle(&self, id: &Id) -> PathBuf {
        self.bundles().join(id.as_str())
    }

    /// Where a container's monitor takes requests.
    pub fn ctl_socket(&self, id: &Id) -> PathBuf {
        self.bundle(id).join("ctl")
    }

    /// Where clients attach to a container.
    pub fn attach_socket(&self, id: &Id) -> PathBuf {
        self.bundle(id).join("attach")
    }

    /// A container's root file system.
    pub fn rootfs(&self, id: &Id) -> PathBuf {
        self.bundle(id).join("rootfs")
    }

    /// Where a container's image volumes are mounted, one directory each.
    pub fn image_volumes(&self, id: &Id) -> PathBuf {
        self.bundle(id).join("volumes")
    }

    /// Where volumes of all containers are mounted while runtimes take them up.
    pub fn mapped_volumes(&self) -> PathBuf {
        self.runroot.join("mapped")
    }

    /// Where a container's id-mapped volumes are mounted while its runtime takes them up. Apart from its
    /// bundle: that is deleted with all below it, and this never.
    pub fn mapped_volumes_of(&self, id: &Id) -> PathBuf {
        self.mapped_volumes().join(id.as_str())
    }

    /// All containers' durable directories.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// A container's durable directory.
    pub fn container(&self, id: &Id) -> PathBuf {
        self.containers().join(id.as_str())
    }

    /// A container's exit record, which its monitor writes.
    pub fn exit_record(&self, id: &Id) -> PathBuf {
        self.container(id).join("exit")
    }

    /// State of an OCI runtime handler.
    pub fn runtime_root(&self, handler: &str) -> PathBuf {
        self.runroot.join("runtimes").join(handler)
    }
}
