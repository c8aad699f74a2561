//! Checks of texts, paths and maps that several fields share.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Component, Path, PathBuf},
};

use super::error::{At, FieldError};

/// Longest name of a pod, container, user or the like, in bytes.
pub const NAME_MAX: usize = 1024;
/// Longest path, in bytes, as the kernel counts it without its NUL.
pub const PATH_MAX: usize = 4095;
/// Most bytes all labels or all annotations of one object may take.
pub const MAP_MAX: usize = 1 << 20;

/// A text without NUL of at most `max` bytes.
pub fn text(at: &At<'_>, value: String, max: usize) -> Result<String, FieldError> {
    check(at, &value, max)?;
    Ok(value)
}

/// Like [`text`], and not empty.
pub fn required(at: &At<'_>, value: String, max: usize) -> Result<String, FieldError> {
    if value.is_empty() {
        return Err(at.missing());
    }
    text(at, value, max)
}

/// A name that is shown to people and in logs: not empty, no control characters.
pub fn name(at: &At<'_>, value: String) -> Result<String, FieldError> {
    let value = required(at, value, NAME_MAX)?;
    if value.chars().any(char::is_control) {
        return Err(at.bad(&value, "has a control character"));
    }
    Ok(value)
}

/// A word for a line-based file: no white space, no control characters.
pub fn word(at: &At<'_>, value: String, max: usize) -> Result<String, FieldError> {
    let value = required(at, value, max)?;
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(at.bad(&value, "has white space or a control character"));
    }
    Ok(value)
}

/// Checks length and NUL.
pub fn check(at: &At<'_>, value: &str, max: usize) -> Result<(), FieldError> {
    if value.len() > max {
        return Err(at.bad(
            value,
            format!("is {} bytes long, at most {max} are possible", value.len()),
        ));
    }
    if value.contains('\0') {
        return Err(at.bad(value, "has a NUL"));
    }
    Ok(())
}

/// An absolute path without `..`; `//`, `.` and trailing slashes are taken out.
pub fn absolute_path(at: &At<'_>, value: &str) -> Result<PathBuf, FieldError> {
    if value.is_empty() {
        return Err(at.missing());
    }
    check(at, value, PATH_MAX)?;
    let path = Path::new(value);
    if !path.is_absolute() {
        return Err(at.bad(value, "is not an absolute path"));
    }
    refuse_parent(at, value)?;
    Ok(path.components().collect())
}

/// A relative path of at least one name, which cannot leave its root.
pub fn relative_path(at: &At<'_>, value: &str) -> Result<PathBuf, FieldError> {
    if value.is_empty() {
        return Err(at.missing());
    }
    check(at, value, PATH_MAX)?;
    let path = Path::new(value);
    if path.is_absolute() {
        return Err(at.bad(value, "is absolute, a relative path is needed"));
    }
    refuse_parent(at, value)?;
    let clean: PathBuf = path
        .components()
        .filter(|c| matches!(c, Component::Normal(_)))
        .collect();
    if clean.as_os_str().is_empty() {
        return Err(at.bad(value, "names nothing"));
    }
    Ok(clean)
}

fn refuse_parent(at: &At<'_>, value: &str) -> Result<(), FieldError> {
    if value.split('/').any(|c| c == "..") {
        return Err(at.bad(value, "has a \"..\" component"));
    }
    Ok(())
}

/// Labels or annotations: data that is kept as given, within bounds.
pub fn map(
    at: &At<'_>,
    map: HashMap<String, String>,
) -> Result<BTreeMap<String, String>, FieldError> {
    let total: usize = map.iter().map(|(k, v)| k.len() + v.len()).sum();
    if total > MAP_MAX {
        return Err(at.wrong(format!(
            "takes {total} bytes in all, at most {MAP_MAX} are possible"
        )));
    }
    if map.contains_key("") {
        return Err(at.wrong("has an empty key"));
    }
    Ok(map.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: At<'static> = At::root("f");

    #[test]
    fn paths() {
        assert_eq!(absolute_path(&AT, "/a//b/./c/"), Ok("/a/b/c".into()));
        assert_eq!(
            absolute_path(&AT, "a").unwrap_err().to_string(),
            "f: \"a\" is not an absolute path"
        );
        assert_eq!(
            absolute_path(&AT, "/a/../b").unwrap_err().to_string(),
            "f: \"/a/../b\" has a \"..\" component"
        );
        assert_eq!(
            absolute_path(&AT, "").unwrap_err().to_string(),
            "f: is required"
        );
        assert_eq!(relative_path(&AT, "./a//b/"), Ok("a/b".into()));
        assert!(relative_path(&AT, "/a").is_err());
        assert!(relative_path(&AT, ".").is_err());
        assert!(relative_path(&AT, "a/..").is_err());
        assert!(relative_path(&AT, "a\0b").is_err());
        assert_eq!(relative_path(&AT, "..a/b.."), Ok("..a/b..".into()));
    }

    #[test]
    fn map_bounds() {
        assert!(map(&AT, HashMap::from([(String::new(), "x".into())])).is_err());
        assert!(map(&AT, HashMap::from([("k".into(), "x".repeat(MAP_MAX))])).is_err());
        assert!(map(&AT, HashMap::from([("k".into(), "any\0thing\n".into())])).is_ok());
    }

    proptest! {
        #[test]
        fn relative_paths_stay_below(value in "[a./\\PC]{0,24}") {
            if let Ok(path) = relative_path(&AT, &value) {
                prop_assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert!(Path::new("/root").join(&path).starts_with("/root"));
            }
        }

        #[test]
        fn absolute_paths_are_clean(value in "/[a./]{0,24}") {
            if let Ok(path) = absolute_path(&AT, &value) {
                let text = path.to_str().unwrap();
                prop_assert!(!text.contains("//") && !text.split('/').any(|c| c == "." || c == ".."));
                prop_assert!(text == "/" || !text.ends_with('/'));
                prop_assert_eq!(absolute_path(&AT, text), Ok(path.clone()));
            }
        }
    }
}
