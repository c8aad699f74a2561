//! Limits of containers and sandboxes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    error::{At, FieldError},
    number, text,
};
use crate::{container::spec::Resources, cri::api};

/// Most huge page sizes or unified keys one request may name.
const ENTRIES_MAX: usize = 256;
/// Longest CPU or memory node list.
const LIST_MAX: usize = 4096;
/// Largest CPU or memory node number the kernel can be built for.
const CPU_MAX: u32 = 8191;

/// Limits as the protocol has them; zero stands for "not given" everywhere.
pub fn resources(
    at: &At<'_>,
    given: api::LinuxContainerResources,
) -> Result<Resources, FieldError> {
    let period = number::optional(
        &at.field("cpu_period"),
        given.cpu_period,
        1_000..=1_000_000,
        "a CFS period in microseconds",
    )?;
    let shares = number::optional(
        &at.field("cpu_shares"),
        given.cpu_shares,
        2..=262_144,
        "a CPU weight",
    )?;
    let memory = bytes(
        &at.field("memory_limit_in_bytes"),
        given.memory_limit_in_bytes,
    )?;
    let swap_at = at.field("memory_swap_limit_in_bytes");
    let swap = bytes(&swap_at, given.memory_swap_limit_in_bytes)?;
    if let (Some(memory), Some(swap)) = (memory, swap)
        && swap >= 0
        && (memory < 0 || swap < memory)
    {
        return Err(swap_at.bad_number(
            swap,
            format!("counts memory too, and is below memory_limit_in_bytes ({memory})"),
        ));
    }
    Ok(Resources {
        cpu_period: period.map(i64::unsigned_abs),
        cpu_quota: quota(&at.field("cpu_quota"), given.cpu_quota)?,
        cpu_shares: shares.map(i64::unsigned_abs),
        memory_limit: memory,
        memory_swap_limit: swap,
        oom_score_adj: number::optional(
            &at.field("oom_score_adj"),
            given.oom_score_adj,
            -1000..=1000,
            "an OOM score adjustment",
        )?,
        cpuset_cpus: list(&at.field("cpuset_cpus"), given.cpuset_cpus)?,
        cpuset_mems: list(&at.field("cpuset_mems"), given.cpuset_mems)?,
        hugepages: hugepages(&at.field("hugepage_limits"), given.hugepage_limits)?,
        unified: unified(&at.field("unified"), given.unified)?,
    })
}

/// Limits back to the protocol.
pub fn to_api(resources: &Resources) -> api::LinuxContainerResources {
    let signed = |v: Option<u64>| v.map_or(0, |v| i64::try_from(v).unwrap_or(i64::MAX));
    api::LinuxContainerResources {
        cpu_period: signed(resources.cpu_period),
        cpu_quota: resources.cpu_quota.unwrap_or(0),
        cpu_shares: signed(resources.cpu_shares),
        memory_limit_in_bytes: resources.memory_limit.unwrap_or(0),
        oom_score_adj: resources.oom_score_adj.unwrap_or(0),
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        hugepage_limits: resources
            .hugepages
            .iter()
            .map(|(page_size, limit)| api::HugepageLimit {
                page_size: page_size.clone(),
                limit: *limit,
            })
            .collect(),
        unified: resources.unified.clone().into_iter().collect(),
        memory_swap_limit_in_bytes: resources.memory_swap_limit.unwrap_or(0),
    }
}

fn quota(at: &At<'_>, value: i64) -> Result<Option<i64>, FieldError> {
    match value {
        0 => Ok(None),
        -1 | 1_000.. => Ok(Some(value)),
        _ => Err(at.bad_number(
            value,
            "is not a CFS quota (-1 for none, or 1000 microseconds and more)",
        )),
    }
}

fn bytes(at: &At<'_>, value: i64) -> Result<Option<i64>, FieldError> {
    match value {
        0 => Ok(None),
        -1 | 1.. => Ok(Some(value)),
        _ => Err(at.bad_number(value, "is not a size (-1 for no limit, or bytes)")),
    }
}

/// A list of numbers and ranges as the kernel reads it: `0-3,7`, `0-31:2/4`.
fn list(at: &At<'_>, value: String) -> Result<String, FieldError> {
    if value.is_empty() {
        return Ok(value);
    }
    text::check(at, &value, LIST_MAX)?;
    if !value.split(',').all(list_item) {
        return Err(at.bad(
            &value,
            format!("is not a list of numbers from 0 to {CPU_MAX} and ranges, like \"0-3,7\""),
        ));
    }
    Ok(value)
}

fn list_item(item: &str) -> bool {
    let (range, stride) = match item.split_once(':') {
        Some((range, stride)) => (range, Some(stride)),
        None => (item, None),
    };
    let in_order = match range.split_once('-') {
        Some((first, last)) => match (digits(first), digits(last)) {
            (Some(first), Some(last)) => first <= last,
            _ => false,
        },
        None => stride.is_none() && digits(range).is_some(),
    };
    let strided = stride.is_none_or(|s| match s.split_once('/') {
        Some((used, group)) => match (digits(used), digits(group)) {
            (Some(used), Some(group)) => used > 0 && used <= group,
            _ => false,
        },
        None => false,
    });
    in_order && strided
}

fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = plain.then(|| text.parse().ok()).flatten()?;
    (number <= CPU_MAX).then_some(number)
}

fn hugepages(
    at: &At<'_>,
    limits: Vec<api::HugepageLimit>,
) -> Result<Vec<(String, u64)>, FieldError> {
    bounded(at, limits.len())?;
    let mut seen = BTreeSet::new();
    limits
        .into_iter()
        .enumerate()
        .map(|(i, limit)| {
            let at = at.index(i);
            let at = at.field("page_size");
            let size = text::required(&at, limit.page_size, 32)?;
            if !page_size(&size) {
                return Err(at.bad(&size, "is not a page size, like \"2MB\" or \"1GB\""));
            }
            if !seen.insert(size.clone()) {
                return Err(at.bad(&size, "is given twice"));
            }
            Ok((size, limit.limit))
        })
        .collect()
}

/// The form in which the kernel names its huge page files: a number and `KB`, `MB` or `GB`.
fn page_size(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - unit.len()];
    matches!(unit, "KB" | "MB" | "GB") && !number.is_empty() && !number.starts_with('0')
}

fn unified(
    at: &At<'_>,
    given: HashMap<String, String>,
) -> Result<BTreeMap<String, String>, FieldError> {
    bounded(at, given.len())?;
    for (key, value) in &given {
        // Names of cgroup files are a controller, a dot and a name; `cgroup.` files are not limits.
        let part = |p: &str| {
            !p.is_empty()
                && p.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        let named = key.contains('.') && key.len() <= 128 && key.split('.').all(part);
        if !named || key.starts_with("cgroup.") {
            return Err(at.bad(
                key,
                "is not the name of a limit in a cgroup, like \"memory.high\"",
            ));
        }
        text::check(&at.key(key), value, 4096)?;
    }
    Ok(given.into_iter().collect())
}

fn bounded(at: &At<'_>, len: usize) -> Result<(), FieldError> {
    if len > ENTRIES_MAX {
        return Err(at.wrong(format!(
            "has {len} entries, at most {ENTRIES_MAX} are possible"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: At<'static> = At::root("r");

    fn error(change: impl FnOnce(&mut api::LinuxContainerResources)) -> String {
        let mut given = api::LinuxContainerResources::default();
        change(&mut given);
        resources(&AT, given).unwrap_err().to_string()
    }

    #[test]
    fn zero_is_unset() {
        assert_eq!(
            resources(&AT, api::LinuxContainerResources::default()),
            Ok(Resources::default())
        );
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(
            error(|r| r.cpu_shares = 1),
            "r.cpu_shares: 1 is not a CPU weight (2 to 262144)"
        );
        assert_eq!(
            error(|r| r.oom_score_adj = 1001),
            "r.oom_score_adj: 1001 is not an OOM score adjustment (-1000 to 1000)"
        );
        assert!(error(|r| r.cpu_quota = -2).starts_with("r.cpu_quota: -2"));
        assert!(error(|r| r.cpu_quota = 999).starts_with("r.cpu_quota: 999"));
        assert!(error(|r| r.cpu_period = -1).starts_with("r.cpu_period: -1"));
        assert!(error(|r| r.memory_limit_in_bytes = -7).starts_with("r.memory_limit_in_bytes: -7"));
        let swap = error(|r| {
            r.memory_limit_in_bytes = 100;
            r.memory_swap_limit_in_bytes = 50;
        });
        assert!(
            swap.starts_with("r.memory_swap_limit_in_bytes: 50 counts"),
            "{swap}"
        );
        for bad in [
            "a", "3-1", "0-", ",", "0,,1", "0 1", "1:1/2", "0-3:0/2", "8192", "-1",
        ] {
            assert!(
                error(|r| r.cpuset_cpus = bad.into()).contains("is not a list"),
                "{bad}"
            );
        }
        for bad in [
            "../memory.max",
            "memory",
            "a/b.c",
            "cgroup.procs",
            ".x",
            "a.",
            "a.b\n",
        ] {
            assert!(
                error(|r| {
                    r.unified.insert(bad.into(), "1".into());
                })
                .contains("is not the name of a limit"),
                "{bad}"
            );
        }
        for bad in ["2M", "MB", "02MB", "2 MB", "2mb"] {
            let limit = api::HugepageLimit {
                page_size: bad.into(),
                limit: 1,
            };
            assert!(
                error(|r| r.hugepage_limits.push(limit)).contains("page size"),
                "{bad}"
            );
        }
    }

    prop_compose! {
        fn some()(
            period in prop_oneof![Just(0), 1_000..=1_000_000i64],
            quota in prop_oneof![Just(0), Just(-1), 1_000..i64::MAX],
            shares in prop_oneof![Just(0), 2..=262_144i64],
            memory in prop_oneof![Just(0), 1..i64::MAX],
            swap in prop_oneof![Just(0), Just(-1)],
            oom in -1000..=1000i64,
            cpus in "([0-9]{1,2}(,[0-9]{1,3})*)?",
            pages in prop::collection::btree_map("[1-9][0-9]?[KMG]B", any::<u64>(), 0..3),
            unified in prop::collection::hash_map("[a-z]{1,8}\\.[a-z]{1,8}", "\\PC{0,9}", 0..3),
        ) -> api::LinuxContainerResources {
            api::LinuxContainerResources {
                cpu_period: period,
                cpu_quota: quota,
                cpu_shares: shares,
                memory_limit_in_bytes: memory,
                memory_swap_limit_in_bytes: swap,
                oom_score_adj: oom,
                cpuset_cpus: cpus,
                cpuset_mems: "0-3,7,8-15:2/4".into(),
                hugepage_limits: pages
                    .into_iter()
                    .map(|(page_size, limit)| api::HugepageLimit { page_size, limit })
                    .collect(),
                unified: unified.into_iter().filter(|(k, _)| !k.starts_with("cgroup.")).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn there_and_back(given in some()) {
            let checked = resources(&AT, given.clone()).unwrap();
            prop_assert_eq!(to_api(&checked), given);
        }
    }
}
