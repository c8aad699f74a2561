//! The daemon is killed again while it takes up what it left when it was killed.

use std::collections::BTreeSet;

use super::{
    cases::{Case, Crash, cases, quiet, serves_soon, steps_of},
    operation::Operation,
    world::{self, World},
};

/// Where it is killed first: each time something of another kind is unfinished.
const FIRST: [(Operation, &str); 11] = [
    (Operation::RunPodSandbox, "network-result-staged"),
    (Operation::RunPodSandbox, "monitor-detached"),
    (Operation::StopPodSandbox, "cni-del-called"),
    (Operation::RemovePodSandbox, "runtime-delete-called"),
    (Operation::CreateContainer, "storage-record-staged"),
    (Operation::CreateContainer, "monitor-detached"),
    (Operation::CreateContainer, "container-record-staged"),
    (Operation::StartContainer, "runtime-started"),
    (Operation::StopContainer, "container-noted"),
    (Operation::RemoveContainer, "rootfs-unmounted"),
    (Operation::PullImage, "layer-unpacked"),
];

fn first(step: &str) -> Case {
    Case {
        step: step.to_owned(),
        nth: 1,
    }
}

/// The steps that are reached when the daemon starts after it was killed in one of these ways.
pub(super) async fn steps_after_crashes(world: &mut World<'_>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (operation, step) in FIRST {
        all.extend(steps_after(operation, &first(step), world).await);
    }
    all
}

async fn steps_after(operation: Operation, first: &Case, world: &mut World<'_>) -> Vec<String> {
    let crash = Crash {
        operation,
        first,
        second: None,
    };
    let (_, killed) = crash.begins(world).await;
    assert!(killed, "{operation:?} does not reach {}", first.step);
    world.node.follow();
    world.node.start().await;
    let steps = quiet(world).await;
    world.clean_up().await;
    world.settle().await;
    steps
}

/// Kills the daemon a second time, once at each step of its start after it was killed in some operations.
pub(super) async fn killed_at_the_start_after(wanted: &[Operation]) {
    world::with(wanted, async |world| {
        // Directories that are made with the first of their kind stay.
        for operation in wanted {
            steps_of(*operation, world).await;
        }
        let mut answered = Vec::new();
        for (operation, step) in FIRST {
            if !wanted.contains(&operation) {
                continue;
            }
            let first = first(step);
            let steps = steps_after(operation, &first, world).await;
            let mut killed = 0;
            // Often reached ones are each alike.
            let seconds = cases(&steps).into_iter().filter(|case| case.nth == 1);
            for second in seconds {
                let crash = Crash {
                    operation,
                    first: &first,
                    second: Some(&second),
                };
                let time = crash.happens(world).await;
                killed += usize::from(time.is_some());
                answered.extend(time);
            }
            assert!(killed > 1, "{operation:?} after {step}: {steps:?}");
        }
        serves_soon("killed twice", answered);
    })
    .await;
}
