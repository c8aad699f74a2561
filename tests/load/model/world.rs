//! One way in which things may be.

use std::collections::{BTreeMap, BTreeSet};

/// Code of a container that was killed.
pub(crate) const KILLED: i32 = 137;
/// Code of a container that ends because it was asked to.
pub(crate) const OBEYED: i32 = 7;
/// CPU shares that containers are created with.
pub(crate) const SHARES: i64 = 512;

/// What the command of a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nature {
    /// Sleeps until it is killed.
    Sleeps,
    /// Ends with [`OBEYED`] when it is asked to.
    Obeys,
    /// Ends by itself.
    Ends(i32),
}

/// How far the life of a container is. `ends` are the codes with which it may end without a further request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    Created { ends: BTreeSet<i32> },
    Running { ends: BTreeSet<i32> },
    Exited { code: i32 },
}

/// A container. An ID that nobody was told is `None`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Container {
    pub(crate) id: Option<String>,
    pub(crate) nature: Nature,
    pub(crate) life: Life,
    pub(crate) shares: i64,
    /// The daemon is about to remove it.
    pub(crate) going: bool,
    /// An earlier daemon may have started it and died before it could say so: then a repeat succeeds, once.
    pub(crate) untold: bool,
    /// A start that nobody answered may still come to be: a daemon shows what is on record before it has looked, and
    /// the runtime that a dead one called may be at work.
    pub(crate) late: bool,
}

/// How far the life of a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PodState {
    Ready,
    /// The daemon may be about to end what runs in it.
    Stopping,
    Stopped,
    /// The daemon is about to remove it.
    Going,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pod {
    pub(crate) id: Option<String>,
    pub(crate) state: PodState,
}

/// One way in which a pod and its containers, by their numbers, may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct World {
    pub(crate) pod: Option<Pod>,
    pub(crate) containers: BTreeMap<u32, Container>,
}

/// Whether something that is known by `known` may be what is called `id`, and then is known by it.
pub(crate) fn recognise(known: &mut Option<String>, id: &str) -> bool {
    match known {
        Some(known) => known == id,
        None => {
            *known = Some(id.to_owned());
            true
        }
    }
}

impl World {
    /// A pod just made.
    pub(crate) fn fresh(id: Option<String>) -> Self {
        Self {
            pod: Some(Pod {
                id,
                state: PodState::Ready,
            }),
            containers: BTreeMap::new(),
        }
    }

    /// Its pod's state.
    pub(crate) fn state(&self) -> Option<PodState> {
        self.pod.as_ref().map(|pod| pod.state)
    }

    /// Whether the daemon may be about to kill a container.
    pub(crate) fn dooms(&self, one: &Container) -> bool {
        let state = self.state();
        one.going || matches!(state, Some(PodState::Stopping | PodState::Going))
    }

    /// The same with the pod in another state.
    pub(crate) fn with_state(&self, state: PodState) -> Self {
        let mut world = self.clone();
        if let Some(pod) = &mut world.pod {
            pod.state = state;
        }
        world
    }

    /// The same with a container changed.
    pub(crate) fn with(&self, number: u32, change: impl FnOnce(&mut Container)) -> Self {
        let mut world = self.clone();
        if let Some(container) = world.containers.get_mut(&number) {
            change(container);
        }
        world
    }

    /// The same without a container.
    pub(crate) fn without(&self, number: u32) -> Self {
        let mut world = self.clone();
        world.containers.remove(&number);
        world
    }
}

impl Container {
    /// One just made.
    pub(crate) fn fresh(id: Option<String>, nature: Nature) -> Self {
        Self {
            id,
            nature,
            life: Life::Created {
                ends: BTreeSet::new(),
            },
            shares: SHARES,
            going: false,
            untold: false,
            late: false,
        }
    }

    /// Its life once it is started.
    pub(crate) fn started(&self) -> Life {
        let mut ends = match &self.life {
            Life::Created { ends } => ends.clone(),
            Life::Running { .. } | Life::Exited { .. } => BTreeSet::new(),
        };
        if let Nature::Ends(code) = self.nature {
            ends.insert(code);
        }
        Life::Running { ends }
    }
}
