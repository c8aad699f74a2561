//! Killing the daemon at each step of an operation.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{
    lawful::{goal, is_lawful},
    operation::{Operation, Subject},
    world::{self, World},
};
use crate::support::patience;

/// How long what follows an answer may take to come to the step it is killed at; mostly it comes to it at once.
const AFTERMATH: Duration = Duration::from_secs(20);
/// The daemon is idle when it reaches no step for so long.
const QUIET: Duration = Duration::from_millis(500);

/// A step, the `nth` time it is reached.
pub(super) struct Case {
    pub(super) step: String,
    pub(super) nth: usize,
}

/// Each time a step was reached.
pub(super) fn cases(reached: &[String]) -> Vec<Case> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut cases = Vec::new();
    for step in reached {
        let nth = counts.entry(step).or_default();
        *nth += 1;
        cases.push(Case {
            step: step.clone(),
            nth: *nth,
        });
    }
    cases
}

/// Does an operation and gives the steps that it reaches, those after its answer among them.
pub(super) async fn steps_of(operation: Operation, world: &mut World<'_>) -> Vec<String> {
    let subject = operation.set_up(world).await;
    // What is behind the answers so far is done by then.
    tokio::time::sleep(QUIET).await;
    world.node.follow();
    operation.request(world, &subject).await.unwrap();
    let steps = quiet(world).await;
    world.clean_up().await;
    world.settle().await;
    steps
}

/// Waits until the daemon has reached no more steps for a while, and gives those that it has.
pub(super) async fn quiet(world: &World<'_>) -> Vec<String> {
    let mut before = 0;
    loop {
        tokio::time::sleep(QUIET).await;
        let now = world.node.followed().len();
        if now == before {
            return world.node.follow_no_more();
        }
        before = now;
    }
}

/// Kills the daemon at each step of an operation, once for each time that it is reached.
pub(super) async fn killed_at_every_step(operation: Operation) {
    world::with(&[operation], async |world| {
        let steps = steps_of(operation, world).await;
        let mut killed = BTreeSet::new();
        let mut answered = Vec::new();
        for case in cases(&steps) {
            let crash = Crash {
                operation,
                first: &case,
                second: None,
            };
            if let Some(time) = crash.happens(world).await {
                killed.insert(case.step);
                answered.push(time);
            }
        }
        // Work that goes on behind an answer is not counted alike each time; none of it is left out altogether.
        let reached: BTreeSet<String> = steps.into_iter().collect();
        assert_eq!(killed, reached, "not killed at some of the steps");
        serves_soon(&format!("{operation:?}"), answered);
    })
    .await;
}

/// Checks how long the daemon took to answer after it was killed.
pub(super) fn serves_soon(what: &str, mut answered: Vec<Duration>) {
    answered.sort();
    let (median, longest) = (answered[answered.len() / 2], answered[answered.len() - 1]);
    println!(
        "{what}: killed {} times, served again after {median:?} (median), {longest:?} (longest)",
        answered.len()
    );
    assert!(median < Duration::from_secs(1), "{answered:?}");
}

/// An operation during which the daemon is killed, and perhaps again while it starts.
pub(super) struct Crash<'a> {
    pub(super) operation: Operation,
    pub(super) first: &'a Case,
    pub(super) second: Option<&'a Case>,
}

impl Crash<'_> {
    fn context(&self) -> String {
        let at = |case: &Case| format!("killed at {} ({})", case.step, case.nth);
        let again = self.second.map(|case| format!(", again {}", at(case)));
        format!(
            "{:?} {}{}",
            self.operation,
            at(self.first),
            again.unwrap_or_default()
        )
    }

    /// Sets up, and has the daemon killed in the operation. A step that may not be reached this time is not.
    pub(super) async fn begins(&self, world: &World<'_>) -> (Subject, bool) {
        let node = world.node;
        let subject = self.operation.set_up(world).await;
        node.arm(&self.first.step, self.first.nth);
        let answer = tokio::time::timeout(patience(), self.operation.request(world, &subject));
        let Ok(answer) = answer.await else {
            panic!("{}: no answer", self.context());
        };
        let killed = node.killed(AFTERMATH).await;
        node.disarm();
        if let (false, Err(error)) = (killed, answer) {
            panic!("{}: was not, and failed: {error}", self.context());
        }
        (subject, killed)
    }

    /// Starts the daemon, which may be killed again; says whether it was.
    async fn starts_and_dies(&self, world: &World<'_>, case: &Case) -> bool {
        let node = world.node;
        node.arm(&case.step, case.nth);
        let killed = match node.start_or_die().await {
            Ok(_) => node.killed(AFTERMATH).await,
            Err(status) => {
                assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
                true
            }
        };
        node.disarm();
        killed
    }

    /// The whole of it; gives after what time the daemon answered at last, unless it was not killed as often as it
    /// should be.
    pub(super) async fn happens(&self, world: &World<'_>) -> Option<Duration> {
        let (operation, context) = (self.operation, self.context());
        println!("{context}");
        let (subject, mut killed) = self.begins(world).await;
        let mut running = !killed;
        if let (true, Some(second)) = (killed, self.second) {
            killed = self.starts_and_dies(world, second).await;
            running = !killed;
        }
        let answered = match running {
            true => None,
            false => Some(world.node.start().await),
        };
        let seen = operation.seen(world, &subject).await;
        assert!(is_lawful(operation, seen), "{context}: then {seen:?}");
        if let Err(error) = operation.request(world, &subject).await {
            panic!("{context}: asked again: {error}");
        }
        let seen = operation.seen(world, &subject).await;
        assert_eq!(seen, goal(operation), "{context}: asked again");
        world.clean_up().await;
        world.as_before(&context).await;
        world.bystander_runs().await;
        answered
    }
}
