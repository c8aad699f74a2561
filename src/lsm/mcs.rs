//! Levels that keep pods apart: each pod gets a pair of categories that no other pod has.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::id::Id;

/// Categories the usual policies have, `c0` to `c1023`.
const CATEGORIES: u32 = 1024;
/// Pairs of different categories.
const PAIRS: u32 = CATEGORIES * (CATEGORIES - 1) / 2;

/// Two different categories, the lower one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    low: u32,
    high: u32,
}

impl Pair {
    /// The pair of that number, of all there are; numbers beyond begin again.
    pub fn numbered(number: u32) -> Self {
        let number = number % PAIRS;
        // Pairs are counted by their higher category, which has as many of them as its own number.
        let mut high = (number * 2).isqrt();
        while high * (high + 1) / 2 <= number {
            high += 1;
        }
        while high * (high - 1) / 2 > number {
            high -= 1;
        }
        Self {
            low: number - high * (high - 1) / 2,
            high,
        }
    }

    /// The pair in a level like `s0:c12,c345`; `None` for any other level.
    pub fn of_level(level: &str) -> Option<Self> {
        let (_, categories) = level.split_once(':')?;
        let (a, b) = categories.split_once(',')?;
        let number = |text: &str| -> Option<u32> {
            let digits = text.strip_prefix('c')?;
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| plain)?;
            (number < CATEGORIES).then_some(number)
        };
        let (a, b) = (number(a)?, number(b)?);
        (a != b).then(|| Self {
            low: a.min(b),
            high: a.max(b),
        })
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{},c{}", self.low, self.high)
    }
}

/// Which pod has which pair.
#[derive(Debug, Default)]
pub struct Pairs {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_pod: HashMap<Id, Pair>,
    pairs: HashSet<Pair>,
}

impl Pairs {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a pod a pair that no other pod has; `None` when all are given out.
    ///
    /// The pod's ID, which is random, says where the search begins.
    pub fn take(&self, pod: &Id) -> Option<Pair> {
        let mut taken = self.taken();
        if let Some(pair) = taken.by_pod.get(pod) {
            return Some(*pair);
        }
        let start = pod
            .as_str()
            .get(..8)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .unwrap_or(0)
            % PAIRS;
        let pair = (0..PAIRS)
            .map(|step| Pair::numbered(start + step))
            .find(|pair| !taken.pairs.contains(pair))?;
        taken.pairs.insert(pair);
        taken.by_pod.insert(pod.clone(), pair);
        Some(pair)
    }

    /// Notes the pair a pod has from an earlier daemon, or was asked to have.
    pub fn note(&self, pod: &Id, level: &str) {
        if let Some(pair) = Pair::of_level(level) {
            let mut taken = self.taken();
            taken.pairs.insert(pair);
            taken.by_pod.insert(pod.clone(), pair);
        }
    }

    /// Takes a pod's pair back, once nothing of the pod is left.
    pub fn release(&self, pod: &Id) {
        let mut taken = self.taken();
        if let Some(pair) = taken.by_pod.remove(pod)
            // Pods that ask for a level may share one.
            && !taken.by_pod.values().any(|other| *other == pair)
        {
            taken.pairs.remove(&pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u32) -> Id {
        Id::parse(&format!("{number:08x}{}", "0".repeat(56))).unwrap()
    }

    #[test]
    fn every_number_is_a_pair_of_its_own() {
        let all: HashSet<Pair> = (0..PAIRS).map(Pair::numbered).collect();
        assert_eq!(all.len(), PAIRS as usize);
        assert!(all.iter().all(|p| p.low < p.high && p.high < CATEGORIES));
        assert_eq!(Pair::numbered(PAIRS), Pair::numbered(0));
    }

    #[test]
    fn no_two_pods_have_the_same() {
        let pairs = Pairs::default();
        let first = pairs.take(&id(7)).unwrap();
        assert_eq!(pairs.take(&id(7)), Some(first));
        // One whose search begins at the same place.
        let second = pairs.take(&id(7 + PAIRS)).unwrap();
        assert_ne!(first, second);
        pairs.release(&id(7));
        assert_eq!(pairs.take(&id(7 + 2 * PAIRS)), Some(first));
    }

    #[test]
    fn what_a_pod_asked_for_is_given_to_no_other() {
        let pairs = Pairs::default();
        let natural = Pair::numbered(9);
        let level = format!("s0:{natural}");
        pairs.note(&id(1), &level);
        pairs.note(&id(2), &level);
        assert_ne!(pairs.take(&id(9)), Some(natural));
        pairs.release(&id(1));
        assert_ne!(pairs.take(&id(9 + PAIRS)), Some(natural));
        pairs.release(&id(2));
        assert_eq!(pairs.take(&id(9 + 2 * PAIRS)), Some(natural));
        pairs.note(&id(3), "s0-s15:c0.c1023");
        pairs.release(&id(3));
    }

    #[test]
    fn all_given_out_is_none_left() {
        let pairs = Pairs::default();
        pairs.taken().pairs = (0..PAIRS).map(Pair::numbered).collect();
        assert_eq!(pairs.take(&id(PAIRS)), None);
    }

    proptest! {
        #[test]
        fn there_and_back(number in 0..PAIRS) {
            let pair = Pair::numbered(number);
            prop_assert_eq!(Pair::of_level(&format!("s0:{pair}")), Some(pair));
            prop_assert_eq!(pair.high * (pair.high - 1) / 2 + pair.low, number);
        }

        #[test]
        fn any_level_will_do(level in "s0(:c[0-9]{0,5}(,c[0-9+]{0,5}){0,2})?|.{0,20}") {
            if let Some(pair) = Pair::of_level(&level) {
                prop_assert!(pair.low < pair.high && pair.high < CATEGORIES);
            }
        }
    }
}
