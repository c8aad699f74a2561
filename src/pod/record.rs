//! What is kept of a sandbox on disk.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{limits::PodResources, spec::PodSpec, state::PodState};
use crate::{network::Attachment, store::Record};

/// A sandbox on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodRecord {
    /// As asked for.
    pub spec: Arc<PodSpec>,
    /// Runtime handler by name, never empty.
    pub handler: String,
    /// Unix nanoseconds.
    pub created_at: i64,
    /// The boot it was made in (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The SELinux level that keeps it apart from other pods, where it has one.
    #[serde(default)]
    pub selinux_level: Option<String>,
    /// Its place in the network, while it has one.
    pub attachment: Option<Attachment>,
    /// Process ID of the infra process, where it has one.
    pub infra_pid: Option<i32>,
    /// What it may use as a whole; `None` for what was asked for first.
    #[serde(default)]
    pub resources: Option<PodResources>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: PodState,
}

impl PodRecord {
    /// What the pod may use as a whole.
    pub(super) fn resources(&self) -> PodResources {
        match &self.resources {
            Some(changed) => changed.clone(),
            None => PodResources::of(&self.spec),
        }
    }
}

impl Record for PodRecord {
    const KIND: &'static str = "sandboxes";
    const VERSION: u32 = 1;
}
