//! Where in a request something is wrong, and what.

use std::fmt;

/// Longest part of a refused value that is repeated in a message, in characters.
const SHOWN: usize = 128;

/// A field of a request that cannot be accepted.
///
/// Reads as a sentence: `config.linux.security_context.run_as_user: -5 is not a user ID (0 to 4294967294)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FieldError {
    /// Path of the field in the request.
    pub field: String,
    /// The refused value as shown; empty when there is none to show.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        f.write_str(": ")?;
        if !self.value.is_empty() {
            f.write_str(&self.value)?;
            f.write_str(" ")?;
        }
        f.write_str(&self.problem)
    }
}

/// The place of a field in a request.
///
/// A chain of borrowed parts: nothing is allocated until an error is made.
#[derive(Clone, Copy)]
pub struct At<'a> {
    parent: Option<&'a At<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Field(&'static str),
    Index(usize),
    Key(&'a str),
}

impl At<'static> {
    /// The outermost field.
    pub const fn root(name: &'static str) -> Self {
        At {
            parent: None,
            part: Part::Field(name),
        }
    }
}

impl<'a> At<'a> {
    /// A field of this message.
    pub fn field<'b>(&'b self, name: &'static str) -> At<'b> {
        At {
            parent: Some(self),
            part: Part::Field(name),
        }
    }

    /// An element of this list.
    pub fn index<'b>(&'b self, index: usize) -> At<'b> {
        At {
            parent: Some(self),
            part: Part::Index(index),
        }
    }

    /// The entry of this map under `key`.
    pub fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        At {
            parent: Some(self),
            part: Part::Key(key),
        }
    }

    /// The error that something required is not there.
    pub fn missing(&self) -> FieldError {
        self.wrong("is required")
    }

    /// An error that shows no value.
    pub fn wrong(&self, problem: impl Into<String>) -> FieldError {
        FieldError {
            field: self.to_string(),
            value: String::new(),
            problem: problem.into(),
        }
    }

    /// An error about a text: it is shown quoted, escaped and cut.
    pub fn bad(&self, value: &str, problem: impl Into<String>) -> FieldError {
        FieldError {
            field: self.to_string(),
            value: quoted(value),
            problem: problem.into(),
        }
    }

    /// An error about a number.
    pub fn bad_number(&self, value: impl fmt::Display, problem: impl Into<String>) -> FieldError {
        FieldError {
            field: self.to_string(),
            value: value.to_string(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.part {
            Part::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Part::Field(name) => f.write_str(name),
            Part::Index(i) => write!(f, "[{i}]"),
            Part::Key(key) => write!(f, "[{}]", quoted(key)),
        }
    }
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_field_and_value() {
        let root = At::root("config");
        let (linux, mounts) = (root.field("linux"), root.field("mounts"));
        assert_eq!(
            linux
                .field("uid")
                .bad_number(-5, "is not a user ID")
                .to_string(),
            "config.linux.uid: -5 is not a user ID"
        );
        assert_eq!(
            mounts
                .index(2)
                .field("path")
                .bad("a\nb", "has a line break")
                .to_string(),
            "config.mounts[2].path: \"a\\nb\" has a line break"
        );
        assert_eq!(
            root.field("sysctls").key("net.x").missing().to_string(),
            "config.sysctls[\"net.x\"]: is required"
        );
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let e = At::root("f").bad(&"é".repeat(1000), "is long");
        assert_eq!(e.value.chars().filter(|c| *c == 'é').count(), SHOWN);
    }
}
