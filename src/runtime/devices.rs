//! Which devices a container may use.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::sys::device_filter::{Kind, Rule, Verdict, access};

use super::error::Failure;

/// What every container may use: null, zero, full, random, urandom, tty, ptmx and all terminals.
const ALWAYS: [(u32, Option<u32>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// The same for cgroup v1, where runc lets every container use one more: the one that network tunnels are made with.
pub(super) fn rules_v1(asked: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, Failure> {
    let mut all = rules(asked)?;
    all.push(Rule {
        verdict: Verdict::Allow,
        kind: Some(Kind::Character),
        major: Some(10),
        minor: Some(200),
        access: access::ALL,
    });
    Ok(all)
}

/// The rules of a specification, and what every container may do.
pub(super) fn rules(asked: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, Failure> {
    let mut all = asked.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    let allowed = |kind, major, minor, access| Rule {
        verdict: Verdict::Allow,
        kind: Some(kind),
        major,
        minor,
        access,
    };
    // A node alone lets nobody use the device.
    for kind in [Kind::Character, Kind::Block] {
        all.push(allowed(kind, None, None, access::MAKE));
    }
    for (major, minor) in ALWAYS {
        all.push(allowed(Kind::Character, Some(major), minor, access::ALL));
    }
    Ok(all)
}

fn rule(asked: &LinuxDeviceCgroup) -> Result<Rule, Failure> {
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| Failure::Spec(format!("device number {n}"))),
    };
    let kind = match asked.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Kind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Character),
        Some(LinuxDeviceType::P) => return Err(Failure::Spec("a rule for pipes".into())),
    };
    let mut bits = 0;
    for letter in asked.access().as_deref().unwrap_or("rwm").chars() {
        bits |= match letter {
            'r' => access::READ,
            'w' => access::WRITE,
            'm' => access::MAKE,
            other => return Err(Failure::Spec(format!("device access {other:?}"))),
        };
    }
    Ok(Rule {
        verdict: if asked.allow() {
            Verdict::Allow
        } else {
            Verdict::Deny
        },
        kind,
        major: number(asked.major())?,
        minor: number(asked.minor())?,
        access: bits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_ones_come_first() {
        let mut deny = LinuxDeviceCgroup::default();
        deny.set_allow(false).set_access(Some("rwm".into()));
        let mut fuse = LinuxDeviceCgroup::default();
        fuse.set_allow(true)
            .set_typ(Some(LinuxDeviceType::C))
            .set_major(Some(10))
            .set_minor(Some(229))
            .set_access(Some("rw".into()));
        let all = rules(&[deny.clone(), fuse]).unwrap();
        assert_eq!(all[0].verdict, Verdict::Deny);
        assert_eq!((all[0].kind, all[0].access), (None, access::ALL));
        assert_eq!((all[1].major, all[1].minor), (Some(10), Some(229)));
        assert_eq!(all[1].access, access::READ | access::WRITE);
        assert!(all[2..].iter().all(|rule| rule.verdict == Verdict::Allow));
        deny.set_access(Some("x".into()));
        assert!(rules(&[deny]).is_err());
    }
}
