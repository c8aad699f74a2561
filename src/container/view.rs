//! A container as it is at one moment: plain data, published by its pod's actor and read without a lock.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    container::spec::{ContainerSpec, Resources},
    id::Id,
    kept::Kept,
    monitor::About,
};

/// Everything that an answer about a container needs.
#[derive(Debug, Clone)]
pub struct ContainerView {
    /// Its identifier.
    pub id: Id,
    /// Its sandbox.
    pub pod_id: Id,
    /// What was asked for.
    pub spec: Arc<ContainerSpec>,
    /// The image by ID, exactly as `PullImage` answers for it.
    pub image_id: String,
    /// The image by digest, as `name@sha256:…`; its ID when it has none.
    pub image_ref: String,
    /// What it is doing.
    pub state: ContainerState,
    /// When it was created, in nanoseconds since 1970.
    pub created_at: i64,
    /// Its log, as an absolute path.
    pub log_path: Option<PathBuf>,
    /// Who its first process runs as, once resolved.
    pub user: Option<User>,
    /// Limits in force: the spec's, as changed by updates.
    pub resources: Resources,
    /// The signal that a stop sends first: of the request, the image, or the default.
    pub stop_signal: i32,
    /// The first process, while there is one: a created container has it too.
    pub pid: Option<i32>,
    /// The monitor, while the first process is there and the monitor answers.
    pub monitor: Option<About>,
    /// Image mounts: container path to the image's ID.
    pub mount_images: BTreeMap<PathBuf, String>,
    /// Its runtime specification.
    pub runtime_spec: Option<PathBuf>,
    /// The operation that runs now, or the step that fails, for people.
    pub step: Option<String>,
    /// Its entry in lists, as far as that never changes: made by who lists first, and the same in all its views.
    pub entry: Kept,
}

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What a container is doing. Times are nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Running, or paused.
    Running {
        /// Since when.
        started_at: i64,
    },
    /// Ended.
    Exited {
        /// When it was started, if it ever was.
        started_at: Option<i64>,
        /// When it ended.
        finished_at: i64,
        /// Exit code, or 128 and the signal.
        exit_code: i32,
        /// One word: `Completed`, `Error`, `OOMKilled`, …
        reason: String,
        /// A sentence for people, where there is more to say.
        message: String,
    },
    /// What became of it cannot be known.
    Unknown {
        /// One word, such as `MonitorLost`.
        reason: String,
        /// A sentence for people.
        message: String,
    },
}
