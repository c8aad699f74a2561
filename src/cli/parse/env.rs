//! `--env NAME=VALUE` and `--env-file FILE`.

use std::{fs::File, io::Read, path::Path};

/// The most of a file of variables that is read.
const FILE_MAX: u64 = 1 << 20;

/// Reads `NAME=VALUE`, or `NAME` for the caller's own value (`None` when it has none).
pub(in crate::cli) fn parse(
    text: &str,
    own: impl Fn(&str) -> Option<String>,
) -> Result<Option<(String, String)>, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, own(text)),
    };
    if name.is_empty() {
        return Err(format!("{text:?} has no name; write NAME=VALUE"));
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "the name {name:?} holds a space or control character"
        ));
    }
    if value.as_ref().is_some_and(|value| value.contains('\0')) {
        return Err(format!("the value of {name} holds a NUL character"));
    }
    Ok(value.map(|value| (name.to_owned(), value)))
}

/// Reads lines of variables; empty lines and lines that begin with `#` are left out.
pub(in crate::cli) fn parse_lines(
    text: &str,
    own: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = parse(line, &own).map_err(|e| format!("line {}: {e}", index + 1))?;
        found.extend(pair);
    }
    Ok(found)
}

/// Reads a file of variables.
pub(in crate::cli) fn read_file(
    path: &Path,
    own: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, String> {
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text))
        .map_err(|e| named(&e))?;
    if text.len() as u64 > FILE_MAX {
        return Err(named(&format!("is larger than {FILE_MAX} bytes")));
    }
    parse_lines(&text, own).map_err(|e| named(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn reads_variables() {
        assert_eq!(parse("A=b=c", own), Ok(Some(("A".into(), "b=c".into()))));
        assert_eq!(parse("A=", own), Ok(Some(("A".into(), String::new()))));
        assert_eq!(
            parse("HOME", own),
            Ok(Some(("HOME".into(), "/root".into())))
        );
        assert_eq!(parse("ELSE", own), Ok(None));
        assert!(parse("=x", own).is_err());
        assert!(parse("A B=x", own).is_err());
    }

    #[test]
    fn reads_lines() {
        let text = "# comment\n\nA=1\n  B=two words # kept\nHOME\n";
        assert_eq!(
            parse_lines(text, own).unwrap(),
            [
                ("A".into(), "1".into()),
                ("B".into(), "two words # kept".into()),
                ("HOME".into(), "/root".into())
            ]
        );
        assert!(parse_lines("A=1\n=2", own).unwrap_err().contains("line 2"));
    }

    proptest! {
        #[test]
        fn values_come_through_unchanged(name in "[A-Za-z_][A-Za-z0-9_]{0,8}", value in "[^\0]{0,30}") {
            prop_assert_eq!(
                parse(&format!("{name}={value}"), own),
                Ok(Some((name, value)))
            );
        }
    }
}
