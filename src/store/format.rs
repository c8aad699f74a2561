//! The text of a record: a line that names kind, version and checksum, then JSON.

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

pub(super) fn encode<T: Serialize>(
    kind: &str,
    version: u32,
    value: &T,
) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_vec(value)?;
    let mut text = format!("{MAGIC} {kind} {version} {}\n", checksum(&body)).into_bytes();
    text.extend_from_slice(&body);
    Ok(text)
}

pub(super) fn decode<T: DeserializeOwned>(
    kind: &str,
    version: u32,
    text: &[u8],
) -> Result<T, FormatError> {
    let end = text
        .iter()
        .position(|b| *b == b'\n')
        .ok_or(FormatError::Header)?;
    let header = std::str::from_utf8(&text[..end]).map_err(|_| FormatError::Header)?;
    let body = &text[end + 1..];
    let mut words = header.split(' ');
    let (Some(MAGIC), Some(k), Some(v), Some(sum), None) = (
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
    Ok(serde_json::from_slice(body)?)
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
            prop_assert_eq!(decode::<Vec<(u32, String)>>("k", 3, &text).unwrap(), value);
        }

        #[test]
        fn damage_is_noticed(value: Vec<u32>, at: prop::sample::Index, bit in 0u8..8) {
            let mut text = encode("k", 3, &value).unwrap();
            let at = at.index(text.len());
            text[at] ^= 1 << bit;
            prop_assert!(decode::<Vec<u32>>("k", 3, &text).is_err());
        }

        #[test]
        fn any_bytes_are_survived(text: Vec<u8>) {
            let _ = decode::<Vec<u32>>("k", 3, &text);
        }
    }
}
