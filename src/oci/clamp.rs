//! What was asked for, bounded by what this node may set.

use std::fmt;

use super::capability::CapSet;

/// A soft and a hard limit of one resource; `u64::MAX` means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The limit in force.
    pub soft: u64,
    /// How far a process may raise it.
    pub hard: u64,
}

/// Something that was asked for and given in part, for a log line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Clamped {
    /// The OOM killer preference could not go so low.
    OomScoreAdj {
        /// Asked for.
        asked: i32,
        /// Given.
        given: i32,
    },
    /// A resource limit could not go so high.
    Rlimit {
        /// Name without `RLIMIT_`.
        name: &'static str,
        /// Hard limit asked for.
        asked: u64,
        /// Hard limit given.
        given: u64,
    },
    /// A capability this node does not have itself.
    Capability(&'static str),
    /// A limit on huge pages of a size that no controller counts here.
    Hugepages(String),
    /// A limit on swap where none is counted.
    Swap,
    /// The default system call filter, on a kernel without filters.
    Seccomp,
}

impl fmt::Display for Clamped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OomScoreAdj { asked, given } => write!(
                f,
                "oom_score_adj {asked} is lower than this node may set: {given} is used"
            ),
            Self::Rlimit { name, asked, given } => write!(
                f,
                "hard limit {asked} of {name} is higher than this node may set: {given} is used"
            ),
            Self::Capability(name) => write!(
                f,
                "capability {name} is left out: this node does not have it itself"
            ),
            Self::Hugepages(size) => write!(
                f,
                "the limit on huge pages of {size} is left out: this node does not count them"
            ),
            Self::Swap => f.write_str("the limit on swap is left out: this node does not count it"),
            Self::Seccomp => {
                f.write_str("the default seccomp profile is left out: the kernel has no filters")
            }
        }
    }
}

/// Bounds an OOM killer preference by the kernel's range and by the lowest that may be set.
pub fn oom_score_adj(asked: i64, lowest: i32) -> (i32, Option<Clamped>) {
    let asked = asked.clamp(-1000, 1000) as i32;
    if asked < lowest {
        let clamped = Clamped::OomScoreAdj {
            asked,
            given: lowest,
        };
        return (lowest, Some(clamped));
    }
    (asked, None)
}

/// Bounds a resource limit by the highest hard limit that may be set.
pub fn rlimit(name: &'static str, asked: Limit, highest: u64) -> (Limit, Option<Clamped>) {
    let hard = asked.hard.min(highest);
    let given = Limit {
        soft: asked.soft.min(hard),
        hard,
    };
    let clamped = (hard < asked.hard).then_some(Clamped::Rlimit {
        name,
        asked: asked.hard,
        given: hard,
    });
    (given, clamped)
}

/// Bounds capabilities by those this node has.
pub fn capabilities(asked: CapSet, own: CapSet) -> (CapSet, Vec<Clamped>) {
    let clamped = asked
        .difference(own)
        .names()
        .map(Clamped::Capability)
        .collect();
    (asked.intersection(own), clamped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn oom_is_never_lower_than_allowed(asked: i64, lowest in -1000i32..=1000) {
            let (given, clamped) = oom_score_adj(asked, lowest);
            prop_assert!(given >= lowest && (-1000..=1000).contains(&given));
            prop_assert_eq!(clamped.is_some(), asked.clamp(-1000, 1000) < i64::from(lowest));
        }

        #[test]
        fn limits_stay_ordered(soft: u64, hard: u64, highest: u64) {
            let (given, clamped) = rlimit("NOFILE", Limit { soft, hard }, highest);
            prop_assert!(given.soft <= given.hard && given.hard <= highest);
            prop_assert_eq!(clamped.is_some(), hard > highest);
        }

        #[test]
        fn nothing_beyond_the_own_capabilities(asked: u64, own: u64) {
            let (asked, own) = (CapSet::from_bits(asked), CapSet::from_bits(own));
            let (given, clamped) = capabilities(asked, own);
            prop_assert!(own.contains(given) && asked.contains(given));
            prop_assert_eq!(clamped.len(), asked.difference(given).names().count());
        }
    }

    #[test]
    fn reads_well() {
        let (_, clamped) = oom_score_adj(-998, 0);
        assert_eq!(
            clamped.unwrap().to_string(),
            "oom_score_adj -998 is lower than this node may set: 0 is used"
        );
    }
}
