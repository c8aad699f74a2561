//! What containers have written to their root file systems: counted in the background and remembered.
//!
//! Counting walks a container's upper directory, and no layer. It is done only for containers that somebody asks
//! about, one at a time, and the less often the longer it takes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::sample::Writable;
use crate::{id::Id, services::now};

/// Shortest time between two counts of one container.
const PAUSE_MIN: Duration = Duration::from_secs(10);
/// How many times longer the pause is than the count before it took.
const PAUSE_FACTOR: u32 = 50;
/// How long a request waits for counts of containers that have never been counted.
const PATIENCE: Duration = Duration::from_millis(200);

/// Counts a container's upper directory: bytes and inodes. Blocks.
pub(super) type Count = dyn Fn(&Id) -> Option<(u64, u64)> + Send + Sync;

/// The counts.
#[derive(Clone)]
pub(super) struct Disk(Arc<Inner>);

struct Inner {
    count: Box<Count>,
    patience: Duration,
    state: Mutex<State>,
    counted: Condvar,
}

#[derive(Default)]
struct State {
    known: HashMap<Id, Known>,
    queue: VecDeque<Id>,
    /// What is in the queue or being counted.
    waiting: HashSet<Id>,
    running: bool,
}

#[derive(Clone, Copy)]
struct Known {
    /// `None` when it could not be counted.
    found: Option<Writable>,
    due: Instant,
}

/// A container that is asked about.
pub(super) struct Asked<'a> {
    /// Which.
    pub(super) id: &'a Id,
    /// When it ended, in nanoseconds since 1970: what was counted after that stays right.
    pub(super) finished_at: Option<i64>,
}

impl Disk {
    pub(super) fn new(count: Box<Count>) -> Self {
        Self::with_patience(count, PATIENCE)
    }

    fn with_patience(count: Box<Count>, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            count,
            patience,
            state: Mutex::default(),
            counted: Condvar::new(),
        }))
    }

    /// What is known of containers, by their places in `asked`. Has the outdated counted again, and waits for those
    /// that never were, but not long. Blocks.
    pub(super) fn ask(&self, asked: &[Asked<'_>]) -> Vec<Option<Writable>> {
        let mut state = self.0.lock();
        let time = Instant::now();
        let mut fresh = Vec::new();
        for container in asked {
            let known = state.known.get(container.id);
            if !is_due(known, container.finished_at, time)
                || !state.waiting.insert(container.id.clone())
            {
                continue;
            }
            // What has never been counted goes first: it is waited for, but only by who asks first.
            if known_in(&state, container.id) {
                state.queue.push_back(container.id.clone());
            } else {
                state.queue.push_front(container.id.clone());
                fresh.push(container.id);
            }
        }
        if !state.queue.is_empty() && !state.running {
            let inner = self.0.clone();
            let thread = std::thread::Builder::new().name("disk usage".into());
            state.running = thread.spawn(move || inner.work()).is_ok();
        }
        let missing =
            |state: &mut State| state.running && fresh.iter().any(|id| !known_in(state, id));
        let (state, _) = self
            .0
            .counted
            .wait_timeout_while(state, self.0.patience, missing)
            .unwrap_or_else(PoisonError::into_inner);
        asked
            .iter()
            .map(|container| state.known.get(container.id)?.found)
            .collect()
    }

    /// Forgets containers that are gone.
    pub(super) fn retain(&self, alive: impl Fn(&Id) -> bool) {
        self.0.lock().known.retain(|id, _| alive(id));
    }
}

fn known_in(state: &State, id: &Id) -> bool {
    state.known.contains_key(id)
}

fn is_due(known: Option<&Known>, finished_at: Option<i64>, time: Instant) -> bool {
    let Some(known) = known else { return true };
    let settled = known
        .found
        .zip(finished_at)
        .is_some_and(|(found, finished)| found.at > finished);
    !settled && time >= known.due
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts until the queue is empty.
    fn work(&self) {
        loop {
            let id = {
                let mut state = self.lock();
                let Some(id) = state.queue.pop_front() else {
                    state.running = false;
                    break;
                };
                id
            };
            let (began, at) = (Instant::now(), now());
            // A fault in one count must not end all others.
            let counted = catch_unwind(AssertUnwindSafe(|| (self.count)(&id)));
            let found =
                counted
                    .unwrap_or(None)
                    .map(|(bytes, inodes)| Writable { bytes, inodes, at });
            let pause = PAUSE_MIN.max(began.elapsed() * PAUSE_FACTOR);
            let mut state = self.lock();
            state.waiting.remove(&id);
            let due = Instant::now() + pause;
            state.known.insert(id, Known { found, due });
            drop(state);
            self.counted.notify_all();
        }
        self.counted.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Counts that are waited for, however slow the machine is.
    fn patient(count: impl Fn(&Id) -> Option<(u64, u64)> + Send + Sync + 'static) -> Disk {
        Disk::with_patience(Box::new(count), Duration::from_secs(3600))
    }

    fn asked(id: &Id) -> Asked<'_> {
        Asked {
            id,
            finished_at: None,
        }
    }

    #[test]
    fn a_count_is_remembered() {
        let counts = Arc::new(AtomicU64::new(0));
        let seen = counts.clone();
        let disk = patient(move |_| Some((seen.fetch_add(1, Ordering::SeqCst) + 1, 7)));
        let (a, b) = (Id::random(), Id::random());
        let first = disk.ask(&[asked(&a), asked(&b)]);
        let mut bytes: Vec<u64> = first.iter().map(|one| one.unwrap().bytes).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, [1, 2]);
        assert_eq!(disk.ask(&[asked(&a), asked(&b)]), first);
        assert_eq!(counts.load(Ordering::SeqCst), 2);
        disk.retain(|id| *id == b);
        assert_eq!(disk.ask(&[asked(&b)]), first[1..]);
        assert_eq!(disk.ask(&[asked(&a)])[0].unwrap().bytes, 3);
    }

    #[test]
    fn what_cannot_be_counted_is_not_waited_for_twice() {
        let disk = patient(|_| None);
        let id = Id::random();
        assert_eq!(disk.ask(&[asked(&id)]), [None]);
        assert!(known_in(&disk.0.lock(), &id));
        assert_eq!(disk.ask(&[asked(&id)]), [None]);
    }

    #[test]
    fn a_fault_ends_one_count_alone() {
        let first = AtomicU64::new(0);
        let disk = patient(move |_| {
            assert!(first.fetch_add(1, Ordering::SeqCst) > 0, "as asked");
            Some((1, 1))
        });
        let (a, b) = (Id::random(), Id::random());
        let found = disk.ask(&[asked(&a), asked(&b)]);
        assert_eq!(found.iter().flatten().count(), 1);
    }

    #[test]
    fn a_slow_count_holds_nobody_up_for_long() {
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let disk = Disk::new(Box::new(move |_| {
            let _ = gate.lock().unwrap().recv();
            Some((1, 1))
        }));
        let id = Id::random();
        assert_eq!(disk.ask(&[asked(&id)]), [None]);
        drop(go);
        while disk.0.lock().running {
            std::thread::yield_now();
        }
        assert!(disk.ask(&[asked(&id)])[0].is_some());
    }

    #[test]
    fn a_container_that_has_ended_is_counted_once() {
        let time = Instant::now();
        let known = |at| Known {
            found: Some(Writable {
                bytes: 1,
                inodes: 1,
                at,
            }),
            due: time,
        };
        assert!(is_due(None, Some(1), time));
        assert!(is_due(Some(&known(5)), None, time));
        assert!(!is_due(Some(&known(5)), Some(4), time));
        assert!(is_due(Some(&known(5)), Some(6), time));
        let later = Known {
            found: None,
            due: time + PAUSE_MIN,
        };
        assert!(!is_due(Some(&later), None, time));
    }
}
