//! A sandbox as it is at one moment: plain data, published by its actor and read without a lock.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use crate::{
    container::view::ContainerView,
    id::Id,
    kept::Kept,
    pod::{limits::PodResources, spec::PodSpec},
};

/// Everything that an answer about a sandbox needs.
#[derive(Debug, Clone)]
pub struct PodView {
    /// Its identifier.
    pub id: Id,
    /// What was asked for.
    pub spec: Arc<PodSpec>,
    /// Whether it can run containers.
    pub state: PodViewState,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    /// Its addresses, the primary one first; empty on the host network.
    pub ips: Vec<IpAddr>,
    /// The runtime handler that was chosen: never empty, unlike the spec's.
    pub handler: String,
    /// Where its network namespace is pinned; `None` on the host network.
    pub netns: Option<PathBuf>,
    /// The resident infra process, where there is one.
    pub pid: Option<i32>,
    /// The operation that runs now, or the step of a teardown that fails, for people.
    pub step: Option<String>,
    /// What it may use as a whole: the spec's, as changed by updates.
    pub resources: PodResources,
    /// Its containers, in the order of their creation.
    pub containers: Vec<Arc<ContainerView>>,
    /// Its entry in lists, as far as that never changes: made by who lists first, and the same in all its views.
    pub entry: Kept,
}

/// The two states callers know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodViewState {
    /// Set up: containers can be created in it.
    Ready,
    /// Stopped, stopping, or broken.
    NotReady,
}
