//! The operations on one subject (a sandbox or a container): one at a time, in order, and a
//! request that asks for what is already asked for joins it.

use std::collections::VecDeque;

/// An operation that can tell whether another asks for the same.
pub(super) trait Joinable {
    /// Whether a caller of `self` may be answered with the result of `other`.
    fn joins(&self, other: &Self) -> bool;
}

/// Operations running and waiting, each with those who want its result.
#[derive(Debug)]
pub(super) struct Lane<O, W> {
    running: Option<Entry<O, W>>,
    waiting: VecDeque<Entry<O, W>>,
    /// What cannot be begun before something else has happened.
    aside: Vec<Entry<O, W>>,
}

#[derive(Debug)]
struct Entry<O, W> {
    op: O,
    waiters: Vec<W>,
}

impl<O: Joinable, W> Lane<O, W> {
    pub(super) fn new() -> Self {
        Self {
            running: None,
            waiting: VecDeque::new(),
            aside: Vec::new(),
        }
    }

    /// Adds a request: it joins the same operation, or waits behind all others.
    pub(super) fn submit(&mut self, op: O, waiter: Option<W>) {
        let same = self
            .running
            .iter_mut()
            .chain(self.waiting.iter_mut())
            .find(|e| op.joins(&e.op));
        match same {
            Some(entry) => entry.waiters.extend(waiter),
            None => self.waiting.push_back(Entry {
                op,
                waiters: waiter.into_iter().collect(),
            }),
        }
    }

    /// Takes the next operation if none runs.
    pub(super) fn begin(&mut self) -> Option<&O> {
        if self.running.is_some() {
            return None;
        }
        self.running = self.waiting.pop_front();
        self.running.as_ref().map(|e| &e.op)
    }

    /// Ends the running operation and names those who waited for it.
    pub(super) fn finish(&mut self) -> Vec<W> {
        self.running.take().map(|e| e.waiters).unwrap_or_default()
    }

    /// Whether such an operation waits.
    pub(super) fn awaits(&self, such: impl Fn(&O) -> bool) -> bool {
        self.waiting.iter().any(|entry| such(&entry.op))
    }

    /// Takes the running operation out of the way until [`Self::resume`].
    pub(super) fn set_aside(&mut self) {
        self.aside.extend(self.running.take());
    }

    /// Puts what was set aside behind all that wait.
    pub(super) fn resume(&mut self) {
        self.waiting.extend(self.aside.drain(..));
    }

    /// The operation that runs.
    pub(super) fn running(&self) -> Option<&O> {
        self.running.as_ref().map(|e| &e.op)
    }

    /// All who wait, when the subject is gone.
    pub(super) fn drain(&mut self) -> Vec<(O, Vec<W>)> {
        self.running
            .take()
            .into_iter()
            .chain(self.waiting.drain(..))
            .chain(self.aside.drain(..))
            .map(|e| (e.op, e.waiters))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_set_aside_comes_back_behind_what_waits() {
        let mut lane: Lane<Op, u8> = Lane::new();
        lane.submit(Op::Same(1), Some(1));
        lane.submit(Op::Same(2), None);
        lane.begin();
        assert!(lane.awaits(|op| *op == Op::Same(2)));
        assert!(!lane.awaits(|op| *op == Op::Same(1)));
        lane.set_aside();
        assert_eq!(lane.begin(), Some(&Op::Same(2)));
        assert!(lane.finish().is_empty());
        assert_eq!(lane.begin(), None);
        lane.submit(Op::Same(3), None);
        lane.resume();
        assert_eq!(lane.begin(), Some(&Op::Same(3)));
        lane.finish();
        assert_eq!(lane.begin(), Some(&Op::Same(1)));
        assert_eq!(lane.finish(), [1]);
    }

    #[derive(Debug, Clone, PartialEq)]
    enum Op {
        Same(u8),
        Alone(u32),
    }

    impl Joinable for Op {
        fn joins(&self, other: &Self) -> bool {
            matches!((self, other), (Op::Same(a), Op::Same(b)) if a == b)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Submit(Op),
        Begin,
        Finish,
        SetAside,
        Resume,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let op = prop_oneof![
            (0u8..3).prop_map(Op::Same),
            any::<u32>().prop_map(Op::Alone)
        ];
        prop::collection::vec(
            prop_oneof![
                op.prop_map(Step::Submit),
                Just(Step::Begin),
                Just(Step::Finish),
                Just(Step::SetAside),
                Just(Step::Resume)
            ],
            0..60,
        )
    }

    proptest! {
        #[test]
        fn everyone_is_answered_once_and_by_what_they_asked(steps in steps()) {
            let mut lane = Lane::new();
            let mut asked: Vec<Op> = Vec::new();
            let mut answered = std::collections::BTreeSet::new();
            let mut check = |op: Op, waiters: Vec<usize>, asked: &[Op]| {
                for w in waiters {
                    assert!(answered.insert(w), "answered twice");
                    assert!(asked[w] == op || asked[w].joins(&op));
                }
            };
            for step in steps {
                match step {
                    Step::Submit(op) => {
                        asked.push(op.clone());
                        lane.submit(op, Some(asked.len() - 1));
                    }
                    Step::Begin => { lane.begin(); }
                    Step::Finish => if let Some(op) = lane.running().cloned() {
                        check(op, lane.finish(), &asked);
                    }
                    Step::SetAside => lane.set_aside(),
                    Step::Resume => lane.resume(),
                }
            }
            for (op, waiters) in lane.drain() {
                check(op, waiters, &asked);
            }
            prop_assert_eq!(answered.len(), asked.len());
        }

        #[test]
        fn one_at_a_time(steps in steps()) {
            let mut lane: Lane<Op, ()> = Lane::new();
            let mut running = false;
            for step in steps {
                match step {
                    Step::Submit(op) => lane.submit(op, None),
                    Step::Begin => {
                        let begun = lane.begin().is_some();
                        prop_assert!(!(begun && running));
                        running |= begun;
                    }
                    Step::Finish => { lane.finish(); running = false; }
                    Step::SetAside => { lane.set_aside(); running = false; }
                    Step::Resume => lane.resume(),
                }
                prop_assert_eq!(lane.running().is_some(), running);
            }
        }
    }
}
