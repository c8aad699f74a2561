//! Identifiers of sandboxes and containers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Length of an identifier in hexadecimal digits: 256 random bits.
pub const ID_LEN: usize = 64;

/// The identifier of a sandbox or a container: 64 lower-case hexadecimal digits.
///
/// Being made of such digits alone, it is safe as a file name, a cgroup name and an argument.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Box<str>);

/// A text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Longer than an identifier can be.
    #[error("has {0} characters, at most {ID_LEN} are possible")]
    TooLong(usize),
    /// Holds something other than lower-case hexadecimal digits.
    #[error("{0:?} is not made of lower-case hexadecimal digits")]
    NotHex(String),
    /// Shorter than a whole identifier.
    #[error("{0:?} is only a prefix of an identifier")]
    Short(String),
}

impl Id {
    /// A fresh identifier from the kernel's random source.
    pub fn random() -> Self {
        let mut bytes = [0u8; ID_LEN / 2];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(
                &mut bytes[filled..],
                rustix::rand::GetRandomFlags::empty(),
            ) {
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => panic!("the kernel gives no random bytes: {e}"),
            }
        }
        Self(
            bytes
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
                .into(),
        )
    }

    /// Reads a whole identifier.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_prefix(text)?;
        if text.len() < ID_LEN {
            return Err(IdError::Short(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks that `text` could be the beginning of an identifier (1 to 64 digits).
pub fn check_prefix(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_LEN {
        return Err(IdError::TooLong(text.len()));
    }
    if !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(IdError::NotHex(text.to_owned()));
    }
    Ok(())
}

impl TryFrom<String> for Id {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0.into()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn random_ids_are_whole_and_differ() {
        let (a, b) = (Id::random(), Id::random());
        assert_ne!(a, b);
        assert_eq!(Id::parse(a.as_str()), Ok(a));
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(Id::parse(""), Err(IdError::Empty));
        assert_eq!(Id::parse("ab"), Err(IdError::Short("ab".into())));
        assert!(matches!(Id::parse("../x"), Err(IdError::NotHex(_))));
        assert!(matches!(
            Id::parse(&"a".repeat(65)),
            Err(IdError::TooLong(65))
        ));
    }

    proptest! {
        #[test]
        fn whatever_parses_is_a_plain_file_name(text in ".{0,80}") {
            if let Ok(id) = Id::parse(&text) {
                prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
            }
        }
    }
}
