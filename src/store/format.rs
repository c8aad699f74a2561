//! The text of a record: a line that names kind, version and checksum, then JSON.
//!
//! The line of a note has a word more: the checksum of the record that it takes the place of.

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

const MAGIC: &str = "corten-record";

/// Why a text is not a record.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The first line is not a record's.
    #[error("has no header")]
    Header,
    /// Of another kind.
    #[error("is of kind {0:?}")]
    Kind(String),
    /// Written by another version of corten.
    #[error("has schema version {found}, this daemon reads {wanted}")]
    Version {
        /// The record's.
        found: String,
        /// Ours.
        wanted: u32,
    },
    /// Cut or damaged.
    #[error("does not match its checksum")]
    Checksum,
    /// Whole, yet not of our schema.
    #[error("does not fit its schema: {0}")]
    Schema(#[from] serde_json::Error),
}

pub(crate) fn encode<T: Serialize>(
    kind: &str,
    version: u32,
    value: &T,
) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_vec(value)?;
    let mut text = format!("{MAGIC} {kind} {version} {}\n", checksum(&body)).into_bytes();
    text.extend_from_slice(&body);
    Ok(text)
}

/// What a note is over where there is no record.
const NOTHING: &str = "-";

/// A record's text as a note over the record that has the checksum `over`, or over none.
pub(super) fn as_note(text: &[u8], over: Option<&str>) -> Vec<u8> {
    let end = text.iter().position(|b| *b == b'\n').unwrap_or(text.len());
    let over = over.unwrap_or(NOTHING);
    [&text[..end], b" ", over.as_bytes(), &text[end..]].concat()
}

/// The checksum in a record's first line; nothing where that is no such line.
pub(super) fn checksum_of(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.lines().next()?.split(' ');
    (words.next() == Some(MAGIC)).then_some(())?;
    words.nth(2)
}

/// A record that was read.
#[derive(Debug)]
pub(crate) struct Decoded<T> {
    /// Itself.
    pub(crate) value: T,
    /// Its checksum.
    pub(crate) checksum: String,
    /// For a note, the checksum of the record it is over, if there was one.
    pub(super) over: Option<Option<String>>,
}

pub(crate) fn decode<T: DeserializeOwned>(
    kind: &str,
    version: u32,
    text: &[u8],
) -> Result<Decoded<T>, FormatError> {
    let end = text
        .iter()
        .position(|b| *b == b'\n')
        .ok_or(FormatError::Header)?;
    let header = std::str::from_utf8(&text[..end]).map_err(|_| FormatError::Header)?;
    let body = &text[end + 1..];
    let mut words = header.split(' ');
    let (Some(MAGIC), Some(k), Some(v), Some(sum), over, None) = (
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    ) else {
        return Err(FormatError::Header);
    };
    if k != kind {
        return Err(FormatError::Kind(k.to_owned()));
    }
    if v.parse() != Ok(version) {
        return Err(FormatError::Version {
            found: v.to_owned(),
            wanted: version,
        });
    }
    if sum != checksum(body) {
        return Err(FormatError::Checksum);
    }
    Ok(Decoded {
        value: serde_json::from_slice(body)?,
        checksum: sum.to_owned(),
        over: over.map(|over| (over != NOTHING).then(|| over.to_owned())),
    })
}

fn checksum(body: &[u8]) -> String {
    Sha256::digest(body)[..8]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(value: Vec<(u32, String)>) {
            let text = encode("k", 3, &value).unwrap();
            let read = decode::<Vec<(u32, String)>>("k", 3, &text).unwrap();
            prop_assert_eq!(checksum_of(&text), Some(read.checksum.as_str()));
            prop_assert_eq!((read.value, read.over), (value, None));
        }

        #[test]
        fn a_note_says_what_it_is_over(value: u32, over in proptest::option::of("[0-9a-f]{16}")) {
            let text = as_note(&encode("k", 3, &value).unwrap(), over.as_deref());
            let read = decode::<u32>("k", 3, &text).unwrap();
            prop_assert_eq!((read.value, read.over), (value, Some(over)));
        }

        #[test]
        fn damage_is_noticed(value: Vec<u32>, at: prop::sample::Index, bit in 0u8..8) {
            let mut text = encode("k", 3, &value).unwrap();
            let at = at.index(text.len());
            text[at] ^= 1 << bit;
            // A space that was a line end makes a note of it, over something that is not.
            prop_assert!(!decode::<Vec<u32>>("k", 3, &text).is_ok_and(|read| read.over.is_none()));
        }

        #[test]
        fn any_bytes_are_survived(text: Vec<u8>) {
            let _ = decode::<Vec<u32>>("k", 3, &text);
        }
    }
}
