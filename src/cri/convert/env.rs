//! Environment, command line and working directory.

use super::{
    error::{At, FieldError},
    text,
};
use crate::cri::api;

/// Longest single string the kernel passes to a program, less its NUL (with pages of 4 KiB).
const STRING_MAX: usize = 131_071;

/// Variables in the order given.
///
/// The runtime specification is JSON and cannot carry bytes that are not UTF-8, so such bytes become U+FFFD,
/// which is also what other runtimes make of them.
pub fn envs(at: &At<'_>, given: Vec<api::KeyValue>) -> Result<Vec<(String, String)>, FieldError> {
    given
        .into_iter()
        .enumerate()
        .map(|(i, env)| {
            let at = at.index(i);
            let key_at = at.field("key");
            let key = text::required(&key_at, env.key, STRING_MAX)?;
            if key.contains('=') {
                return Err(key_at.bad(&key, "has an equals sign"));
            }
            let value = match String::from_utf8(env.value) {
                Ok(value) => value,
                Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
            };
            // The value may be a secret: no message repeats it.
            let value_at = at.field("value");
            if value.contains('\0') {
                return Err(value_at.wrong("has a NUL"));
            }
            if key.len() + 1 + value.len() > STRING_MAX {
                return Err(value_at.wrong(format!(
                    "makes a variable of {} bytes, at most {STRING_MAX} are possible",
                    key.len() + 1 + value.len()
                )));
            }
            Ok((key, value))
        })
        .collect()
}

/// A command or its arguments.
pub fn argv(at: &At<'_>, given: Vec<String>) -> Result<Vec<String>, FieldError> {
    given
        .into_iter()
        .enumerate()
        .map(|(i, arg)| text::text(&at.index(i), arg, STRING_MAX))
        .collect()
}

/// An absolute working directory, or empty for the image's.
pub fn working_dir(at: &At<'_>, value: String) -> Result<String, FieldError> {
    if value.is_empty() {
        return Ok(value);
    }
    text::check(at, &value, text::PATH_MAX)?;
    if !value.starts_with('/') {
        return Err(at.bad(&value, "is not an absolute path"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At<'static> = At::root("envs");

    fn one(key: &str, value: &[u8]) -> Result<Vec<(String, String)>, String> {
        let env = api::KeyValue {
            key: key.into(),
            value: value.into(),
        };
        envs(&AT, vec![env]).map_err(|e| e.to_string())
    }

    #[test]
    fn variables() {
        assert_eq!(one("A", b"b=c\n"), Ok(vec![("A".into(), "b=c\n".into())]));
        assert_eq!(one("A", b""), Ok(vec![("A".into(), String::new())]));
        assert_eq!(one("A", b"\xff"), Ok(vec![("A".into(), "\u{fffd}".into())]));
        assert_eq!(one("", b"x").unwrap_err(), "envs[0].key: is required");
        assert_eq!(
            one("A=B", b"x").unwrap_err(),
            "envs[0].key: \"A=B\" has an equals sign"
        );
        assert_eq!(
            one("A", b"s3cret\0").unwrap_err(),
            "envs[0].value: has a NUL"
        );
        assert!(one("A", &vec![b'x'; STRING_MAX]).is_err());
    }

    #[test]
    fn arguments() {
        assert!(argv(&AT, vec!["sh".into(), String::new()]).is_ok());
        assert!(argv(&AT, vec!["a\0b".into()]).is_err());
        assert!(working_dir(&AT, "x".into()).is_err());
        assert_eq!(working_dir(&AT, "/x".into()), Ok("/x".into()));
    }
}
