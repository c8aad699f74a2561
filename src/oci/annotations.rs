//! Which annotations of a pod or container reach the OCI runtime.

use std::collections::BTreeMap;

/// Names that only this program sets.
const RESERVED: &str = "io.kubernetes.cri.";

/// Whether `key` is among the allowed ones.
///
/// An allowed entry that ends in `*` stands for all longer names that begin with what is before it;
/// every other entry stands for exactly itself, so that allowing `io.example.mode` never allows
/// `io.example.mode-override`.
pub fn is_allowed(allowed: &[String], key: &str) -> bool {
    if key.starts_with(RESERVED) {
        return false;
    }
    allowed.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => key.len() > prefix.len() && key.starts_with(prefix),
        None => key == entry,
    })
}

/// The allowed ones of `given`.
pub fn filter<'a>(
    allowed: &'a [String],
    given: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    given
        .iter()
        .filter(move |(key, _)| is_allowed(allowed, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_is_itself_or_a_marked_prefix() {
        let allowed = ["io.example.mode".to_owned(), "run.oci.*".to_owned()];
        assert!(is_allowed(&allowed, "io.example.mode"));
        assert!(!is_allowed(&allowed, "io.example.mode-override"));
        assert!(!is_allowed(&allowed, "io.example.mode.x"));
        assert!(is_allowed(&allowed, "run.oci.handler"));
        assert!(!is_allowed(&allowed, "run.oci."));
        assert!(!is_allowed(&["run.oci.".to_owned()], "run.oci.handler"));
        assert!(!is_allowed(&allowed, "run.ocix"));
    }

    #[test]
    fn our_own_names_cannot_be_given() {
        let allowed = ["io.kubernetes.*".to_owned()];
        assert!(!is_allowed(&allowed, "io.kubernetes.cri.sandbox-id"));
        assert!(is_allowed(&allowed, "io.kubernetes.other"));
    }

    proptest! {
        #[test]
        fn nothing_is_allowed_by_nothing(key in ".{0,40}") {
            prop_assert!(!is_allowed(&[], &key));
            prop_assert!(!is_allowed(&[String::new()], &key) || key.is_empty());
        }
    }
}
