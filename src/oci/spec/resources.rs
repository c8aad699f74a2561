//! Limits of a container.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxPids, LinuxResources};

use super::SpecError;
use crate::{
    container::spec::Resources,
    oci::{
        clamp::Clamped,
        node::{CgroupVersion, Node},
    },
};

/// Most keys of cgroup v2 in one request.
const UNIFIED_CAP: usize = 256;

/// Limits as the runtime specification has them.
pub fn resources(
    asked: &Resources,
    node: &Node,
    clamped: &mut Vec<Clamped>,
) -> Result<LinuxResources, SpecError> {
    let mut limits = LinuxResources::default();
    limits
        .set_cpu(cpu(asked)?)
        .set_memory(memory(asked, node, clamped)?)
        .set_hugepage_limits(hugepages(asked, node, clamped)?)
        .set_unified(unified(asked, node)?);
    Ok(limits)
}

/// Limits for a container that lives: a memory limit under what is in use already is refused, where
/// the kernel would otherwise kill until it fits.
pub fn update(
    asked: &Resources,
    node: &Node,
    clamped: &mut Vec<Clamped>,
) -> Result<LinuxResources, SpecError> {
    let mut limits = resources(asked, node, clamped)?;
    // On v1 the kernel refuses by itself.
    if node.cgroup == CgroupVersion::V2
        && let Some(memory) = limits.memory_mut()
        && memory.limit().is_some_and(|limit| limit > 0)
    {
        memory.set_check_before_update(Some(true));
    }
    Ok(limits)
}

/// Adds the most processes a container may have.
pub(super) fn add_pids_limit(limits: &mut LinuxResources, limit: Option<i64>) {
    if let Some(limit) = limit.filter(|limit| *limit > 0) {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        limits.set_pids(Some(pids));
    }
}

fn cpu(asked: &Resources) -> Result<Option<LinuxCpu>, SpecError> {
    let mut cpu = LinuxCpu::default();
    if let Some(shares) = asked.cpu_shares.filter(|shares| *shares > 0) {
        // Callers send 2 for "least"; the kernel takes nothing outside of these.
        cpu.set_shares(Some(shares.clamp(2, 262_144)));
    }
    if let Some(quota) = asked.cpu_quota.filter(|quota| *quota != 0) {
        cpu.set_quota(Some(quota.max(-1)));
    }
    if let Some(period) = asked.cpu_period.filter(|period| *period > 0) {
        if !(1_000..=1_000_000).contains(&period) {
            return Err(SpecError::Limit {
                field: "cpu_period",
                value: i64::try_from(period).unwrap_or(i64::MAX),
                why: "the kernel takes 1000 to 1000000 microseconds",
            });
        }
        cpu.set_period(Some(period));
    }
    for (field, list) in [
        ("cpuset_cpus", &asked.cpuset_cpus),
        ("cpuset_mems", &asked.cpuset_mems),
    ] {
        if !list.is_empty() && !is_list(list) {
            return Err(SpecError::Cpuset {
                field,
                value: list.clone(),
            });
        }
    }
    let some = |list: &String| Some(list.clone()).filter(|list| !list.is_empty());
    cpu.set_cpus(some(&asked.cpuset_cpus));
    cpu.set_mems(some(&asked.cpuset_mems));
    Ok(Some(cpu).filter(|cpu| *cpu != LinuxCpu::default()))
}

/// `0-3,7`: numbers and ascending ranges.
fn is_list(text: &str) -> bool {
    let number = |text: &str| -> Option<u32> {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse().ok())
            .flatten()
    };
    text.len() < 4096
        && text.split(',').all(|part| match part.split_once('-') {
            None => number(part).is_some(),
            Some((first, last)) => match (number(first), number(last)) {
                (Some(first), Some(last)) => first <= last,
                _ => false,
            },
        })
}

fn memory(
    asked: &Resources,
    node: &Node,
    clamped: &mut Vec<Clamped>,
) -> Result<Option<LinuxMemory>, SpecError> {
    let limit = asked.memory_limit.filter(|limit| *limit != 0);
    let swap = asked.memory_swap_limit.filter(|swap| *swap != 0);
    if let (Some(limit), Some(swap)) = (limit, swap)
        && limit > 0
        && swap > 0
        && swap < limit
    {
        return Err(SpecError::Limit {
            field: "memory_swap_limit_in_bytes",
            value: swap,
            why: "it counts memory and swap together, and is below the memory limit",
        });
    }
    let swap = match (limit, swap) {
        _ if !node.swap => {
            if swap.is_some_and(|swap| limit.is_none_or(|limit| swap != limit)) {
                clamped.push(Clamped::Swap);
            }
            None
        }
        (_, Some(swap)) => Some(swap),
        // A limit on memory means memory: without one on swap, the rest would go there.
        (Some(limit), None) => Some(limit),
        (None, None) => None,
    };
    if limit.is_none() && swap.is_none() {
        return Ok(None);
    }
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(limit.map(|limit| limit.max(-1)))
        .set_swap(swap.map(|swap| swap.max(-1)));
    Ok(Some(memory))
}

fn hugepages(
    asked: &Resources,
    node: &Node,
    clamped: &mut Vec<Clamped>,
) -> Result<Option<Vec<LinuxHugepageLimit>>, SpecError> {
    let mut limits = Vec::new();
    for (size, bytes) in &asked.hugepages {
        if !node.hugepage_sizes.contains(size) {
            // Callers send a limit of zero for sizes nobody uses.
            if *bytes > 0 {
                clamped.push(Clamped::Hugepages(size.clone()));
            }
            continue;
        }
        let mut limit = LinuxHugepageLimit::default();
        limit
            .set_page_size(size.clone())
            .set_limit(i64::try_from(*bytes).map_err(|_| SpecError::Limit {
                field: "hugepage_limits",
                value: i64::MAX,
                why: "no machine has so much memory",
            })?);
        limits.push(limit);
    }
    Ok(Some(limits).filter(|limits| !limits.is_empty()))
}

fn unified(asked: &Resources, node: &Node) -> Result<Option<HashMap<String, String>>, SpecError> {
    if let Some(key) = asked.unified.keys().next()
        && node.cgroup == CgroupVersion::V1
    {
        return Err(SpecError::UnifiedOnV1(key.clone()));
    }
    if asked.unified.len() > UNIFIED_CAP {
        return Err(SpecError::Limit {
            field: "unified",
            value: i64::try_from(asked.unified.len()).unwrap_or(i64::MAX),
            why: "at most 256 keys are taken",
        });
    }
    for (key, value) in &asked.unified {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        // Every setting is CONTROLLER.NAME; of what belongs to the tree itself, nothing is taken.
        let (controller, name) = key.split_once('.').unwrap_or((key, ""));
        let refused = controller.is_empty() || name.is_empty() || controller == "cgroup";
        if refused || !key.chars().all(plain) || value.contains('\0') {
            return Err(SpecError::UnifiedKey(key.clone()));
        }
    }
    let map: HashMap<_, _> = asked.unified.clone().into_iter().collect();
    Ok(Some(map).filter(|map| !map.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::spec::tests::node;
    use proptest::prelude::*;

    fn ask(asked: &Resources, node: &Node) -> Result<(LinuxResources, Vec<Clamped>), SpecError> {
        let mut clamped = Vec::new();
        resources(asked, node, &mut clamped).map(|limits| (limits, clamped))
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        let (limits, clamped) = ask(&Resources::default(), &node()).unwrap();
        assert_eq!(limits, LinuxResources::default());
        assert!(clamped.is_empty());
        let zeroes = Resources {
            cpu_period: Some(0),
            cpu_quota: Some(0),
            cpu_shares: Some(0),
            memory_limit: Some(0),
            memory_swap_limit: Some(0),
            hugepages: vec![("2MB".into(), 0)],
            ..Resources::default()
        };
        assert_eq!(ask(&zeroes, &node()).unwrap().0, LinuxResources::default());
    }

    #[test]
    fn swap_follows_memory() {
        let memory = |limit, swap, counted| {
            let asked = Resources {
                memory_limit: limit,
                memory_swap_limit: swap,
                ..Resources::default()
            };
            let mut node = node();
            node.swap = counted;
            ask(&asked, &node).map(|(limits, clamped)| {
                let memory = limits.memory().unwrap_or_default();
                (memory.limit(), memory.swap(), clamped.len())
            })
        };
        assert_eq!(memory(Some(100), None, true), Ok((Some(100), Some(100), 0)));
        assert_eq!(
            memory(Some(100), Some(150), true),
            Ok((Some(100), Some(150), 0))
        );
        assert_eq!(
            memory(Some(100), Some(-1), true),
            Ok((Some(100), Some(-1), 0))
        );
        assert_eq!(
            memory(Some(100), Some(150), false),
            Ok((Some(100), None, 1))
        );
        assert_eq!(
            memory(Some(100), Some(100), false),
            Ok((Some(100), None, 0))
        );
        assert_eq!(memory(Some(-1), None, true), Ok((Some(-1), Some(-1), 0)));
        let error = memory(Some(100), Some(50), true).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("memory_swap_limit_in_bytes 50 is out of range")
        );
    }

    #[test]
    fn an_update_checks_memory_first() {
        let asked = Resources {
            memory_limit: Some(100),
            ..Resources::default()
        };
        let mut v2 = node();
        v2.cgroup = CgroupVersion::V2;
        let limits = update(&asked, &v2, &mut vec![]).unwrap();
        assert_eq!(limits.memory().unwrap().check_before_update(), Some(true));
        let limits = update(&asked, &node(), &mut vec![]).unwrap();
        assert_eq!(limits.memory().unwrap().check_before_update(), None);
    }

    #[test]
    fn unified_is_for_v2() {
        let asked = |key: &str| Resources {
            unified: [(key.to_owned(), "1".to_owned())].into(),
            ..Resources::default()
        };
        let mut v2 = node();
        v2.cgroup = CgroupVersion::V2;
        assert!(
            ask(&asked("memory.high"), &v2)
                .unwrap()
                .0
                .unified()
                .is_some()
        );
        for bad in [
            "memory",
            "../memory.high",
            "cgroup.procs",
            ".x",
            "a.",
            "",
            "a.b/c",
        ] {
            assert_eq!(
                ask(&asked(bad), &v2),
                Err(SpecError::UnifiedKey(bad.into()))
            );
        }
        let mut v1 = node();
        v1.cgroup = CgroupVersion::V1;
        let error = ask(&asked("memory.high"), &v1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unified key \"memory.high\" needs cgroup v2, which this node does not use"
        );
    }

    #[test]
    fn cpus() {
        let asked = |cpus: &str| Resources {
            cpuset_cpus: cpus.into(),
            cpu_shares: Some(1),
            ..Resources::default()
        };
        let (limits, _) = ask(&asked("0-3,7"), &node()).unwrap();
        let cpu = limits.cpu().clone().unwrap();
        assert_eq!(cpu.cpus().as_deref(), Some("0-3,7"));
        assert_eq!(cpu.shares(), Some(2));
        for bad in ["a", "0-", "3-1", "0,,1", "-1", "0 1", "+1"] {
            assert!(
                matches!(ask(&asked(bad), &node()), Err(SpecError::Cpuset { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn uncounted_hugepages_are_told() {
        let asked = Resources {
            hugepages: vec![("2MB".into(), 4096), ("1GB".into(), 1)],
            ..Resources::default()
        };
        let mut node = node();
        node.hugepage_sizes = vec!["2MB".into()];
        let (limits, clamped) = ask(&asked, &node).unwrap();
        assert_eq!(limits.hugepage_limits().as_ref().unwrap().len(), 1);
        assert_eq!(clamped, [Clamped::Hugepages("1GB".into())]);
    }

    proptest! {
        #[test]
        fn any_numbers_will_do(limit: Option<i64>, swap: Option<i64>, shares: Option<u64>, period: Option<u64>, quota: Option<i64>, cpus in "[0-9,-]{0,12}") {
            let asked = Resources {
                memory_limit: limit, memory_swap_limit: swap, cpu_shares: shares,
                cpu_period: period, cpu_quota: quota, cpuset_cpus: cpus, ..Resources::default()
            };
            if let Ok((limits, _)) = ask(&asked, &node()) {
                if let Some(memory) = limits.memory() {
                    prop_assert!(memory.limit().is_none_or(|l| l >= -1));
                }
                if let Some(shares) = limits.cpu().as_ref().and_then(LinuxCpu::shares) {
                    prop_assert!((2..=262_144).contains(&shares));
                }
            }
        }
    }
}
