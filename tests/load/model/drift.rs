//! What happens without being asked for.

use std::collections::BTreeSet;

use super::world::{KILLED, Life, PodState, World};

/// All worlds that `worlds` may have become by themselves, themselves among them.
pub(crate) fn all(worlds: impl IntoIterator<Item = World>) -> BTreeSet<World> {
    let mut reached = BTreeSet::new();
    let mut fresh: Vec<World> = worlds.into_iter().collect();
    while let Some(world) = fresh.pop() {
        if !reached.contains(&world) {
            fresh.extend(next(&world));
            reached.insert(world);
        }
    }
    reached
}

/// The worlds one step on.
fn next(world: &World) -> Vec<World> {
    let mut worlds = Vec::new();
    let state = world.state();
    for (&number, container) in &world.containers {
        let mut codes = match &container.life {
            Life::Created { ends } | Life::Running { ends } => ends.clone(),
            Life::Exited { .. } => BTreeSet::new(),
        };
        if container.late && matches!(container.life, Life::Created { .. }) {
            worlds.push(world.with(number, |one| {
                one.life = one.started();
                one.late = false;
            }));
        }
        let alive = !matches!(container.life, Life::Exited { .. });
        if alive && world.dooms(container) {
            codes.insert(KILLED);
        }
        worlds.extend(
            codes
                .into_iter()
                .map(|code| world.with(number, |one| one.life = Life::Exited { code })),
        );
        if container.going || state == Some(PodState::Going) {
            worlds.push(world.without(number));
        }
    }
    if state == Some(PodState::Going) && world.containers.is_empty() {
        worlds.push(World::default());
    }
    worlds
}
