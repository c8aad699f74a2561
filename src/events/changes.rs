//! What happened between two views of a sandbox. Pure.

use std::collections::HashMap;

use crate::{
    container::view::ContainerState,
    id::Id,
    pod::view::{PodView, PodViewState},
};

/// What happened to a sandbox or a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It was made.
    Created,
    /// It was started; a sandbox: it is ready.
    Started,
    /// It ended; a sandbox: it is no longer ready.
    Stopped,
    /// It was removed.
    Deleted,
}

/// How far a container's life is, as events tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Created,
    Running,
    Ended,
}

/// What happened between two views, in an order in which it can have happened.
///
/// A container that is no longer there has ended before, whether or not a view showed it; and what has ended
/// does not start afterwards, even if the time of its start becomes known only then.
pub(crate) fn between(before: Option<&PodView>, after: &PodView) -> Vec<(Id, Kind)> {
    let mut happened = Vec::new();
    let was_ready = before.is_some_and(|pod| pod.state == PodViewState::Ready);
    let is_ready = after.state == PodViewState::Ready;
    if before.is_none() {
        happened.push((after.id.clone(), Kind::Created));
    }
    if is_ready && !was_ready {
        happened.push((after.id.clone(), Kind::Started));
    }
    let mut known: HashMap<&Id, Stage> = before
        .into_iter()
        .flat_map(|pod| &pod.containers)
        .map(|container| (&container.id, stage(&container.state)))
        .collect();
    for container in &after.containers {
        let mut tell = |kind| happened.push((container.id.clone(), kind));
        let stood = known.remove(&container.id);
        if stood.is_none() {
            tell(Kind::Created);
        }
        let stood = stood.unwrap_or(Stage::Created);
        let stands = stage(&container.state);
        if stood == Stage::Created && has_started(&container.state) {
            tell(Kind::Started);
        }
        if stood < Stage::Ended && stands == Stage::Ended {
            tell(Kind::Stopped);
        }
    }
    for container in before.into_iter().flat_map(|pod| &pod.containers) {
        if let Some(stood) = known.get(&container.id) {
            if *stood < Stage::Ended {
                happened.push((container.id.clone(), Kind::Stopped));
            }
            happened.push((container.id.clone(), Kind::Deleted));
        }
    }
    if !is_ready && (was_ready || before.is_none()) {
        happened.push((after.id.clone(), Kind::Stopped));
    }
    happened
}

/// What happens when a sandbox goes with all that is in it, and how it is told to have been at last.
pub(crate) fn ended(pod: &PodView) -> (PodView, Vec<(Id, Kind)>) {
    let last = PodView {
        state: PodViewState::NotReady,
        containers: Vec::new(),
        ..pod.clone()
    };
    let mut happened = between(Some(pod), &last);
    happened.push((pod.id.clone(), Kind::Deleted));
    (last, happened)
}

fn stage(state: &ContainerState) -> Stage {
    match state {
        ContainerState::Created => Stage::Created,
        ContainerState::Running { .. } => Stage::Running,
        ContainerState::Exited { .. } | ContainerState::Unknown { .. } => Stage::Ended,
    }
}

fn has_started(state: &ContainerState) -> bool {
    match state {
        ContainerState::Running { .. } => true,
        ContainerState::Exited { started_at, .. } => started_at.is_some(),
        ContainerState::Created | ContainerState::Unknown { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::convert::arbitrary::{container_view, pod_view};
    use proptest::prelude::*;
    use std::{collections::BTreeMap, sync::Arc};

    fn exited(started: bool) -> ContainerState {
        ContainerState::Exited {
            started_at: started.then_some(2),
            finished_at: 3,
            exit_code: 0,
            reason: "Completed".into(),
            message: String::new(),
        }
    }

    fn pod(ready: bool, containers: &[(u8, ContainerState)]) -> PodView {
        let mut pod = pod_view(0);
        if !ready {
            pod.state = PodViewState::NotReady;
        }
        for (n, state) in containers {
            let mut container = container_view(*n, &pod.id);
            container.state = state.clone();
            pod.containers.push(Arc::new(container));
        }
        pod
    }

    fn kinds(happened: &[(Id, Kind)]) -> Vec<(u8, Kind)> {
        let number = |id: &Id| u8::from_str_radix(&id.as_str()[..2], 16).unwrap();
        happened
            .iter()
            .map(|(id, kind)| (number(id), *kind))
            .collect()
    }

    #[test]
    fn a_usual_life() {
        use Kind::*;
        let running = ContainerState::Running { started_at: 2 };
        let steps = [
            (pod(true, &[]), vec![(0, Created), (0, Started)]),
            (
                pod(true, &[(1, ContainerState::Created)]),
                vec![(1, Created)],
            ),
            (
                pod(true, &[(1, running), (2, exited(true))]),
                vec![(1, Started), (2, Created), (2, Started), (2, Stopped)],
            ),
            (
                pod(false, &[(1, exited(true))]),
                vec![(1, Stopped), (2, Deleted), (0, Stopped)],
            ),
        ];
        let mut before: Option<PodView> = None;
        for (after, expected) in steps {
            assert_eq!(kinds(&between(before.as_ref(), &after)), expected);
            assert!(between(Some(&after), &after).is_empty());
            before = Some(after);
        }
        let (last, happened) = ended(&before.unwrap());
        assert_eq!(kinds(&happened), [(1, Deleted), (0, Deleted)]);
        assert!(last.containers.is_empty());
    }

    #[test]
    fn what_has_ended_does_not_start() {
        let before = pod(true, &[(1, exited(false))]);
        assert!(between(Some(&before), &pod(true, &[(1, exited(true))])).is_empty());
        let (_, happened) = ended(&pod(true, &[(1, ContainerState::Created)]));
        assert_eq!(
            kinds(&happened),
            [
                (1, Kind::Stopped),
                (1, Kind::Deleted),
                (0, Kind::Stopped),
                (0, Kind::Deleted)
            ]
        );
    }

    /// Views of one pod in the order in which an actor could publish them: nothing goes back.
    fn history() -> impl Strategy<Value = Vec<PodView>> {
        let moves = prop::collection::vec((0..6u8, 0..4u8, any::<bool>()), 0..30);
        (any::<bool>(), moves).prop_map(|(ready, moves)| {
            let mut ready = ready;
            let mut now: BTreeMap<u8, ContainerState> = BTreeMap::new();
            let mut gone = Vec::new();
            let mut views = vec![pod(ready, &[])];
            for (n, to, started) in moves {
                if n == 0 {
                    ready &= to != 0;
                } else if !gone.contains(&n) {
                    let next = match (to, now.get(&n)) {
                        (0, None) => Some(ContainerState::Created),
                        (1, None | Some(ContainerState::Created)) => {
                            Some(ContainerState::Running { started_at: 2 })
                        }
                        (2, Some(ContainerState::Running { .. })) => Some(exited(true)),
                        (2, None | Some(ContainerState::Created)) => Some(exited(started)),
                        (3, Some(_)) => {
                            gone.push(n);
                            now.remove(&n);
                            None
                        }
                        _ => None,
                    };
                    now.extend(next.map(|state| (n, state)));
                }
                let all: Vec<_> = now.clone().into_iter().collect();
                views.push(pod(ready, &all));
            }
            views
        })
    }

    proptest! {
        #[test]
        fn every_life_is_told_once_and_in_order(views in history()) {
            let mut told = Vec::new();
            let mut before = None;
            for view in &views {
                told.extend(kinds(&between(before, view)));
                before = Some(view);
            }
            let (_, last) = ended(before.unwrap());
            told.extend(kinds(&last));
            let mut lives: BTreeMap<u8, Vec<Kind>> = BTreeMap::new();
            for (n, kind) in told {
                lives.entry(n).or_default().push(kind);
            }
            for (n, life) in lives {
                prop_assert_eq!(life.first(), Some(&Kind::Created), "{}: {:?}", n, &life);
                prop_assert!(life.is_sorted() && life.windows(2).all(|w| w[0] != w[1]), "{}: {:?}", n, &life);
                prop_assert!(life.ends_with(&[Kind::Stopped, Kind::Deleted]), "{}: {:?}", n, &life);
            }
        }
    }
}
