//! What a pod as a whole may use: kept on record, and set on the pod's cgroup where that is corten's own.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use super::spec::PodSpec;
use crate::{
    container::spec::Resources,
    oci::node::CgroupVersion,
    step::{self, Step},
    sys::cgroup,
};

/// Period that counts where a request names none, in microseconds: the kernel's own default.
const PERIOD: u64 = 100_000;

/// Resources of a whole pod; `None` where nobody said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodResources {
    /// What it needs beyond its containers' resources.
    pub overhead: Option<Resources>,
    /// The sum of its containers' resources.
    pub containers: Option<Resources>,
}

/// Why limits of a pod could not be set.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// The pod uses more.
    #[error("resources.memory_limit_in_bytes: the pod uses more than {limit} bytes now")]
    BelowUsage {
        /// With the overhead.
        limit: String,
    },
    /// The kernel cannot limit this.
    #[error("the kernel has no cgroup controller {0} for pods")]
    NoController(&'static str),
    /// The kernel would not.
    #[error("writing {value:?} to {file} of the pod's cgroup")]
    Write {
        /// The file.
        file: &'static str,
        /// What was written.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A value for a file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    file: &'static str,
    value: String,
}

impl PodResources {
    /// As first asked for.
    pub fn of(spec: &PodSpec) -> Self {
        Self {
            overhead: spec.overhead.clone(),
            containers: spec.resources.clone(),
        }
    }

    /// After a change: a part that it does not name stays.
    #[must_use]
    pub fn changed(self, changes: Self) -> Self {
        Self {
            overhead: changes.overhead.or(self.overhead),
            containers: changes.containers.or(self.containers),
        }
    }

    /// The limits that follow. Without the containers' sum there are none: the overhead alone limits nothing.
    fn settings(&self, version: CgroupVersion) -> Vec<Setting> {
        let Some(sum) = &self.containers else {
            return Vec::new();
        };
        let none = Resources::default();
        let overhead = self.overhead.as_ref().unwrap_or(&none);
        let v1 = version == CgroupVersion::V1;
        let mut settings = Vec::new();
        let mut set = |controller, file, value| {
            settings.push(Setting {
                controller,
                file,
                value,
            });
        };
        if let Some(limit) = with(sum.memory_limit, overhead.memory_limit) {
            match (v1, limit) {
                (true, limit) => set("memory", "memory.limit_in_bytes", limit.to_string()),
                (false, ..0) => set("memory", "memory.max", "max".into()),
                (false, limit) => set("memory", "memory.max", limit.to_string()),
            }
        }
        if let Some(shares) = sum.cpu_shares {
            let shares = shares.saturating_add(overhead.cpu_shares.unwrap_or(0));
            let shares = shares.clamp(2, 262_144);
            match v1 {
                true => set("cpu", "cpu.shares", shares.to_string()),
                false => set("cpu", "cpu.weight", weight(shares).to_string()),
            }
        }
        let period = sum.cpu_period.unwrap_or(PERIOD);
        let more = overhead
            .cpu_quota
            .map(|quota| scaled(quota, overhead.cpu_period.unwrap_or(PERIOD), period));
        if let Some(quota) = with(sum.cpu_quota, more) {
            match (v1, quota) {
                (true, quota) => {
                    set("cpu", "cpu.cfs_period_us", period.to_string());
                    set("cpu", "cpu.cfs_quota_us", quota.to_string());
                }
                (false, ..0) => set("cpu", "cpu.max", format!("max {period}")),
                (false, quota) => set("cpu", "cpu.max", format!("{quota} {period}")),
            }
        }
        settings
    }
}

/// A limit with what comes on top; −1 stands for none.
fn with(limit: Option<i64>, more: Option<i64>) -> Option<i64> {
    let limit = limit.filter(|limit| *limit != 0)?;
    Some(match limit {
        ..0 => -1,
        limit => limit.saturating_add(more.unwrap_or(0).max(0)),
    })
}

/// A quota of one period as one of another.
fn scaled(quota: i64, from: u64, to: u64) -> i64 {
    let scaled = i128::from(quota.max(0)) * i128::from(to) / i128::from(from.max(1));
    i64::try_from(scaled).unwrap_or(i64::MAX)
}

/// Shares of cgroup v1 as a weight of v2, by the formula that runtimes use.
fn weight(shares: u64) -> u64 {
    1 + (shares.saturating_sub(2) * 9_999) / 262_142
}

/// Sets the limits on a cgroup, named relative to the hierarchies' roots; if one cannot be set, those of `before`
/// come back. Blocking.
pub(super) fn apply(
    group: &Path,
    version: CgroupVersion,
    before: &PodResources,
    after: &PodResources,
) -> Result<(), LimitsError> {
    let all = after.settings(version);
    let failed = all.iter().find_map(|setting| write(group, setting).err());
    match failed {
        None => Ok(()),
        Some(error) => {
            for setting in before.settings(version) {
                if let Err(error) = write(group, &setting) {
                    tracing::warn!(error = %crate::causes::whole(&error), "a limit of the pod stays changed");
                }
            }
            Err(error)
        }
    }
}

fn write(group: &Path, setting: &Setting) -> Result<(), LimitsError> {
    let Setting {
        controller,
        file,
        value,
    } = setting;
    let failed = |source| LimitsError::Write {
        file,
        value: value.clone(),
        source,
    };
    let dir = cgroup::make(group, controller)
        .map_err(failed)?
        .ok_or(LimitsError::NoController(controller))?;
    step::reached(Step::PodCgroupMade);
    let below = || LimitsError::BelowUsage {
        limit: value.clone(),
    };
    // v2 would kill until it fits.
    if *file == "memory.max"
        && let Ok(limit) = value.parse::<u64>()
        && cgroup::number(&dir.join("memory.current")).is_some_and(|used| used > limit)
    {
        return Err(below());
    }
    match std::fs::write(dir.join(file), value) {
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) && *controller == "memory" => Err(below()),
        done => done.map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(resources: &PodResources, version: CgroupVersion) -> Vec<String> {
        let settings = resources.settings(version);
        settings
            .iter()
            .map(|s| format!("{}={}", s.file, s.value))
            .collect()
    }

    #[test]
    fn overhead_comes_on_top() {
        let resources = PodResources {
            overhead: Some(Resources {
                memory_limit: Some(100),
                cpu_shares: Some(24),
                cpu_quota: Some(5_000),
                cpu_period: Some(50_000),
                ..Resources::default()
            }),
            containers: Some(Resources {
                memory_limit: Some(1000),
                cpu_shares: Some(1000),
                cpu_quota: Some(20_000),
                ..Resources::default()
            }),
        };
        assert_eq!(
            text(&resources, CgroupVersion::V1),
            [
                "memory.limit_in_bytes=1100",
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=30000"
            ]
        );
        assert_eq!(
            text(&resources, CgroupVersion::V2),
            ["memory.max=1100", "cpu.weight=39", "cpu.max=30000 100000"]
        );
        let overhead = PodResources {
            containers: None,
            ..resources.clone()
        };
        assert!(text(&overhead, CgroupVersion::V2).is_empty());
        let unlimited = resources.changed(PodResources {
            overhead: None,
            containers: Some(Resources {
                memory_limit: Some(-1),
                cpu_quota: Some(-1),
                ..Resources::default()
            }),
        });
        assert_eq!(
            text(&unlimited, CgroupVersion::V1),
            [
                "memory.limit_in_bytes=-1",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=-1"
            ]
        );
        assert_eq!(
            text(&unlimited, CgroupVersion::V2),
            ["memory.max=max", "cpu.max=max 100000"]
        );
    }

    proptest! {
        #[test]
        fn no_sum_overflows(a: [i64; 3], b: [i64; 3], periods: [u64; 2]) {
            let of = |n: [i64; 3], period| Some(Resources {
                memory_limit: Some(n[0]),
                cpu_quota: Some(n[1]),
                cpu_shares: Some(n[2].unsigned_abs()),
                cpu_period: Some(period),
                ..Resources::default()
            });
            let resources = PodResources { overhead: of(a, periods[0]), containers: of(b, periods[1]) };
            for version in [CgroupVersion::V1, CgroupVersion::V2] {
                for setting in resources.settings(version) {
                    let first = setting.value.split(' ').next().unwrap_or_default();
                    prop_assert!(first == "max" || first == "-1" || first.parse::<u64>().is_ok(), "{:?}", setting);
                }
            }
        }
    }
}
