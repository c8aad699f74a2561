//! How each type of option is read from TOML or from text, and written back.

use std::{path::PathBuf, time::Duration};

use toml::Value;

/// What a value looks like, which decides how the text of a flag or a variable becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One piece of text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Number,
    /// Several pieces of text: a flag given several times, or separated by commas.
    List,
    /// A table for each name.
    Tables,
}

/// A type that an option can have.
///
/// The error text completes the sentence "`value` …", so it reads like "is not a duration; write …".
pub(super) trait Setting: Sized {
    /// How it is written.
    const SHAPE: Shape;
    /// Reads a value.
    fn read(value: &Value) -> Result<Self, String>;
    /// Writes the value so that [`Setting::read`] gives it back.
    fn write(&self) -> Value;
}

/// Turns the text of a flag or a variable into a value of `shape`.
///
/// Text that doesn't fit stays text: [`Setting::read`] then says what was expected.
pub(super) fn from_text(shape: Shape, text: &str) -> Value {
    let plain = || Value::String(text.to_owned());
    match shape {
        Shape::Text | Shape::Tables => plain(),
        Shape::Bool => match text {
            "true" | "1" | "yes" | "on" => Value::Boolean(true),
            "false" | "0" | "no" | "off" => Value::Boolean(false),
            _ => plain(),
        },
        Shape::Number => text
            .parse()
            .map_or_else(|_| plain(), |number: i64| Value::Integer(number)),
        Shape::List => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.to_owned()))
                .collect(),
        ),
    }
}

/// The text inside `value`, or what is wrong.
pub(super) fn text<'v>(value: &'v Value, expected: &str) -> Result<&'v str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("is {}; write {expected}", article(value)))
}

fn article(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

impl Setting for bool {
    const SHAPE: Shape = Shape::Bool;
    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("is {}; write true or false", article(value)))
    }
    fn write(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for u32 {
    const SHAPE: Shape = Shape::Number;
    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_integer()
            .and_then(|number| Self::try_from(number).ok())
            .ok_or_else(|| format!("is not a whole number from 0 to {}", Self::MAX))
    }
    fn write(&self) -> Value {
        Value::Integer(i64::from(*self))
    }
}

impl Setting for u16 {
    const SHAPE: Shape = Shape::Number;
    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_integer()
            .and_then(|number| Self::try_from(number).ok())
            .ok_or_else(|| format!("is not a whole number from 0 to {}", Self::MAX))
    }
    fn write(&self) -> Value {
        Value::Integer(i64::from(*self))
    }
}

/// 0 stands for none.
impl Setting for Option<u64> {
    const SHAPE: Shape = Shape::Number;
    fn read(value: &Value) -> Result<Self, String> {
        let number = value
            .as_integer()
            .and_then(|number| u64::try_from(number).ok())
            .ok_or("is not a whole number; write one above 0, or 0 for none")?;
        Ok((number > 0).then_some(number))
    }
    fn write(&self) -> Value {
        Value::Integer(self.and_then(|n| i64::try_from(n).ok()).unwrap_or(0))
    }
}

impl Setting for String {
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "text in quotes")?;
        if text.is_empty() {
            return Err("is empty".into());
        }
        no_control(text)?;
        Ok(text.to_owned())
    }
    fn write(&self) -> Value {
        Value::String(self.clone())
    }
}

/// Empty text stands for none.
impl Setting for Option<String> {
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "text in quotes, empty for none")?;
        no_control(text)?;
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
    fn write(&self) -> Value {
        Value::String(self.clone().unwrap_or_default())
    }
}

impl Setting for PathBuf {
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        absolute(text(value, "an absolute path in quotes")?)
    }
    fn write(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

/// Empty text stands for none.
impl Setting for Option<PathBuf> {
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "an absolute path in quotes, empty for none")?;
        if text.is_empty() {
            return Ok(None);
        }
        absolute(text).map(Some)
    }
    fn write(&self) -> Value {
        Value::String(
            self.as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        )
    }
}

/// An absolute path without `..`, so that what is logged is what is used.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    no_control(text)?;
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err("is not an absolute path; begin it with /".into());
    }
    if path
        .components()
        .any(|part| part == std::path::Component::ParentDir)
    {
        return Err("holds \"..\"; write the path without it".into());
    }
    Ok(path)
}

/// Refuses control characters, which no name, path or pattern here needs.
pub(super) fn no_control(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err("holds a control character".into());
    }
    Ok(())
}

fn list<T>(value: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    value
        .as_array()
        .ok_or_else(|| format!("is {}; write a list in brackets", article(value)))?
        .iter()
        .map(|item| read(item).map_err(|problem| format!("has an entry {item} that {problem}")))
        .collect()
}

macro_rules! list_setting {
    ($($item:ty),+) => {$(
        impl Setting for Vec<$item> {
            const SHAPE: Shape = Shape::List;
            fn read(value: &Value) -> Result<Self, String> {
                list(value, <$item>::read)
            }
            fn write(&self) -> Value {
                Value::Array(self.iter().map(Setting::write).collect())
            }
        }
    )+};
}

list_setting!(
    String,
    PathBuf,
    super::types::Rlimit,
    super::types::DeviceSpec,
    super::types::Capability
);

impl Setting for Duration {
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        parse_duration(text(value, "a duration in quotes, like \"30s\" or \"5m\"")?)
    }
    fn write(&self) -> Value {
        Value::String(format_duration(*self))
    }
}

/// Zero stands for none.
impl Setting for Option<Duration> {
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        Duration::read(value).map(|span| (!span.is_zero()).then_some(span))
    }
    fn write(&self) -> Value {
        self.unwrap_or_default().write()
    }
}

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Reads `30s`, `1m30s`, `250ms`, `2h` or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "is not a duration; write a number and ms, s, m or h, like 30s or 5m".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(wrong());
    }
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        total = number
            .checked_mul(*factor)
            .and_then(|part| total.checked_add(part))
            .ok_or("is too long a duration")?;
        rest = next;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration in its largest whole unit.
pub fn format_duration(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".into();
    }
    let (unit, factor) = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| millis.is_multiple_of(*factor))
        .unwrap_or(&UNITS[0]);
    format!("{}{unit}", millis / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_durations() {
        for (text, millis) in [
            ("0", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "5d",
            "1.5s",
            "é",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_becomes_what_the_option_wants() {
        assert_eq!(from_text(Shape::Bool, "yes"), Value::Boolean(true));
        assert_eq!(from_text(Shape::Number, "7"), Value::Integer(7));
        assert_eq!(
            from_text(Shape::List, "a, b,,c"),
            Value::Array(["a", "b", "c"].map(|s| Value::String(s.into())).to_vec())
        );
        assert!(bool::read(&from_text(Shape::Bool, "maybe")).is_err());
        assert_eq!(Option::<u64>::read(&Value::Integer(0)), Ok(None));
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        assert!(absolute("/var/lib/corten").is_ok());
        assert!(absolute("var").is_err());
        assert!(absolute("/a/../b").is_err());
        assert!(absolute("/a\n").is_err());
    }

    proptest! {
        #[test]
        fn durations_come_back(millis in 0u64..1 << 50) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(span)), Ok(span));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = parse_duration(&text);
            let _ = absolute(&text);
        }
    }
}
