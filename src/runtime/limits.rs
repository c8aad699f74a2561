//! Limits of a new cgroup of version 1, as files and what is written to them. Pure.
//!
//! libcgroups sets them too, but looks every controller up in the table of mounts, which on a node with many pods takes
//! longer than all else that it does. What is changed later, and what is asked for seldom, is left to it.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use crate::sys::device_filter::{Kind, Rule, Verdict, access};

use super::{devices, error::Failure};

/// A value for a file of a controller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    pub(super) file: String,
    pub(super) value: String,
}

/// What to write, in this order; `None` where there is something that is left to libcgroups.
pub(super) fn at_first(asked: &LinuxResources) -> Result<Option<Vec<Setting>>, Failure> {
    let mut all = Vec::new();
    let mut set = |controller, file: &str, value: Option<String>| {
        all.extend(value.map(|value| Setting {
            controller,
            file: file.to_owned(),
            value,
        }));
    };
    let mut known = LinuxResources::default();
    known
        .set_devices(asked.devices().clone())
        .set_hugepage_limits(asked.hugepage_limits().clone());
    if let Some(cpu) = asked.cpu() {
        let mut plain = LinuxCpu::default();
        plain
            .set_shares(cpu.shares())
            .set_period(cpu.period())
            .set_quota(cpu.quota())
            .set_cpus(cpu.cpus().clone())
            .set_mems(cpu.mems().clone());
        known.set_cpu(Some(plain));
        let number = |value: Option<u64>| value.filter(|v| *v != 0).map(|v| v.to_string());
        let quota = cpu.quota().filter(|quota| *quota != 0);
        set("cpuset", "cpuset.cpus", cpu.cpus().clone());
        set("cpuset", "cpuset.mems", cpu.mems().clone());
        set("cpu", "cpu.shares", number(cpu.shares()));
        set("cpu", "cpu.cfs_period_us", number(cpu.period()));
        set("cpu", "cpu.cfs_quota_us", quota.map(|q| q.to_string()));
    }
    if let Some(memory) = asked.memory() {
        let mut plain = LinuxMemory::default();
        plain.set_limit(memory.limit()).set_swap(memory.swap());
        known.set_memory(Some(plain));
        // Without a limit it is as it is made.
        let number = |value: Option<i64>| value.filter(|v| *v > 0).map(|v| v.to_string());
        let (limit, swap) = (number(memory.limit()), number(memory.swap()));
        set("memory", "memory.limit_in_bytes", limit);
        set("memory", "memory.memsw.limit_in_bytes", swap);
        // Which may have been handed down.
        set("memory", "memory.oom_control", Some("0".into()));
    }
    for limit in asked.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size());
        set("hugetlb", &file, Some(limit.limit().to_string()));
    }
    if known != *asked {
        return Ok(None);
    }
    let rules = devices::rules_v1(asked.devices().as_deref().unwrap_or_default())?;
    for rule in rules {
        let file = match rule.verdict {
            Verdict::Allow => "devices.allow",
            Verdict::Deny => "devices.deny",
        };
        for line in lines(&rule) {
            set("devices", file, Some(line));
        }
    }
    Ok(Some(all))
}

/// A rule as version 1 has it. One of both kinds stands for all devices there, whatever numbers it has.
fn lines(rule: &Rule) -> Vec<String> {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
    let numbers = format!("{}:{}", number(rule.major), number(rule.minor));
    let letters: String = [
        (access::READ, 'r'),
        (access::WRITE, 'w'),
        (access::MAKE, 'm'),
    ]
    .into_iter()
    .filter(|(bit, _)| rule.access & bit != 0)
    .map(|(_, letter)| letter)
    .collect();
    let of = |kind| format!("{kind} {numbers} {letters}");
    let all = rule.major.is_none() && rule.minor.is_none() && rule.access == access::ALL;
    match rule.kind {
        Some(Kind::Block) => vec![of('b')],
        Some(Kind::Character) => vec![of('c')],
        None if all => vec![of('a')],
        None => vec![of('b'), of('c')],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(resources: serde_json::Value) -> Option<Vec<String>> {
        let asked = serde_json::from_value(resources).unwrap();
        let all = at_first(&asked).unwrap()?;
        let line = |s: Setting| format!("{}/{}={}", s.controller, s.file, s.value);
        Some(all.into_iter().map(line).collect())
    }

    #[test]
    fn what_is_asked_for_is_written() {
        let all = written(json!({
            "cpu": {"shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0-1"},
            "memory": {"limit": 1_000_000, "swap": -1},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
            "devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "mr"},
                {"allow": true, "major": 7, "access": "r"},
            ],
        }))
        .unwrap();
        assert_eq!(
            all[..11],
            [
                "cpuset/cpuset.cpus=0-1",
                "cpu/cpu.shares=512",
                "cpu/cpu.cfs_period_us=50000",
                "cpu/cpu.cfs_quota_us=20000",
                "memory/memory.limit_in_bytes=1000000",
                "memory/memory.oom_control=0",
                "hugetlb/hugetlb.2MB.limit_in_bytes=4096",
                "devices/devices.deny=a *:* rwm",
                "devices/devices.allow=c 10:229 rm",
                "devices/devices.allow=b 7:* r",
                "devices/devices.allow=c 7:* r",
            ]
        );
        assert!(all.contains(&"devices/devices.allow=c 1:3 rwm".to_owned()));
        assert!(all.contains(&"devices/devices.allow=b *:* m".to_owned()));
        // The machine's console is nobody's.
        assert!(!all.iter().any(|line| line.contains(" 5:1 ")));
    }

    #[test]
    fn what_is_not_known_here_is_left_to_the_library() {
        for other in [
            json!({"cpu": {"shares": 2, "burst": 7}}),
            json!({"memory": {"limit": 1, "reservation": 7}}),
            json!({"blockIO": {"weight": 500}}),
            json!({"pids": {"limit": 7}}),
        ] {
            assert_eq!(written(other.clone()), None, "{other}");
        }
        assert!(written(json!({})).is_some());
    }
}
