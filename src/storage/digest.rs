//! Identities of layers: the digest of one layer's tar and the digest of a whole chain of layers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A text that is no `sha256:` digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not \"sha256:\" followed by 64 lower-case hexadecimal digits")]
pub struct DigestError(String);

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the raw digest.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 64 hexadecimal digits alone; safe as a file name.
            pub fn hex(&self) -> String {
                self.0.iter().map(|b| format!("{b:02x}")).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "sha256:{}", self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;
            fn from_str(text: &str) -> Result<Self, DigestError> {
                parse(text).map(Self).ok_or_else(|| DigestError(text.chars().take(100).collect()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = DigestError;
            fn try_from(text: String) -> Result<Self, DigestError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> String {
                digest.to_string()
            }
        }
    };
}

digest! {
    /// The digest of one layer's uncompressed tar, as an image's configuration lists it.
    DiffId
}
digest! {
    /// The digest that names a layer together with all layers beneath it, by the OCI image specification.
    ChainId
}

impl ChainId {
    /// The chain IDs of an image's layers, bottom first like the diff IDs given.
    pub fn of(diffs: &[DiffId]) -> Vec<ChainId> {
        let mut chain: Vec<ChainId> = Vec::with_capacity(diffs.len());
        for diff in diffs {
            let next = match chain.last() {
                None => Self(diff.0),
                Some(below) => Self(Sha256::digest(format!("{below} {diff}")).into()),
            };
            chain.push(next);
        }
        chain
    }
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix("sha256:")?.as_bytes();
    if hex.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn chains_as_the_specification_computes_them() {
        let a: DiffId = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let b: DiffId = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
        let chain = ChainId::of(&[a, b]);
        assert_eq!(chain[0].hex(), a.hex());
        let expect: [u8; 32] = Sha256::digest(format!("{a} {b}")).into();
        assert_eq!(chain[1], ChainId::from_bytes(expect));
        assert!(ChainId::of(&[]).is_empty());
    }

    #[test]
    fn only_whole_lower_case_digests_parse() {
        for bad in [
            "",
            "sha256:",
            "sha512:00",
            &"a".repeat(64),
            "sha256:../../etc",
        ] {
            assert!(bad.parse::<DiffId>().is_err(), "{bad}");
        }
        assert!(
            format!("sha256:{}", "A".repeat(64))
                .parse::<DiffId>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn text_and_json_round_trip(bytes in any::<[u8; 32]>()) {
            let id = ChainId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<ChainId>(), Ok(id));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<ChainId>(&json).unwrap(), id);
        }
    }
}
