//! What clients see: the published views of all pods, read without asking any actor.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use super::view::PodView;
use crate::{
    container::view::ContainerView,
    events::{self, Events},
    id::Id,
};

/// The published views. Readers hold its lock only while they copy pointers.
///
/// What a view changes is told while it is published, so whoever listens and then reads has missed nothing.
#[derive(Debug, Default)]
pub struct Table {
    views: RwLock<Views>,
    events: Events,
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

    /// All containers, ordered by their pods' IDs and in a pod by their creation.
    pub fn containers(&self) -> Vec<Arc<ContainerView>> {
        let views = self.read();
        let mut containers = Vec::with_capacity(views.containers.len());
        containers.extend(
            views
                .pods
                .values()
                .flat_map(|pod| pod.containers.iter().cloned()),
        );
        containers
    }

    /// One container.
    pub fn container(&self, id: &Id) -> Option<Arc<ContainerView>> {
        self.read().containers.get(id).cloned()
    }

    /// Where it is told what happens.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Replaces the view of a pod and of its containers, and tells what that says of them.
    pub(crate) fn publish(&self, pod: Arc<PodView>) {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        let before = views.pods.get(&pod.id).cloned();
        let happened = events::between(before.as_deref(), &pod);
        for container in before.iter().flat_map(|before| &before.containers) {
            views.containers.remove(&container.id);
        }
        for container in &pod.containers {
            views
                .containers
                .insert(container.id.clone(), container.clone());
        }
        views.pods.insert(pod.id.clone(), pod.clone());
        self.events.tell(&pod, happened);
    }

    /// Takes a pod and its containers out, and tells so.
    pub(super) fn forget(&self, id: &Id) {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pod) = views.pods.remove(id) {
            for container in &pod.containers {
                views.containers.remove(&container.id);
            }
            let (last, happened) = events::ended(&pod);
            self.events.tell(&Arc::new(last), happened);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Views> {
        self.views.read().unwrap_or_else(PoisonError::into_inner)
    }
}
