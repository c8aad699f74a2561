//! What is kept of a container on disk.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    spec::{ContainerSpec, Resources},
    state::ContainerState,
};
use crate::{id::Id, store::Record};

/// A container on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// The pod it belongs to.
    pub pod: Id,
    /// As asked for.
    pub spec: Arc<ContainerSpec>,
    /// ID of its image (`sha256:…`).
    pub image_id: String,
    /// What its image is known by: a digested reference where there is one, else the ID.
    pub image_ref: String,
    /// Unix nanoseconds.
    pub created_at: i64,
    /// Absolute path of its log.
    pub log_path: Option<PathBuf>,
    /// Runtime handler by name.
    pub handler: String,
    /// Signal number a stop begins with.
    pub stop_signal: i32,
    /// Who its init runs as, once known.
    pub user: Option<UserIds>,
    /// Images that are mounted, by path in the container: the ID of each.
    pub mount_images: BTreeMap<PathBuf, String>,
    /// Limits in force.
    pub resources: Resources,
    /// The boot it was made in (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: ContainerState,
    /// Its removal has begun.
    pub removing: bool,
    /// It has exited, and the runtime has nothing of it any more.
    #[serde(default)]
    pub reaped: bool,
}

/// Numeric identity of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIds {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Record for ContainerRecord {
    const KIND: &'static str = "containers";
    const VERSION: u32 = 1;
}
