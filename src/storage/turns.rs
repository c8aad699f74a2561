//! One at a time for one thing, while others go on with other things.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Hands out the right to work on a thing.
#[derive(Debug)]
pub(crate) struct Turns<K> {
    taken: Mutex<HashSet<K>>,
    freed: Condvar,
}

/// The right to work on a thing, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a, K: Eq + Hash> {
    turns: &'a Turns<K>,
    key: K,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            taken: Mutex::default(),
            freed: Condvar::default(),
        }
    }
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// Waits until nobody works on the thing.
    pub(crate) fn take(&self, key: K) -> Turn<'_, K> {
        let mut taken = self.lock();
        while !taken.insert(key.clone()) {
            taken = self
                .freed
                .wait(taken)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Turn { turns: self, key }
    }
}

impl<K> Turns<K> {
    fn lock(&self) -> MutexGuard<'_, HashSet<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.key);
        self.turns.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_at_a_time() {
        let turns = Turns::default();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _turn = turns.take("a");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
            let _other = turns.take("b");
        });
        assert!(turns.lock().is_empty());
    }
}
