//! Capabilities by name and as sets.

use std::fmt;

use oci_spec::runtime::{Capabilities, Capability};

/// Names in the kernel's numbering, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container gets when nothing is configured.
const DEFAULTS: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "KILL",
];

/// A capability nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub struct UnknownCapability(pub String);

/// A set of capabilities.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSet(u64);

impl CapSet {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// All that this program knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// From a mask as the kernel prints it; bits without a name are left out.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The mask as the kernel prints it.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The nine a container gets when nothing else is configured.
    pub fn defaults() -> Self {
        DEFAULTS
            .iter()
            .filter_map(|name| Self::one(name).ok())
            .fold(Self::EMPTY, Self::union)
    }

    /// The set of one capability, with or without `CAP_`, in any case.
    pub fn one(name: &str) -> Result<Self, UnknownCapability> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES
            .iter()
            .position(|known| *known == bare)
            .map(|bit| Self(1 << bit))
            .ok_or_else(|| UnknownCapability(name.to_owned()))
    }

    /// The set of several.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownCapability> {
        names
            .into_iter()
            .try_fold(Self::EMPTY, |set, name| Ok(set.union(Self::one(name)?)))
    }

    /// From names as the runtime specification has them.
    pub fn from_oci(names: &Capabilities) -> Result<Self, UnknownCapability> {
        names.iter().try_fold(Self::EMPTY, |set, name| {
            Ok(set.union(Self::one(&name.to_string())?))
        })
    }

    /// Those in either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in this one only.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the one of that name is in here; false for unknown names.
    pub fn has(self, name: &str) -> bool {
        Self::one(name).is_ok_and(|one| self.contains(one))
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names without `CAP_`, in the kernel's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, name)| *name)
    }

    /// As the runtime specification wants it.
    pub fn to_oci(self) -> Capabilities {
        self.names()
            .filter_map(|name| name.parse::<Capability>().ok())
            .collect()
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_name_is_known_to_the_specification() {
        assert_eq!(CapSet::ALL.to_oci().len(), NAMES.len());
        assert_eq!(CapSet::defaults().names().count(), 9);
    }

    #[test]
    fn names_are_read_in_every_form() {
        let one = CapSet::one("NET_ADMIN").unwrap();
        assert_eq!(one.bits(), 1 << 12);
        assert_eq!(CapSet::one("CAP_NET_ADMIN"), Ok(one));
        assert_eq!(CapSet::one("cap_net_admin"), Ok(one));
        assert_eq!(
            CapSet::one("CAP_CAP_NET_ADMIN"),
            Err(UnknownCapability("CAP_CAP_NET_ADMIN".into()))
        );
        assert!(CapSet::one("ALL").is_err());
        assert!(CapSet::one("").is_err());
    }

    proptest! {
        #[test]
        fn names_and_bits_agree(bits: u64) {
            let set = CapSet::from_bits(bits);
            prop_assert_eq!(CapSet::of(set.names()), Ok(set));
        }
    }
}
