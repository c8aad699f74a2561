//! Capabilities.

use super::error::{At, FieldError};
use crate::{container::spec::Capabilities, cri::api};

/// Every capability of Linux 6.18, by the name the protocol uses.
const NAMES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Capabilities by upper-case name without `CAP_`, or `ALL`; each once.
pub fn capabilities(
    at: &At<'_>,
    given: Option<api::Capability>,
) -> Result<Capabilities, FieldError> {
    let given = given.unwrap_or_default();
    Ok(Capabilities {
        add: names(&at.field("add_capabilities"), &given.add_capabilities)?,
        drop: names(&at.field("drop_capabilities"), &given.drop_capabilities)?,
        add_ambient: names(
            &at.field("add_ambient_capabilities"),
            &given.add_ambient_capabilities,
        )?,
    })
}

fn names(at: &At<'_>, given: &[String]) -> Result<Vec<String>, FieldError> {
    let mut names: Vec<String> = Vec::new();
    for (i, name) in given.iter().enumerate() {
        let upper = name.to_ascii_uppercase();
        let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if plain != "ALL" && !NAMES.contains(&plain) {
            return Err(at.index(i).bad(name, "is not a capability"));
        }
        if !names.iter().any(|n| n == plain) {
            names.push(plain.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unified() {
        let at = At::root("c");
        let given = |add: &[&str]| {
            Some(api::Capability {
                add_capabilities: add.iter().map(|s| (*s).to_owned()).collect(),
                ..Default::default()
            })
        };
        assert_eq!(
            capabilities(
                &at,
                given(&["net_admin", "CAP_NET_ADMIN", "Cap_Kill", "all"])
            )
            .unwrap()
            .add,
            ["NET_ADMIN", "KILL", "ALL"]
        );
        assert_eq!(
            capabilities(&at, given(&["KILL", "CAP_FLY"]))
                .unwrap_err()
                .to_string(),
            "c.add_capabilities[1]: \"CAP_FLY\" is not a capability"
        );
        assert!(capabilities(&at, given(&[""])).is_err());
    }
}
