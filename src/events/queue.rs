//! What one listener has still to be told: bounded, filled without waiting.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::Event;

/// Most that waits for a listener. An event counts as one and one for each container of its sandbox, which
/// is what it holds in memory: a few thousand events of usual pods, and some ten megabytes at the very most.
pub(super) const WEIGHT_MAX: usize = 16 << 10;

/// A listener that did not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client did not read its events fast enough and has missed some; subscribe again and list what there is"
)]
pub struct TooSlow;

/// What became of an event.
#[derive(Debug)]
pub(super) enum Pushed {
    /// It waits; whom to wake for it.
    Taken(Option<Waker>),
    /// There was no room: the listener is cut off. Whom to wake for that.
    Cut(Option<Waker>),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    weight: usize,
    waker: Option<Waker>,
    phase: Phase,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Ends after what waits.
    Closed,
    /// Is to be told that it was too slow, and nothing more.
    Cut,
}

impl Queue {
    pub(super) fn push(&self, event: Event) -> Pushed {
        let mut state = self.lock();
        let weight = weight(&event);
        let room = state.events.is_empty() || state.weight + weight <= WEIGHT_MAX;
        if state.phase == Phase::Open && room {
            state.weight += weight;
            state.events.push_back(event);
            return Pushed::Taken(state.waker.take());
        }
        if state.phase == Phase::Open {
            state.phase = Phase::Cut;
        }
        // It cannot go on, so what it holds can go at once, whenever it reads again.
        let dropped = std::mem::take(&mut state.events);
        state.weight = 0;
        let waker = state.waker.take();
        drop(state);
        drop(dropped);
        Pushed::Cut(waker)
    }

    pub(super) fn close(&self) -> Option<Waker> {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closed;
        }
        state.waker.take()
    }

    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Event, TooSlow>>> {
        let mut state = self.lock();
        if let Some(event) = state.events.pop_front() {
            state.weight -= weight(&event);
            return Poll::Ready(Some(Ok(event)));
        }
        match state.phase {
            Phase::Open => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            Phase::Closed => Poll::Ready(None),
            Phase::Cut => {
                state.phase = Phase::Closed;
                Poll::Ready(Some(Err(TooSlow)))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic stands between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(event: &Event) -> usize {
    1 + event.pod.containers.len()
}
