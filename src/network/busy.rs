//! One piece of work on a pod at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

use crate::id::Id;

/// The pods that are worked on. Work that nobody waits for any more goes on: what comes next waits for its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy(Arc<Mutex<HashMap<Id, Arc<tokio::sync::Mutex<()>>>>>);

impl Busy {
    /// Waits until nothing is done to a pod, and keeps it for what follows.
    pub(super) async fn take(&self, id: &Id) -> OwnedMutexGuard<()> {
        let lock = {
            let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            pods.retain(|_, lock| Arc::strong_count(lock) > 1);
            pods.entry(id.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }
}
