//! What an OCI runtime can do, as far as it tells.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The newest runtime specification whose fields are used here.
const NEWEST: &str = "1.2.0";

/// Written for a runtime that cannot tell what it accepts: every runtime in use takes it.
const CONSERVATIVE: &str = "1.0.2";

/// What a runtime can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// Whether the runtime told (`RUNTIME features`), rather than being assumed to do little.
    pub told: bool,
    /// `ociVersion` to write: the newest that both sides know.
    pub oci_version: String,
    /// Mount options; empty when not told.
    pub mount_options: BTreeSet<String>,
    /// Mounts can be made read-only recursively.
    pub recursive_read_only: bool,
    /// Mounts can map IDs.
    pub idmap_mounts: bool,
    /// Containers can have a user namespace.
    pub user_namespaces: bool,
    /// System calls can be filtered.
    pub seccomp: bool,
    /// cgroup v2 is understood.
    pub cgroup_v2: bool,
    /// systemd can be asked to make cgroups.
    pub systemd_cgroup: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            told: false,
            oci_version: CONSERVATIVE.to_owned(),
            mount_options: BTreeSet::new(),
            recursive_read_only: false,
            idmap_mounts: false,
            user_namespaces: true,
            seccomp: true,
            cgroup_v2: true,
            systemd_cgroup: true,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(default)]
    oci_version_min: String,
    oci_version_max: String,
    #[serde(default)]
    mount_options: BTreeSet<String>,
    #[serde(default)]
    linux: ToldLinux,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ToldLinux {
    namespaces: Option<Vec<String>>,
    cgroup: ToldCgroup,
    seccomp: Enabled,
    mount_extensions: ToldMounts,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToldCgroup {
    v2: Option<bool>,
    systemd: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToldMounts {
    idmap: Enabled,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Enabled {
    enabled: Option<bool>,
}

/// Runtimes that have long had user namespaces and cannot tell, as their versions begin.
const WITH_USER_NAMESPACES: [&str; 2] = ["runc version ", "crun version "];

impl Features {
    /// What a runtime is taken to do that cannot tell, by the first line of its `--version`.
    pub fn untold(version: &str) -> Self {
        Self {
            user_namespaces: WITH_USER_NAMESPACES
                .iter()
                .any(|known| version.starts_with(known)),
            ..Self::default()
        }
    }

    /// Reads the output of `RUNTIME features`.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let told: Told = serde_json::from_slice(json)?;
        let namespaces = told.linux.namespaces;
        Ok(Self {
            told: true,
            oci_version: common_version(&told.oci_version_min, &told.oci_version_max),
            recursive_read_only: told.mount_options.contains("rro"),
            mount_options: told.mount_options,
            idmap_mounts: told.linux.mount_extensions.idmap.enabled == Some(true),
            user_namespaces: namespaces.is_none_or(|list| list.iter().any(|n| n == "user")),
            seccomp: told.linux.seccomp.enabled != Some(false),
            cgroup_v2: told.linux.cgroup.v2 != Some(false),
            systemd_cgroup: told.linux.cgroup.systemd != Some(false),
        })
    }
}

/// The newest version within the runtime's range that is not newer than ours.
fn common_version(min: &str, max: &str) -> String {
    match (version(min), version(max), version(NEWEST)) {
        (_, Some(max_parts), Some(ours)) if max_parts < ours => max.to_owned(),
        (Some(min_parts), _, Some(ours)) if min_parts > ours => min.to_owned(),
        (_, Some(_), _) => NEWEST.to_owned(),
        _ => CONSERVATIVE.to_owned(),
    }
}

/// Numbers of a version, and whether it is a release rather than something before it.
fn version(text: &str) -> Option<(u64, u64, u64, bool)> {
    let text = text.split('+').next()?;
    let (numbers, release) = match text.split_once('-') {
        Some((numbers, _)) => (numbers, false),
        None => (text, true),
    };
    let mut parts = numbers.split('.').map(str::parse);
    let version = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        release,
    );
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_newer_than_the_runtime_knows() {
        assert_eq!(common_version("1.0.0", "1.0.2-dev"), "1.0.2-dev");
        assert_eq!(common_version("1.0.0", "1.1.0+dev"), "1.1.0+dev");
        assert_eq!(common_version("1.0.0", "1.2.0-rc.1"), "1.2.0-rc.1");
        assert_eq!(common_version("1.0.0", "1.2.0"), "1.2.0");
        assert_eq!(common_version("1.0.0", "1.3.0"), NEWEST);
        assert_eq!(common_version("", "1.3.0"), NEWEST);
        assert_eq!(common_version("2.0.0", "2.1.0"), "2.0.0");
        assert_eq!(common_version("1.0.0", "unknown"), CONSERVATIVE);
        assert_eq!(common_version("", ""), CONSERVATIVE);
    }

    #[test]
    fn who_cannot_tell_is_known_by_its_version() {
        for (version, known) in [
            ("crun version 1.8.1", true),
            ("runc version 1.0.3", true),
            ("runsc version release-20221122.0", false),
            ("", false),
        ] {
            assert_eq!(
                Features::untold(version).user_namespaces,
                known,
                "{version}"
            );
        }
    }

    #[test]
    fn reads_what_is_told_and_assumes_the_usual() {
        let json =
            br#"{"ociVersionMin":"1.0.0","ociVersionMax":"1.2.1","mountOptions":["ro","rro"],
            "linux":{"namespaces":["pid"],"mountExtensions":{"idmap":{"enabled":true}},
            "cgroup":{"v1":true},"seccomp":{"enabled":false}},"new":1}"#;
        let features = Features::parse(json).unwrap();
        assert!(features.told && features.recursive_read_only && features.idmap_mounts);
        assert!(!features.user_namespaces && !features.seccomp);
        assert!(features.cgroup_v2 && features.systemd_cgroup);
        let features = Features::parse(br#"{"ociVersionMax":"1.0.2"}"#).unwrap();
        assert!(!features.recursive_read_only && features.user_namespaces);
        assert!(Features::parse(b"[]").is_err() && Features::parse(b"").is_err());
    }
}
