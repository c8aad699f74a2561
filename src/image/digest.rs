//! Content digests.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "sha256:";
const HEX_LEN: usize = 64;

/// A SHA-256 digest as registries write it: `sha256:` and 64 lower-case hexadecimal digits.
///
/// Being made of these alone, it is safe in a path and in a URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Box<str>);

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No algorithm in front.
    #[error("digest {0:?} has no algorithm: sha256:HEX is expected")]
    NoAlgorithm(String),
    /// Another algorithm.
    #[error("digest algorithm {0:?} is not supported: only sha256 is")]
    Algorithm(String),
    /// Not 64 lower-case hexadecimal digits.
    #[error("digest {0:?} does not have 64 lower-case hexadecimal digits")]
    Hex(String),
}

impl Digest {
    /// Reads a digest.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text
            .split_once(':')
            .ok_or_else(|| DigestError::NoAlgorithm(clip(text)))?;
        if algorithm != "sha256" {
            return Err(DigestError::Algorithm(clip(algorithm)));
        }
        if hex.len() != HEX_LEN || !is_hex(hex) {
            return Err(DigestError::Hex(clip(text)));
        }
        Ok(Self(text.into()))
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// From 64 hexadecimal digits, when they are that.
    pub fn from_hex(hex: &str) -> Option<Self> {
        (hex.len() == HEX_LEN && is_hex(hex)).then(|| Self(format!("{PREFIX}{hex}").into()))
    }

    /// `sha256:HEX`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits alone.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }
}

/// Whether `text` is made of lower-case hexadecimal digits alone.
pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A value cut down to what belongs in a message.
pub(crate) fn clip(text: &str) -> String {
    const MOST: usize = 300;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0.into()
    }
}

/// A digest in the making.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// Takes more bytes in.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken in.
    pub(crate) fn finish(self) -> Digest {
        use fmt::Write;
        let mut text = String::with_capacity(PREFIX.len() + HEX_LEN);
        text.push_str(PREFIX);
        for byte in self.0.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        Digest(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn hashes_and_reads() {
        assert_eq!(Digest::of(b"").as_str(), EMPTY);
        assert_eq!(Digest::parse(EMPTY).unwrap(), Digest::of(b""));
        assert_eq!(Digest::from_hex(&EMPTY[7..]).unwrap().as_str(), EMPTY);
    }

    #[test]
    fn refuses_what_could_be_a_path_or_a_weaker_hash() {
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:../../etc/passwd",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(
            Digest::parse(&EMPTY.to_uppercase().replace("SHA", "sha")),
            Err(DigestError::Hex(_))
        ));
        assert!(Digest::parse(&format!("{EMPTY}0")).is_err());
        assert!(Digest::parse(&EMPTY[..70]).is_err());
    }

    proptest! {
        #[test]
        fn whatever_parses_is_plain(text in "(sha256:)?[0-9a-fA-F/.:]{0,70}") {
            if let Ok(digest) = Digest::parse(&text) {
                prop_assert_eq!(digest.as_str(), text.as_str());
                prop_assert_eq!(digest.hex().len(), 64);
            }
        }

        #[test]
        fn any_text_is_survived(text in ".{0,100}") {
            let _ = Digest::parse(&text);
            let _ = clip(&text);
        }
    }
}
