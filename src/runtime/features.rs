//! `--version` and `features`: what this runtime is, and what it can do.

use serde_json::json;

use super::{error::Failure, options, stdio};

/// The newest version of the runtime specification that is understood.
const OCI: &str = "1.2.1";

/// Tells which program this is.
pub(super) fn print_version() -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    stdio::tell(&format!("corten-runtime version {version}\nspec: {OCI}"))
        .map_err(Failure::step("telling the version"))
}

/// Tells what it can do, as the runtime specification has it.
pub(super) fn print() -> Result<(), Failure> {
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI,
        "hooks": [],
        "mountOptions": options::KNOWN,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": crate::oci::capability::CapSet::ALL.names()
                .map(|name| format!("CAP_{name}")).collect::<Vec<_>>(),
            "cgroup": {
                "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false,
            },
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "knownFlags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                    "SECCOMP_FILTER_FLAG_LOG"],
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": true } },
        },
        "potentiallyUnsafeConfigAnnotations": [],
    });
    stdio::tell(&features.to_string()).map_err(Failure::step("telling the features"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn options_that_are_told_are_understood() {
        for option in super::options::KNOWN {
            let read = super::options::parse(&[(*option).to_owned()]);
            assert!(read.data.is_empty(), "{option}");
        }
    }
}
