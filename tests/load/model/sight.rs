//! What lists and statuses show, and whether a world looks like that.

use super::world::{Life, PodState, World, recognise};

/// A pod as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenPod {
    pub(crate) id: String,
    pub(crate) ready: bool,
}

/// The life of a container as it is shown; lists do not show how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SeenLife {
    Created,
    Running,
    Exited { end: Option<(i32, String)> },
}

/// A container as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenContainer {
    pub(crate) number: u32,
    pub(crate) id: String,
    pub(crate) life: SeenLife,
    pub(crate) shares: Option<i64>,
}

impl World {
    /// This world, if it looks like `seen`: the pods of its name.
    pub(crate) fn if_pod(&self, seen: &[SeenPod]) -> Option<Self> {
        let mut world = self.clone();
        match (&mut world.pod, seen) {
            (None, []) => Some(world),
            (Some(pod), [seen]) => {
                let alike = seen.ready == (pod.state == PodState::Ready);
                (alike && recognise(&mut pod.id, &seen.id)).then_some(world)
            }
            _ => None,
        }
    }

    /// This world, if all its containers are those `seen`.
    pub(crate) fn if_containers(&self, seen: &[SeenContainer]) -> Option<Self> {
        if seen.len() != self.containers.len() {
            return None;
        }
        seen.iter()
            .try_fold(self.clone(), |world, one| world.if_container(one))
    }

    /// This world, if it has a container that looks like this.
    pub(crate) fn if_container(&self, seen: &SeenContainer) -> Option<Self> {
        let mut world = self.clone();
        let one = world.containers.get_mut(&seen.number)?;
        let alive = match (&one.life, &seen.life) {
            (Life::Created { .. }, SeenLife::Created) => true,
            (Life::Running { .. }, SeenLife::Running) => true,
            (Life::Exited { code }, SeenLife::Exited { end }) => end
                .as_ref()
                .is_none_or(|(said, reason)| said == code && reason == reason_of(*code)),
            _ => false,
        };
        let shares = seen.shares.is_none_or(|shares| shares == one.shares);
        (alive && shares && recognise(&mut one.id, &seen.id)).then_some(world)
    }

    /// This world, if it has no container of this ID.
    pub(crate) fn if_no_container(&self, id: &str) -> Option<Self> {
        let known = self
            .containers
            .values()
            .any(|one| one.id.as_deref() == Some(id));
        (!known).then(|| self.clone())
    }

    /// This world, if its pod is not the one of this ID.
    pub(crate) fn if_no_pod(&self, id: &str) -> Option<Self> {
        let known = self.pod.as_ref().and_then(|pod| pod.id.as_deref()) == Some(id);
        (!known).then(|| self.clone())
    }
}

/// Why a process ended with this code.
fn reason_of(code: i32) -> &'static str {
    match code {
        0 => "Completed",
        _ => "Error",
    }
}
