//! Paths inside a container: checked as text, and those it may not see or change.

use std::path::{Component, Path, PathBuf};

use super::SpecError;
use crate::container::spec::Security;

/// An absolute path without `..`, with needless parts left out.
pub(super) fn clean(field: &'static str, path: &Path) -> Result<PathBuf, SpecError> {
    let error = || SpecError::Path {
        field,
        path: path.to_owned(),
    };
    if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(error());
    }
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => cleaned.push(part),
            Component::ParentDir | Component::Prefix(_) => return Err(error()),
        }
    }
    Ok(cleaned)
}

/// Masked and read-only paths, just as asked for; a privileged container has none.
pub(super) fn paths(security: &Security) -> Result<(Vec<String>, Vec<String>), SpecError> {
    if security.privileged {
        return Ok((Vec::new(), Vec::new()));
    }
    let check = |field, list: &[String]| {
        list.iter()
            .map(|path| clean(field, Path::new(path)).map(|_| path.clone()))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok((
        check("masked_paths", &security.masked_paths)?,
        check("readonly_paths", &security.readonly_paths)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cleans_and_refuses() {
        let ask = |path: &str| clean("field", Path::new(path));
        assert_eq!(ask("/a//b/./c/"), Ok("/a/b/c".into()));
        assert_eq!(ask("//"), Ok("/".into()));
        for bad in ["", "a", "./a", "/a/../b", "/..", "/a\0b"] {
            assert!(ask(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            ask("../x").unwrap_err().to_string(),
            "field \"../x\" is not an absolute path without '..'"
        );
    }

    proptest! {
        #[test]
        fn what_is_clean_stays_so(path in "[/a.\\\\ ]{0,20}") {
            if let Ok(cleaned) = clean("field", Path::new(&path)) {
                prop_assert!(cleaned.is_absolute());
                prop_assert_eq!(clean("field", &cleaned), Ok(cleaned.clone()));
            }
        }
    }
}
