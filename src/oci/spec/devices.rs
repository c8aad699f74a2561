//! Device nodes, and which devices may be used at all.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::oci::device::{DeviceKind, ResolvedDevice};

/// Nodes that every runtime makes by itself.
const ALWAYS: [&str; 7] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
];

/// The nodes to make; of several at one path the last counts.
pub(super) fn nodes(devices: &[ResolvedDevice]) -> Vec<LinuxDevice> {
    devices
        .iter()
        .filter(|device| !ALWAYS.iter().any(|path| device.path.as_os_str() == *path))
        .map(|device| (&device.path, device))
        .collect::<BTreeMap<_, _>>()
        .into_values()
        .map(node)
        .collect()
}

/// Nothing but what is listed; everything, for a privileged container. What every container needs
/// the runtime adds itself.
pub(super) fn rules(devices: &[ResolvedDevice], privileged: bool) -> Vec<LinuxDeviceCgroup> {
    let mut all = vec![rule(privileged, None, None, "rwm")];
    if !privileged {
        all.extend(devices.iter().map(|device| {
            let numbers = (i64::from(device.major), i64::from(device.minor));
            rule(
                true,
                Some(kind(device.kind)),
                Some(numbers),
                &device.permissions,
            )
        }));
    }
    all
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    numbers: Option<(i64, i64)>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(kind)
        .set_major(numbers.map(|(major, _)| major))
        .set_minor(numbers.map(|(_, minor)| minor))
        .set_access(Some(access.to_owned()));
    rule
}

fn node(device: &ResolvedDevice) -> LinuxDevice {
    let mut node = LinuxDevice::default();
    node.set_path(device.path.clone())
        .set_typ(kind(device.kind))
        .set_major(i64::from(device.major))
        .set_minor(i64::from(device.minor))
        .set_file_mode(Some(device.mode))
        .set_uid(Some(device.uid))
        .set_gid(Some(device.gid));
    node
}

fn kind(kind: DeviceKind) -> LinuxDeviceType {
    match kind {
        DeviceKind::Block => LinuxDeviceType::B,
        DeviceKind::Character => LinuxDeviceType::C,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str, minor: u32) -> ResolvedDevice {
        ResolvedDevice {
            path: path.into(),
            kind: DeviceKind::Character,
            major: 10,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 5,
            permissions: "rw".into(),
        }
    }

    #[test]
    fn only_what_is_listed_may_be_used() {
        let devices = [device("/dev/fuse", 229)];
        let rules = rules(&devices, false);
        assert_eq!(rules.len(), 2);
        assert!(!rules[0].allow() && rules[1].allow());
        assert_eq!(rules[1].to_string(), "c 10:229 rw");
        let all = super::rules(&devices, true);
        assert_eq!(all.len(), 1);
        assert!(all[0].allow());
    }

    #[test]
    fn one_node_per_path() {
        let devices = [
            device("/dev/a", 1),
            device("/dev/null", 3),
            device("/dev/a", 2),
        ];
        let nodes = nodes(&devices);
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0].minor(), 2);
        assert_eq!(nodes[0].gid(), Some(5));
    }
}
