//! ID mappings of user namespaces and id-mapped mounts: plain values and their arithmetic.
//!
//! Which IDs of the host a pod gets is its caller's to decide, host root among them: a mapping is checked for
//! being one-to-one and within what IDs there are, and for nothing else.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Most lines the kernel takes in a `uid_map`.
pub const LINES_MAX: usize = 340;

/// ID mappings of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMappings {
    /// User IDs.
    pub uids: Vec<IdMapping>,
    /// Group IDs.
    pub gids: Vec<IdMapping>,
}

/// One line of `/proc/PID/uid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First ID on the host.
    pub host_id: u32,
    /// First ID inside.
    pub container_id: u32,
    /// How many.
    pub length: u32,
}

/// An owner on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Why a list of mappings cannot be used; `at` is the offender's place in the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdMapError {
    /// More lines than the kernel takes.
    #[error("has {count} entries, at most {LINES_MAX} are possible")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A line without IDs.
    #[error("entry {at} maps nothing")]
    Empty {
        /// Which.
        at: usize,
    },
    /// The last ID would be one that does not exist.
    #[error("entry {at}: {first} leaves no room for {length} IDs from there")]
    Overflow {
        /// Which.
        at: usize,
        /// On which side.
        side: Side,
        /// Its first ID.
        first: u32,
        /// How many it maps.
        length: u32,
    },
    /// An ID that an earlier line has mapped.
    #[error("entry {at}: {first} is mapped twice")]
    Twice {
        /// Which.
        at: usize,
        /// On which side.
        side: Side,
        /// Its first ID.
        first: u32,
    },
}

/// A side of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// IDs of the host.
    Host,
    /// IDs inside.
    Container,
}

impl IdMapping {
    fn first(&self, side: Side) -> u32 {
        match side {
            Side::Host => self.host_id,
            Side::Container => self.container_id,
        }
    }

    /// The last ID is below the kernel's "no ID", which is the largest number.
    fn fits(&self, side: Side) -> bool {
        self.first(side).checked_add(self.length).is_some()
    }

    fn overlaps(&self, other: &Self, side: Side) -> bool {
        let range = |m: &Self| {
            let first = u64::from(m.first(side));
            first..first + u64::from(m.length)
        };
        let (a, b) = (range(self), range(other));
        a.start < b.end && b.start < a.end
    }
}

/// Checks that mappings are one-to-one and name only IDs that exist.
pub fn check(list: &[IdMapping]) -> Result<(), IdMapError> {
    if list.len() > LINES_MAX {
        return Err(IdMapError::TooMany { count: list.len() });
    }
    for (at, one) in list.iter().enumerate() {
        if one.length == 0 {
            return Err(IdMapError::Empty { at });
        }
        for side in [Side::Host, Side::Container] {
            let first = one.first(side);
            if !one.fits(side) {
                return Err(IdMapError::Overflow {
                    at,
                    side,
                    first,
                    length: one.length,
                });
            }
        }
        for side in [Side::Container, Side::Host] {
            if list[..at].iter().any(|other| one.overlaps(other, side)) {
                let first = one.first(side);
                return Err(IdMapError::Twice { at, side, first });
            }
        }
    }
    Ok(())
}

/// What an ID inside is on the host; `None` for one that means nothing inside.
pub fn to_host(id: u32, list: &[IdMapping]) -> Option<u32> {
    list.iter().find_map(|one| {
        let offset = id.checked_sub(one.container_id)?;
        (offset < one.length)
            .then(|| one.host_id.checked_add(offset))
            .flatten()
    })
}

/// Whether an ID means anything inside.
pub fn is_mapped(id: u32, list: &[IdMapping]) -> bool {
    to_host(id, list).is_some()
}

/// As the kernel takes mappings in `/proc/PID/uid_map`.
pub(crate) fn lines(list: &[IdMapping]) -> String {
    let mut text = String::new();
    for one in list {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {}", one.container_id, one.host_id, one.length);
    }
    text
}

impl UserMappings {
    /// Who on the host an owner inside is; `None` for one that means nothing inside.
    pub fn owner(&self, uid: u32, gid: u32) -> Option<Owner> {
        Some(Owner {
            uid: to_host(uid, &self.uids)?,
            gid: to_host(gid, &self.gids)?,
        })
    }

    /// Who on the host the root user inside is.
    pub fn root(&self) -> Option<Owner> {
        self.owner(0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mapping((container_id, host_id, length): (u32, u32, u32)) -> IdMapping {
        IdMapping {
            host_id,
            container_id,
            length,
        }
    }

    #[test]
    fn one_line_maps_its_range_and_no_more() {
        let list = [mapping((10, 100_000, 5))];
        for (id, host) in [
            (0, None),
            (9, None),
            (10, Some(100_000)),
            (14, Some(100_004)),
            (15, None),
            (u32::MAX, None),
        ] {
            assert_eq!(to_host(id, &list), host, "{id}");
            assert_eq!(is_mapped(id, &list), host.is_some());
        }
        assert_eq!(lines(&list), "10 100000 5\n");
    }

    #[test]
    fn the_largest_number_is_no_id() {
        let ask = |container, host, length| check(&[mapping((container, host, length))]);
        assert_eq!(ask(0, 0, u32::MAX), Ok(()));
        assert!(matches!(
            ask(1, 0, u32::MAX),
            Err(IdMapError::Overflow {
                side: Side::Container,
                ..
            })
        ));
        assert!(matches!(
            ask(0, u32::MAX, 1),
            Err(IdMapError::Overflow {
                side: Side::Host,
                ..
            })
        ));
        assert_eq!(ask(0, u32::MAX - 1, 1), Ok(()));
        assert_eq!(ask(0, 0, 0), Err(IdMapError::Empty { at: 0 }));
    }

    #[test]
    fn a_list_is_bounded() {
        let list: Vec<_> = (0..341).map(|n| mapping((n, n, 1))).collect();
        assert_eq!(check(&list[..340]), Ok(()));
        assert_eq!(check(&list), Err(IdMapError::TooMany { count: 341 }));
    }

    #[test]
    fn owners_need_both_ids() {
        let users = UserMappings {
            uids: vec![mapping((0, 1000, 10))],
            gids: vec![mapping((0, 2000, 5))],
        };
        let root = Owner {
            uid: 1000,
            gid: 2000,
        };
        assert_eq!(users.root(), Some(root));
        assert_eq!(users.owner(9, 9), None);
        assert_eq!(users.owner(9, 4).unwrap().uid, 1009);
    }

    proptest! {
        /// Any numbers whatever: nothing overflows, and what passes is one-to-one.
        #[test]
        fn any_list_is_judged(lines in prop::collection::vec(any::<(u32, u32, u32)>(), 0..6), id: u32) {
            let list: Vec<_> = lines.into_iter().map(mapping).collect();
            let _ = to_host(id, &list);
            if check(&list).is_ok() {
                for one in &list {
                    let last = one.length - 1;
                    prop_assert_eq!(to_host(one.container_id, &list), Some(one.host_id));
                    prop_assert_eq!(to_host(one.container_id + last, &list), Some(one.host_id + last));
                    prop_assert_ne!(one.host_id + last, u32::MAX);
                }
            }
        }

        #[test]
        fn what_passes_is_one_to_one(
            lines in prop::collection::vec((0..50u32, 0..50u32, 0..20u32), 0..5),
        ) {
            let list: Vec<_> = lines.into_iter().map(mapping).collect();
            if check(&list).is_ok() {
                let mut hosts: Vec<_> = (0..70).filter_map(|id| to_host(id, &list)).collect();
                let count = hosts.len();
                hosts.sort_unstable();
                hosts.dedup();
                prop_assert_eq!(hosts.len(), count);
                prop_assert_eq!(count, list.iter().map(|m| m.length as usize).sum::<usize>());
            }
        }

        /// No ID of a container becomes one of the host outside its range, root above all.
        #[test]
        fn nothing_leads_out_of_the_range(id: u32, host in 1..u32::MAX, length in 1..u32::MAX) {
            let list = [mapping((0, host, length))];
            prop_assume!(check(&list).is_ok());
            if let Some(found) = to_host(id, &list) {
                prop_assert!(found >= host && found - host < length && found != 0);
            }
        }
    }
}
