//! What happens to sandboxes and containers, told to whoever listens.
//!
//! Events follow from the views that actors publish: the difference of two views is what happened between
//! them, so that an event and the view never disagree. Telling never waits: each listener has a queue, and one
//! that lets it fill up is cut off with an error rather than told with gaps.

mod changes;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use changes::Kind;
pub(crate) use changes::{between, ended};
pub use queue::TooSlow;
use queue::{Pushed, Queue};

use crate::{id::Id, pod::view::PodView, services::now};

/// Most listeners at a time.
pub const SUBSCRIBERS_MAX: usize = 64;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// The container; or the sandbox, where it happened to that.
    pub id: Id,
    /// What.
    pub kind: Kind,
    /// When, in nanoseconds since 1970; no two events have the same time.
    pub at: i64,
    /// The sandbox with its containers just after.
    pub pod: Arc<PodView>,
}

/// Why nobody can listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// There are too many listeners.
    #[error("{SUBSCRIBERS_MAX} clients listen to events already; no more are served")]
    TooMany,
    /// The daemon is going away.
    #[error("the daemon is shutting down; subscribe again when it is back")]
    Closed,
}

/// Tells all listeners what happens. Clones tell the same ones.
#[derive(Debug, Clone, Default)]
pub struct Events {
    listeners: Arc<Mutex<Listeners>>,
}

#[derive(Debug, Default)]
struct Listeners {
    queues: Vec<Arc<Queue>>,
    /// Time of the last event.
    last: i64,
    closed: bool,
}

impl Events {
    /// Listens from now on.
    pub fn subscribe(&self) -> Result<Subscription, SubscribeError> {
        let mut listeners = self.lock();
        if listeners.closed {
            return Err(SubscribeError::Closed);
        }
        if listeners.queues.len() >= SUBSCRIBERS_MAX {
            return Err(SubscribeError::TooMany);
        }
        let queue = Arc::new(Queue::default());
        listeners.queues.push(queue.clone());
        Ok(Subscription {
            queue,
            events: self.clone(),
        })
    }

    /// Tells what happened, in this order; `pod` is how things are after it. Never waits for a listener.
    pub(crate) fn tell(&self, pod: &Arc<PodView>, happened: Vec<(Id, Kind)>) {
        if happened.is_empty() {
            return;
        }
        // Whom to wake is woken without the lock: what that runs may come back here.
        let mut wake = Vec::new();
        {
            let mut listeners = self.lock();
            for (id, kind) in happened {
                let at = now().max(listeners.last.saturating_add(1));
                listeners.last = at;
                let pod = pod.clone();
                let event = Event { id, kind, at, pod };
                listeners
                    .queues
                    .retain(|queue| match queue.push(event.clone()) {
                        Pushed::Taken(waker) => {
                            wake.extend(waker);
                            true
                        }
                        Pushed::Cut(waker) => {
                            tracing::warn!("a client does not read its events and is cut off");
                            wake.extend(waker);
                            false
                        }
                    });
            }
        }
        wake.into_iter().for_each(std::task::Waker::wake);
    }

    /// Ends all subscriptions after what they were told so far, and lets no more begin.
    pub fn close(&self) {
        let queues = {
            let mut listeners = self.lock();
            listeners.closed = true;
            std::mem::take(&mut listeners.queues)
        };
        for queue in queues {
            if let Some(waker) = queue.close() {
                waker.wake();
            }
        }
    }

    /// How many listen.
    pub fn subscribers(&self) -> usize {
        self.lock().queues.len()
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // A list and a time are never half changed.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that happens from its beginning on, in order and without gaps: a stream that ends when the daemon shuts
/// down, or with [`TooSlow`]. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
    events: Events,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events
            .lock()
            .queues
            .retain(|queue| !Arc::ptr_eq(queue, &self.queue));
    }
}

impl futures_util::Stream for Subscription {
    type Item = Result<Event, TooSlow>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.queue.poll(context)
    }
}
