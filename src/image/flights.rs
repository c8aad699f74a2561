//! Work that is asked for several times is done once, and to its end, whoever stops waiting.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use super::{error::ImageError, progress::Board, record::Image};

/// What a flight brings.
pub(crate) type Landing = Result<Arc<Image>, ImageError>;

/// Work under way, by key.
#[derive(Debug)]
pub(crate) struct Flights<K: Eq + Hash>(Arc<Mutex<HashMap<K, Flight>>>);

/// Work under way: to be waited for, and to be watched.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) landing: Shared<BoxFuture<'static, Landing>>,
    pub(crate) board: Board,
}

impl<K: Eq + Hash> Default for Flights<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> Flights<K> {
    /// Joins the work of `key`, or starts it.
    pub(crate) fn join<F>(&self, key: K, name: &str, work: impl FnOnce(Board) -> F) -> Flight
    where
        F: Future<Output = Landing> + Send + 'static,
    {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let board = Board::new();
        let work = work(board.clone());
        let leave = Leave(self.0.clone(), key.clone());
        let task = tokio::spawn(async move {
            let _leave = leave;
            work.await
        });
        let name = name.to_owned();
        let landing = async move {
            task.await
                .unwrap_or_else(|_| Err(ImageError::Interrupted { image: name }))
        };
        let flight = Flight {
            landing: landing.boxed().shared(),
            board,
        };
        flights.insert(key, flight.clone());
        flight
    }
}

/// Takes the flight off the list when it is over, even by a panic.
struct Leave<K: Eq + Hash>(Arc<Mutex<HashMap<K, Flight>>>, K);

impl<K: Eq + Hash> Drop for Leave<K> {
    fn drop(&mut self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn joined_work_is_done_once_and_survives_its_first_caller() {
        let flights = Flights::<u8>::default();
        let count = Arc::new(AtomicUsize::new(0));
        let go = Arc::new(tokio::sync::Notify::new());
        let start = || {
            let (count, go) = (count.clone(), go.clone());
            flights.join(1, "x", move |_| async move {
                go.notified().await;
                count.fetch_add(1, Ordering::SeqCst);
                Err(ImageError::Unknown("x".into()))
            })
        };
        let first = start();
        let second = start();
        drop(first);
        go.notify_one();
        assert!(second.landing.await.is_err());
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let third = start();
        go.notify_one();
        assert!(third.landing.await.is_err());
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_leaves_the_way_free() {
        let flights = Flights::<u8>::default();
        let flight = flights.join(1, "x", |_| async { panic!("on purpose") });
        assert!(matches!(
            flight.landing.await,
            Err(ImageError::Interrupted { .. })
        ));
        assert!(flights.0.lock().unwrap().is_empty());
    }
}
