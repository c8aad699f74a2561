//! Listeners and those who tell them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::{FutureExt, Stream, StreamExt};
use proptest::prelude::*;

use super::{queue::WEIGHT_MAX, *};
use crate::cri::convert::arbitrary::{container_view, id, pod_view};

fn tell(events: &Events, n: u8) {
    events.tell(&Arc::new(pod_view(n)), vec![(id(n), Kind::Started)]);
}

/// What can be had without waiting.
fn next(subscription: &mut Subscription) -> Option<Option<Result<Event, TooSlow>>> {
    subscription.next().now_or_never()
}

#[test]
fn nothing_before_and_everything_after() {
    let events = Events::default();
    tell(&events, 1);
    let mut one = events.subscribe().unwrap();
    tell(&events, 2);
    let mut two = events.subscribe().unwrap();
    tell(&events, 3);
    let first = next(&mut one).unwrap().unwrap().unwrap();
    assert_eq!((first.id, first.pod.id.clone()), (id(2), id(2)));
    let second = next(&mut one).unwrap().unwrap().unwrap();
    assert!(second.at > first.at);
    assert!(next(&mut one).is_none());
    assert_eq!(next(&mut two).unwrap().unwrap().unwrap().id, id(3));
    assert!(next(&mut two).is_none());
}

#[test]
fn who_leaves_is_forgotten_and_there_are_only_so_many() {
    let events = Events::default();
    let mut all: Vec<_> = (0..SUBSCRIBERS_MAX)
        .map(|_| events.subscribe().unwrap())
        .collect();
    assert_eq!(events.subscribe().unwrap_err(), SubscribeError::TooMany);
    all.pop();
    assert_eq!(events.subscribers(), SUBSCRIBERS_MAX - 1);
    all.push(events.subscribe().unwrap());
    all.clear();
    assert_eq!(events.subscribers(), 0);
    tell(&events, 1);
}

#[test]
fn who_does_not_read_is_cut_and_others_are_not() {
    let events = Events::default();
    let (mut slow, mut fast) = (events.subscribe().unwrap(), events.subscribe().unwrap());
    for n in 0..=WEIGHT_MAX {
        tell(&events, 1);
        assert!(next(&mut fast).unwrap().unwrap().is_ok(), "{n}");
    }
    assert_eq!(events.subscribers(), 1);
    assert_eq!(next(&mut slow).unwrap().unwrap().unwrap_err(), TooSlow);
    assert!(next(&mut slow).unwrap().is_none());
    tell(&events, 2);
    assert_eq!(next(&mut fast).unwrap().unwrap().unwrap().id, id(2));
}

#[test]
fn large_sandboxes_fill_a_queue_sooner() {
    let events = Events::default();
    let mut slow = events.subscribe().unwrap();
    let mut pod = pod_view(1);
    let container = Arc::new(container_view(2, &pod.id));
    pod.containers = std::iter::repeat_n(container, WEIGHT_MAX / 2).collect();
    let pod = Arc::new(pod);
    events.tell(&pod, vec![(id(1), Kind::Created)]);
    assert_eq!(events.subscribers(), 1);
    events.tell(&pod, vec![(id(1), Kind::Started)]);
    assert!(next(&mut slow).unwrap().unwrap().is_err());
}

#[test]
fn the_end_comes_after_what_was_told() {
    let events = Events::default();
    let mut one = events.subscribe().unwrap();
    tell(&events, 1);
    events.close();
    tell(&events, 2);
    assert_eq!(next(&mut one).unwrap().unwrap().unwrap().id, id(1));
    assert!(next(&mut one).unwrap().is_none());
    assert_eq!(events.subscribe().unwrap_err(), SubscribeError::Closed);
}

/// A waker that, when it is woken, listens and leaves.
struct Meddler(Events, AtomicBool);

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        drop(self.0.subscribe());
        self.1.store(true, Ordering::Relaxed);
    }
}

#[test]
fn waking_holds_no_lock() {
    let events = Events::default();
    let mut one = Box::pin(events.subscribe().unwrap());
    let meddler = Arc::new(Meddler(events.clone(), AtomicBool::new(false)));
    let waker = Waker::from(meddler.clone());
    let mut context = Context::from_waker(&waker);
    assert!(one.as_mut().poll_next(&mut context).is_pending());
    tell(&events, 1);
    assert!(meddler.1.load(Ordering::Relaxed));
    assert!(matches!(
        one.as_mut().poll_next(&mut context),
        Poll::Ready(Some(Ok(_)))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_listeners_hear_all_of_many_tellers_in_one_order() {
    let events = Events::default();
    let listeners: Vec<_> = (0..16)
        .map(|_| {
            let subscription = events.subscribe().unwrap();
            tokio::spawn(async move {
                subscription
                    .map(|event| event.unwrap())
                    .map(|event| (event.at, event.id))
                    .collect::<Vec<_>>()
                    .await
            })
        })
        .collect();
    let tellers = (1..=4u8).map(|n| {
        let events = events.clone();
        tokio::task::spawn_blocking(move || (0..250).for_each(|_| tell(&events, n)))
    });
    for teller in tellers.collect::<Vec<_>>() {
        teller.await.unwrap();
    }
    events.close();
    let mut first = None;
    for listener in listeners {
        let heard = listener.await.unwrap();
        assert_eq!(heard.len(), 1000);
        assert!(heard.is_sorted());
        assert_eq!(first.get_or_insert(heard.clone()), &heard);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Listen,
    Leave(usize),
    Tell(u8),
    Read(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Listen),
        1 => any::<usize>().prop_map(Step::Leave),
        6 => (1..200u8).prop_map(Step::Tell),
        3 => (any::<usize>(), 0..9usize).prop_map(|(who, n)| Step::Read(who, n)),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// Whoever listens hears exactly what was told since, in order, however they take turns.
    #[test]
    fn nothing_is_lost_or_swapped(steps in steps()) {
        let events = Events::default();
        let mut told: Vec<Id> = Vec::new();
        let mut listeners: Vec<(Subscription, usize)> = Vec::new();
        for step in steps {
            match step {
                Step::Listen => {
                    if let Ok(subscription) = events.subscribe() {
                        listeners.push((subscription, told.len()));
                    }
                }
                Step::Leave(who) if !listeners.is_empty() => {
                    listeners.swap_remove(who % listeners.len());
                }
                Step::Tell(n) => {
                    tell(&events, n);
                    told.push(id(n));
                }
                Step::Read(who, times) if !listeners.is_empty() => {
                    let who = who % listeners.len();
                    let (subscription, heard) = &mut listeners[who];
                    for _ in 0..times {
                        let Some(event) = next(subscription) else { break };
                        prop_assert_eq!(&event.unwrap().unwrap().id, &told[*heard]);
                        *heard += 1;
                    }
                }
                Step::Leave(_) | Step::Read(..) => {}
            }
            prop_assert_eq!(events.subscribers(), listeners.len());
        }
        events.close();
        for (mut subscription, mut heard) in listeners {
            while let Some(event) = next(&mut subscription).unwrap() {
                prop_assert_eq!(&event.unwrap().id, &told[heard]);
                heard += 1;
            }
            prop_assert_eq!(heard, told.len());
        }
    }
}
