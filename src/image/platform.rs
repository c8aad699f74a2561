//! Which of an index's images runs here (pure).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Operating system and processor that an image is built for, in Go's names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub architecture: String,
    /// Its variant; empty when it matters not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform {0:?} is not os/architecture or os/architecture/variant")]
pub struct PlatformError(String);

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", ""),
            "arm" => ("arm", "v7"),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            "mips64" if cfg!(target_endian = "little") => ("mips64le", ""),
            other => (other, ""),
        };
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.into(),
        }
    }

    /// Reads `os/architecture[/variant]`.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let good = |p: &&str| {
            !p.is_empty()
                && p.len() <= 32
                && p.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(good) {
            return Err(PlatformError(super::digest::clip(text)));
        }
        Ok(Self {
            os: parts[0].into(),
            architecture: parts[1].into(),
            variant: parts.get(2).copied().unwrap_or_default().into(),
        })
    }

    /// How well an image for `offered` runs where `self` is wanted: lower is better, `None` not at all.
    pub fn rank(&self, offered: &Self) -> Option<usize> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let runnable: &[&str] = match (self.architecture.as_str(), self.variant.as_str()) {
            ("amd64", "" | "v1") => &["", "v1"],
            ("amd64", "v2") => &["v2", "v1", ""],
            ("amd64", "v3") => &["v3", "v2", "v1", ""],
            ("amd64", "v4") => &["v4", "v3", "v2", "v1", ""],
            ("arm64", "" | "v8") => &["v8", "", "v8.0"],
            ("arm", "" | "v7") => &["v7", "", "v6", "v5"],
            ("arm", "v6") => &["v6", "v5"],
            ("arm", "v8") => &["v8", "v7", "", "v6", "v5"],
            (_, variant) => {
                return match offered.variant.as_str() {
                    other if other == variant => Some(0),
                    "" => Some(1),
                    _ if variant.is_empty() => Some(2),
                    _ => None,
                };
            }
        };
        runnable.iter().position(|v| *v == offered.variant)
    }

    /// The best of `offered`, the earlier of equals; an entry that does not say comes last.
    pub fn choose<'a, T>(
        &self,
        offered: impl IntoIterator<Item = (&'a T, Option<&'a Platform>)>,
    ) -> Option<&'a T> {
        offered
            .into_iter()
            .filter_map(|(item, platform)| match platform {
                Some(platform) => self.rank(platform).map(|rank| (rank, item)),
                None => Some((usize::MAX, item)),
            })
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, item)| item)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    fn choose(want: &str, offered: &[&str]) -> Option<String> {
        let offered: Vec<Platform> = offered.iter().map(|o| p(o)).collect();
        p(want)
            .choose(offered.iter().map(|o| (o, Some(o))))
            .map(Platform::to_string)
    }

    #[test]
    fn the_nearest_variant_wins() {
        assert_eq!(
            choose("linux/amd64", &["linux/arm64", "linux/amd64"]).as_deref(),
            Some("linux/amd64")
        );
        assert_eq!(
            choose("linux/amd64", &["linux/amd64/v3", "linux/amd64"]).as_deref(),
            Some("linux/amd64")
        );
        assert_eq!(choose("linux/amd64", &["linux/amd64/v3"]), None);
        assert_eq!(
            choose("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"]).as_deref(),
            Some("linux/arm/v6")
        );
        assert_eq!(choose("linux/arm/v6", &["linux/arm/v7"]), None);
        assert_eq!(
            choose("linux/arm64", &["linux/arm64/v8"]).as_deref(),
            Some("linux/arm64/v8")
        );
        assert_eq!(choose("linux/s390x", &["windows/amd64"]), None);
    }

    #[test]
    fn an_entry_that_does_not_say_is_the_last_resort() {
        let (a, b) = ("unsaid", "said");
        let amd = p("linux/amd64");
        assert_eq!(amd.choose([(&a, None), (&b, Some(&amd))]), Some(&b));
        assert_eq!(amd.choose([(&a, None)]), Some(&a));
    }

    #[test]
    fn reads_and_refuses() {
        assert_eq!(p("linux/arm/v7").to_string(), "linux/arm/v7");
        for bad in ["", "linux", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Platform::host().os, "linux");
    }
}
