//! What clients see: the published views of all pods, read without asking any actor.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use super::view::PodView;
use crate::{container::view::ContainerView, id::Id};

/// The published views. Readers hold its lock only while they copy pointers.
#[derive(Debug, Default)]
pub struct Table {
    views: RwLock<Views>,
}

#[derive(Debug, Default)]
struct Views {
    pods: BTreeMap<Id, Arc<PodView>>,
    containers: HashMap<Id, Arc<ContainerView>>,
}

impl Table {
    /// All pods, ordered by ID.
    pub fn pods(&self) -> Vec<Arc<PodView>> {
        self.read().pods.values().cloned().collect()
    }

    /// One pod.
    pub fn pod(&self, id: &Id) -> Option<Arc<PodView>> {
        self.read().pods.get(id).cloned()
    }

    /// One container.
    pub fn container(&self, id: &Id) -> Option<Arc<ContainerView>> {
        self.read().containers.get(id).cloned()
    }

    /// Replaces the view of a pod and of its containers.
    pub(super) fn publish(&self, pod: Arc<PodView>) {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = views.pods.get(&pod.id).cloned() {
            for container in &before.containers {
                views.containers.remove(&container.id);
            }
        }
        for container in &pod.containers {
            views
                .containers
                .insert(container.id.clone(), container.clone());
        }
        views.pods.insert(pod.id.clone(), pod);
    }

    /// Takes a pod and its containers out.
    pub(super) fn forget(&self, id: &Id) {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pod) = views.pods.remove(id) {
            for container in &pod.containers {
                views.containers.remove(&container.id);
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Views> {
        self.views.read().unwrap_or_else(PoisonError::into_inner)
    }
}
