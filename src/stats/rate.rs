//! CPU use over the time between two looks.

use std::time::{Duration, Instant};

/// Shortest time over which a rate says something.
const WINDOW_MIN: Duration = Duration::from_millis(300);

/// CPU time as it was at the last look, and the rate known then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    used_ns: u64,
    at: Instant,
    known: Option<u64>,
}

impl Rate {
    /// The first look: no rate is known yet.
    pub(super) fn new(used_ns: u64, at: Instant) -> Self {
        Self {
            used_ns,
            at,
            known: None,
        }
    }

    /// Takes the next look into account; gives thousand-millionths of a core. A look that follows another one at
    /// once gets that one's rate.
    pub(super) fn next(&mut self, used_ns: u64, at: Instant) -> Option<u64> {
        let passed = at.saturating_duration_since(self.at);
        if used_ns < self.used_ns {
            // Another cgroup has taken its place.
            *self = Self::new(used_ns, at);
        } else if passed >= WINDOW_MIN {
            let used = u128::from(used_ns - self.used_ns) * 1_000_000_000;
            let known = u64::try_from(used / passed.as_nanos().max(1)).ok();
            *self = Self { used_ns, at, known };
        }
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rate_needs_two_looks() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::new(100, start);
        assert_eq!(rate.next(100, after(10)), None);
        // Half a core for a second.
        assert_eq!(rate.next(500_000_100, after(1000)), Some(500_000_000));
        assert_eq!(rate.next(999_999_999, after(1100)), Some(500_000_000));
        assert_eq!(rate.next(500_000_100, after(3000)), Some(0));
        assert_eq!(rate.next(5, after(4000)), None);
        assert_eq!(rate.next(1_000_000_005, after(5000)), Some(1_000_000_000));
    }

    proptest! {
        #[test]
        fn any_numbers_go(looks in proptest::collection::vec((any::<u64>(), 0u64..5000), 1..20)) {
            let start = Instant::now();
            let mut rate = Rate::new(0, start);
            for (used, ms) in looks {
                let _ = rate.next(used, start + Duration::from_millis(ms));
            }
        }
    }
}
