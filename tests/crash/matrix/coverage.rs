//! Every step that the daemon has a name for is reached by some operation, or by a start after it was killed.

use std::collections::BTreeSet;

use corten::step::Step;

use super::{cases::steps_of, operation::Operation, restarts::steps_after_crashes, world};

#[tokio::test]
async fn every_step_is_reached() {
    world::with(&Operation::ALL, async |world| {
        let mut reached = BTreeSet::new();
        for operation in Operation::ALL {
            let steps = steps_of(operation, world).await;
            assert!(!steps.is_empty(), "{operation:?} reaches no step");
            reached.extend(steps);
        }
        reached.extend(steps_after_crashes(world).await);
        let declared: BTreeSet<String> = Step::ALL.iter().map(|s| s.name().to_owned()).collect();
        assert_eq!(reached, declared);
    })
    .await;
}
