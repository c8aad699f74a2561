//! Whatever a client sends and whoever reads or does not, the books of the mux are right.

use std::{collections::BTreeMap, task::Waker};

use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Open(u32, bool, bool),
    Accept,
    Data(u32, usize, bool),
    Reset(u32),
    Widen(u32, u32),
    Initial(u32),
    Ping(u32),
    Read(u32, usize),
    Write(u32, usize),
    Finish(u32),
    Ignore(u32),
    Release(u32),
    Cancel(u32),
    Fill,
    StopAccepting,
    Close,
    End,
}

fn some_step() -> impl Strategy<Value = Step> {
    let id = (0u32..8).prop_map(|n| 2 * n + 1);
    prop_oneof![
        8 => (id.clone(), any::<bool>(), any::<bool>()).prop_map(|(i, f, u)| Step::Open(i, f && u, u)),
        8 => Just(Step::Accept),
        8 => (id.clone(), 0usize..200_000, any::<bool>()).prop_map(|(i, n, f)| Step::Data(i, n, f)),
        1 => id.clone().prop_map(Step::Reset),
        2 => (0u32..16, 1u32..100_000).prop_map(|(i, n)| Step::Widen(i, n)),
        1 => (0u32..100_000).prop_map(Step::Initial),
        1 => any::<u32>().prop_map(Step::Ping),
        8 => (id.clone(), 0usize..200_000).prop_map(|(i, n)| Step::Read(i, n)),
        8 => (id.clone(), 0usize..100_000).prop_map(|(i, n)| Step::Write(i, n)),
        1 => id.clone().prop_map(Step::Finish),
        1 => id.clone().prop_map(Step::Ignore),
        2 => id.clone().prop_map(Step::Release),
        1 => id.prop_map(Step::Cancel),
        8 => Just(Step::Fill),
        1 => Just(Step::StopAccepting),
        1 => Just(Step::Close),
        1 => Just(Step::End),
    ]
}

fn check(mux: &Mux, limits: Limits) {
    let input: usize = mux.streams.values().map(|s| s.input.len()).sum();
    assert_eq!(mux.all_input, input);
    let full = mux.streams.values().filter(|s| s.input.len() >= INPUT);
    assert_eq!(mux.full, full.count());
    assert!(mux.streams.len() <= limits.streams);
    for (id, stream) in &mux.streams {
        assert!(stream.output.len() <= OUTPUT);
        assert!(
            stream.held
                || mux.fresh.iter().any(|(fresh, _)| fresh == id)
                || !(stream.reset || stream.input_ended && stream.fin == Fin::Sent)
        );
        assert_eq!(stream.queued, mux.ready.contains(id));
        if stream.fin == Fin::Sent {
            assert!(stream.output.is_empty());
        }
    }
    let mut ready: Vec<u32> = mux.ready.iter().copied().collect();
    ready.sort_unstable();
    ready.dedup();
    assert_eq!(ready.len(), mux.ready.len());
}

proptest! {
    #[test]
    fn the_books_are_right(steps in prop::collection::vec(some_step(), 1..60)) {
        let limits = Limits { streams: 5, ..Limits::default() };
        let mut mux = Mux::new(limits);
        let waker = Waker::noop();
        let mut room = vec![0; 200_000];
        let payload = vec![1; 200_000];
        let mut held = BTreeMap::new();
        for step in steps {
            match step {
                Step::Open(stream, fin, unidirectional) => {
                    let frame = Frame::SynStream {
                        stream, associated: 0, priority: 0, fin, unidirectional,
                        headers: Headers::new(),
                    };
                    let fits = stream > mux.last;
                    prop_assert_eq!(mux.take(Event::Control(frame)).is_ok(), fits);
                }
                Step::Accept => {
                    let mut cx = std::task::Context::from_waker(waker);
                    if let std::task::Poll::Ready(Some((id, _))) = mux.next(&mut cx) {
                        mux.accept(id);
                        held.insert(id, ());
                    }
                }
                Step::Data(stream, size, fin) => {
                    // Of what may not be taken, nothing is.
                    if mux.may_take() {
                        let payload = &payload[..size.min(32 << 10)];
                        mux.take(Event::Data { stream, fin, payload }).unwrap();
                        prop_assert!(mux.all_input < ALL_INPUT + (32 << 10));
                    }
                }
                Step::Reset(stream) => {
                    mux.take(Event::Control(Frame::RstStream { stream, status: 5 })).unwrap();
                }
                Step::Widen(stream, delta) => {
                    mux.take(Event::Control(Frame::WindowUpdate { stream, delta })).unwrap();
                }
                Step::Initial(size) => {
                    let frame = Frame::Settings(vec![(INITIAL_WINDOW_SIZE, size)]);
                    mux.take(Event::Control(frame)).unwrap();
                }
                Step::Ping(id) => mux.take(Event::Control(Frame::Ping(id))).unwrap(),
                Step::Read(id, size) if held.contains_key(&id) => {
                    mux.read(id, &mut ReadBuf::new(&mut room[..size]), waker);
                }
                Step::Write(id, size) if held.contains_key(&id) => {
                    mux.write(id, &payload[..size], waker);
                }
                Step::Finish(id) if held.contains_key(&id) => mux.finish(id),
                Step::Ignore(id) if held.contains_key(&id) => mux.ignore(id),
                Step::Cancel(id) if held.contains_key(&id) => mux.cancel(id),
                Step::Release(id) if held.remove(&id).is_some() => mux.release(id),
                Step::Fill => {
                    let mut out = BytesMut::new();
                    mux.fill(&mut out);
                    prop_assert!(out.len() < BATCH + CONTROL + PAYLOAD + 4096);
                }
                Step::StopAccepting => mux.stop_accepting(),
                Step::Close => mux.close(),
                Step::End => mux.end(),
                Step::Read(..) | Step::Write(..) | Step::Finish(_) | Step::Ignore(_)
                | Step::Cancel(_) | Step::Release(_) => {}
            }
            check(&mux, limits);
        }
        // When everyone lets go and the client does, nothing is left.
        for id in held.into_keys() {
            mux.release(id);
        }
        mux.end();
        prop_assert!(mux.streams.is_empty());
        prop_assert_eq!((mux.all_input, mux.full), (0, 0));
    }
}
