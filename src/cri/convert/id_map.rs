//! ID mappings of user namespaces and mounts.

use super::error::{At, FieldError};
use crate::{
    cri::api,
    id_map::{self, IdMapError, IdMapping, LINES_MAX, Side},
};

/// Mappings that neither overflow nor overlap.
pub fn mappings(at: &At<'_>, given: &[api::IdMapping]) -> Result<Vec<IdMapping>, FieldError> {
    // One more than can be right is enough to say so.
    let list: Vec<IdMapping> = given
        .iter()
        .take(LINES_MAX + 1)
        .map(|m| IdMapping {
            host_id: m.host_id,
            container_id: m.container_id,
            length: m.length,
        })
        .collect();
    id_map::check(&list).map_err(|error| wrong(at, given.len(), &error))?;
    Ok(list)
}

/// Names the field that is wrong.
fn wrong(at: &At<'_>, count: usize, error: &IdMapError) -> FieldError {
    let field = |side| match side {
        Side::Host => "host_id",
        Side::Container => "container_id",
    };
    match *error {
        IdMapError::TooMany { .. } => at.wrong(IdMapError::TooMany { count }.to_string()),
        IdMapError::Empty { at: n } => at.index(n).field("length").bad_number(0, "maps nothing"),
        IdMapError::Overflow {
            at: n,
            side,
            first,
            length,
        } => at
            .index(n)
            .field(field(side))
            .bad_number(first, format!("leaves no room for {length} IDs from there")),
        IdMapError::Twice { at: n, side, first } => at
            .index(n)
            .field(field(side))
            .bad_number(first, "is mapped twice"),
    }
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
        fn what_passes_goes_there_and_back(lines in prop::collection::vec(any::<(u32, u32, u32)>(), 0..5)) {
            let lines: Vec<_> = lines.into_iter().map(line).collect();
            if let Ok(checked) = mappings(&AT, &lines) {
                prop_assert_eq!(to_api(&checked), lines);
            }
        }
    }

    #[test]
    fn a_list_is_bounded() {
        let lines: Vec<_> = (0..1000).map(|n| line((n, n, 1))).collect();
        assert_eq!(
            mappings(&AT, &lines).unwrap_err().to_string(),
            "uids: has 1000 entries, at most 340 are possible"
        );
        assert!(mappings(&AT, &lines[..LINES_MAX]).is_ok());
    }
}
