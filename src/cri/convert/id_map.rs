//! ID mappings of user namespaces and mounts.

use super::error::{At, FieldError};
use crate::{cri::api, pod::spec::IdMapping};

/// Most lines the kernel takes in a `uid_map`.
const LINES_MAX: usize = 340;

/// Mappings that neither overflow nor overlap.
pub fn mappings(at: &At<'_>, given: &[api::IdMapping]) -> Result<Vec<IdMapping>, FieldError> {
    if given.len() > LINES_MAX {
        return Err(at.wrong(format!(
            "has {} entries, at most {LINES_MAX} are possible",
            given.len()
        )));
    }
    let mut checked: Vec<IdMapping> = Vec::with_capacity(given.len());
    for (i, m) in given.iter().enumerate() {
        let at = at.index(i);
        if m.length == 0 {
            return Err(at.field("length").bad_number(0, "maps nothing"));
        }
        for (name, first) in [("host_id", m.host_id), ("container_id", m.container_id)] {
            if first.checked_add(m.length).is_none() {
                return Err(at.field(name).bad_number(
                    first,
                    format!("leaves no room for {} IDs from there", m.length),
                ));
            }
        }
        for other in &checked {
            let overlap = |a: u32, b: u32| a < b + other.length && b < a + m.length;
            if overlap(m.container_id, other.container_id) {
                return Err(at
                    .field("container_id")
                    .bad_number(m.container_id, "is mapped twice"));
            }
            if overlap(m.host_id, other.host_id) {
                return Err(at.field("host_id").bad_number(m.host_id, "is mapped twice"));
            }
        }
        checked.push(IdMapping {
            host_id: m.host_id,
            container_id: m.container_id,
            length: m.length,
        });
    }
    Ok(checked)
}

/// Mappings back to the protocol.
pub fn to_api(mappings: &[IdMapping]) -> Vec<api::IdMapping> {
    mappings
        .iter()
        .map(|m| api::IdMapping {
            host_id: m.host_id,
            container_id: m.container_id,
            length: m.length,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: At<'static> = At::root("uids");

    fn line((container_id, host_id, length): (u32, u32, u32)) -> api::IdMapping {
        api::IdMapping {
            host_id,
            container_id,
            length,
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |lines: &[(u32, u32, u32)]| {
            let lines: Vec<_> = lines.iter().copied().map(line).collect();
            mappings(&AT, &lines).unwrap_err().to_string()
        };
        assert_eq!(error(&[(0, 0, 0)]), "uids[0].length: 0 maps nothing");
        assert_eq!(
            error(&[(0, 1000, 10), (5, 2000, 10)]),
            "uids[1].container_id: 5 is mapped twice"
        );
        assert_eq!(
            error(&[(0, 1000, 10), (10, 1009, 10)]),
            "uids[1].host_id: 1009 is mapped twice"
        );
        assert_eq!(
            error(&[(0, u32::MAX, 2)]),
            "uids[0].host_id: 4294967295 leaves no room for 2 IDs from there"
        );
    }

    proptest! {
        #[test]
        fn what_passes_is_one_to_one(lines in prop::collection::vec((0..50u32, 0..50u32, 0..20u32), 0..5)) {
            let lines: Vec<_> = lines.into_iter().map(line).collect();
            if let Ok(checked) = mappings(&AT, &lines) {
                let mut hosts: Vec<_> = checked.iter().flat_map(|m| m.host_id..m.host_id + m.length).collect();
                let count = hosts.len();
                hosts.sort_unstable();
                hosts.dedup();
                prop_assert_eq!(hosts.len(), count);
                prop_assert_eq!(to_api(&checked), lines);
            }
        }
    }
}
