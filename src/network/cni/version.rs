//! Versions of the CNI specification.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A version of the specification that this runtime speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Version {
    /// 0.1.0: one address per family.
    V0_1,
    /// 0.2.0: the same.
    V0_2,
    /// 0.3.0: lists of plugins, interfaces and many addresses.
    V0_3_0,
    /// 0.3.1: the same.
    V0_3_1,
    /// 0.4.0: CHECK, and the result of ADD is given to DEL.
    V0_4,
    /// 1.0.0: addresses no longer name their family.
    V1_0,
    /// 1.1.0: STATUS and GC.
    V1_1,
}

/// A version that this runtime does not speak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CNI version {0:?} is not one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0")]
pub struct UnknownVersion(pub String);

impl Version {
    /// All, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1,
        Self::V0_2,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4,
        Self::V1_0,
        Self::V1_1,
    ];

    /// Reads a version; no text at all means the first one, as plugins take it.
    pub fn parse(text: &str) -> Result<Self, UnknownVersion> {
        if text.is_empty() {
            return Ok(Self::V0_1);
        }
        Self::ALL
            .into_iter()
            .find(|v| v.as_str() == text)
            .ok_or_else(|| UnknownVersion(text.chars().take(40).collect()))
    }

    /// As written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1.0",
            Self::V0_2 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4 => "0.4.0",
            Self::V1_0 => "1.0.0",
            Self::V1_1 => "1.1.0",
        }
    }

    /// Plugins answer CHECK.
    pub fn has_check(self) -> bool {
        self >= Self::V0_4
    }

    /// DEL is given the result of ADD.
    pub fn del_takes_result(self) -> bool {
        self >= Self::V0_4
    }

    /// Plugins answer STATUS and GC.
    pub fn has_status_and_gc(self) -> bool {
        self >= Self::V1_1
    }
}

/// The newest of `asked` that each plugin in `spoken` knows; plugins that did not tell have no entry.
///
/// Where there is none, the newest asked for: the plugin's own refusal says best what is wrong.
pub fn negotiate(asked: &[Version], spoken: &[Vec<Version>]) -> Option<Version> {
    let common = |v: &&Version| spoken.iter().all(|known| known.contains(v));
    asked
        .iter()
        .filter(common)
        .max()
        .or_else(|| asked.iter().max())
        .copied()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Version> for &'static str {
    fn from(version: Version) -> Self {
        version.as_str()
    }
}

impl TryFrom<String> for Version {
    type Error = UnknownVersion;
    fn try_from(text: String) -> Result<Self, UnknownVersion> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        for v in Version::ALL {
            assert_eq!(Version::parse(v.as_str()), Ok(v));
        }
        assert!(Version::ALL.is_sorted());
        assert_eq!(Version::parse(""), Ok(Version::V0_1));
        assert!(Version::parse("1.2.0").is_err());
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        use Version::*;
        let asked = [V1_0, V1_1, V0_4];
        assert_eq!(negotiate(&asked, &[]), Some(V1_1));
        assert_eq!(negotiate(&asked, &[vec![V0_4, V1_0]]), Some(V1_0));
        let spoken = [vec![V0_4, V1_0], vec![V0_4, V1_1]];
        assert_eq!(negotiate(&asked, &spoken), Some(V0_4));
        assert_eq!(negotiate(&asked, &[vec![V0_1]]), Some(V1_1));
        assert_eq!(negotiate(&[], &[]), None);
    }
}
