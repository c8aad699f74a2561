//! The worlds that agree with all that was answered and seen.

use std::{collections::BTreeSet, fmt};

use super::{
    drift, law,
    request::{Answer, Outcome, Request},
    world::World,
};

/// Something that cannot be, by all that was answered and seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Divergence {
    what: String,
    believed: BTreeSet<World>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which cannot be in any of", self.what)?;
        for world in &self.believed {
            write!(f, "\n  {world:?}")?;
        }
        Ok(())
    }
}

/// What may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Belief {
    worlds: BTreeSet<World>,
}

impl Default for Belief {
    /// Nothing of it was ever asked for.
    fn default() -> Self {
        Self {
            worlds: BTreeSet::from([World::default()]),
        }
    }
}

impl Belief {
    /// Every world that may be.
    pub(crate) fn worlds(&self) -> &BTreeSet<World> {
        &self.worlds
    }

    /// One of them, for whoever has to decide what to do next.
    pub(crate) fn likely(&self) -> World {
        self.worlds.last().cloned().unwrap_or_default()
    }

    /// The only one, if it is known which it is, and nothing happens in it by itself.
    pub(crate) fn certain(&self) -> Option<&World> {
        let mut all = self.worlds.iter();
        all.next()
            .filter(|_| all.next().is_none())
            .filter(|world| drift::all([(*world).clone()]).len() == 1)
    }

    /// Another daemon goes on with what there is.
    pub(crate) fn handed_over(&mut self) {
        let worlds = std::mem::take(&mut self.worlds).into_iter();
        self.worlds = worlds
            .map(|mut world| {
                for one in world.containers.values_mut() {
                    one.untold = true;
                }
                world
            })
            .collect();
    }

    /// A request came to this end.
    pub(crate) fn done(&mut self, request: &Request, outcome: &Outcome) -> Result<(), Divergence> {
        let worlds = after(&drift::all(self.worlds.clone()), request, outcome);
        self.become_one_of(worlds, || format!("{request:?} gave {outcome:?}"))
    }

    /// Two requests at a time came to these ends.
    pub(crate) fn done_both(
        &mut self,
        first: (&Request, &Outcome),
        second: (&Request, &Outcome),
    ) -> Result<(), Divergence> {
        let now = drift::all(self.worlds.clone());
        let mut worlds = BTreeSet::new();
        for (one, other) in [(first, second), (second, first)] {
            // One after the other; or the other one while the first is under way.
            let between = after(&now, one.0, one.1);
            worlds.extend(after(&drift::all(between), other.0, other.1));
            // What was refused was not under way.
            if matches!(one.1, Outcome::Answered(Answer::Refused(_))) {
                continue;
            }
            let begun = after(&now, one.0, &Outcome::Lost);
            let between = after(&drift::all(begun), other.0, other.1);
            worlds.extend(after(&drift::all(between), one.0, one.1));
        }
        // Equal ones are joined.
        if first == second {
            worlds.extend(after(&now, first.0, first.1));
        }
        self.become_one_of(worlds, || {
            let of = |(request, outcome): (&Request, &Outcome)| format!("{request:?} {outcome:?}");
            format!("at a time {} and {}", of(first), of(second))
        })
    }

    /// Something was seen: only worlds that look like that remain.
    pub(crate) fn sees(
        &mut self,
        what: impl fmt::Debug,
        looks: impl Fn(&World) -> Option<World>,
    ) -> Result<(), Divergence> {
        let now = drift::all(self.worlds.clone());
        let worlds = now.iter().filter_map(looks).collect();
        self.become_one_of(worlds, || format!("{what:?} was seen"))
    }

    fn become_one_of(
        &mut self,
        worlds: BTreeSet<World>,
        what: impl FnOnce() -> String,
    ) -> Result<(), Divergence> {
        if worlds.is_empty() {
            return Err(Divergence {
                what: what(),
                believed: self.worlds.clone(),
            });
        }
        self.worlds = worlds;
        Ok(())
    }
}

fn after(worlds: &BTreeSet<World>, request: &Request, outcome: &Outcome) -> BTreeSet<World> {
    let mut reached = BTreeSet::new();
    for world in worlds {
        match outcome {
            Outcome::Answered(answer) => reached.extend(law::answered(world, request, answer)),
            Outcome::Lost => {
                reached.extend(law::begun(world, request));
                reached.insert(world.clone());
            }
        }
    }
    reached
}

/// An answer as an outcome.
impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Answered(answer)
    }
}
