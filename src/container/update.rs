//! Changing the limits of a container. One whose init is gone only takes them on record, for whoever asks.

use tracing::info;

use super::{error::ContainerError, record::ContainerRecord, spec::Resources};
use crate::{
    id::Id,
    oci::{
        RuntimeError,
        message::{Meaning, meaning},
        spec,
    },
    services::Services,
};

/// Applies `changes` and returns the limits that then hold.
pub(crate) async fn update(
    services: &Services,
    id: &Id,
    record: &ContainerRecord,
    changes: Resources,
) -> Result<Resources, ContainerError> {
    let handler = services.handler(&record.handler)?;
    let merged = merge(record.resources.clone(), changes);
    let mut clamped = Vec::new();
    let limits =
        spec::update(&merged, &services.node, &mut clamped).map_err(ContainerError::Spec)?;
    for part in &clamped {
        info!(container = %id, "{part}");
    }
    if record.state.pid().is_none() {
        return Ok(merged);
    }
    match handler.update(id, &limits).await {
        Ok(()) => Ok(merged),
        // It ended meanwhile.
        Err(RuntimeError::NoContainer { .. } | RuntimeError::NotRunning { .. }) => Ok(merged),
        Err(source) if is_below_usage(&source) => Err(ContainerError::BelowUsage {
            id: id.clone(),
            limit: merged.memory_limit.unwrap_or_default(),
            source,
        }),
        Err(source) => Err(ContainerError::Runtime {
            id: id.clone(),
            source,
        }),
    }
}

fn is_below_usage(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::Failed { message, .. } if meaning(message) == Meaning::BelowUsage)
}

/// What is in force after `changes`: what they do not give stays as it was.
fn merge(before: Resources, changes: Resources) -> Resources {
    let text = |new: String, old: String| if new.is_empty() { old } else { new };
    let mut hugepages = before.hugepages;
    for (size, limit) in changes.hugepages {
        match hugepages.iter_mut().find(|(s, _)| *s == size) {
            Some(entry) => entry.1 = limit,
            None => hugepages.push((size, limit)),
        }
    }
    let mut unified = before.unified;
    unified.extend(changes.unified);
    Resources {
        cpu_period: changes.cpu_period.or(before.cpu_period),
        cpu_quota: changes.cpu_quota.or(before.cpu_quota),
        cpu_shares: changes.cpu_shares.or(before.cpu_shares),
        memory_limit: changes.memory_limit.or(before.memory_limit),
        memory_swap_limit: changes.memory_swap_limit.or(before.memory_swap_limit),
        // It belongs to processes, not to the cgroup: only a new one can have another.
        oom_score_adj: before.oom_score_adj,
        cpuset_cpus: text(changes.cpuset_cpus, before.cpuset_cpus),
        cpuset_mems: text(changes.cpuset_mems, before.cpuset_mems),
        hugepages,
        unified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_stays() {
        let before = Resources {
            cpu_shares: Some(512),
            memory_limit: Some(1 << 30),
            cpuset_cpus: "0-1".into(),
            hugepages: vec![("2MB".into(), 4)],
            ..Resources::default()
        };
        let changes = Resources {
            memory_limit: Some(2 << 30),
            hugepages: vec![("2MB".into(), 8), ("1GB".into(), 1)],
            ..Resources::default()
        };
        let after = merge(before, changes);
        assert_eq!(after.cpu_shares, Some(512));
        assert_eq!(after.memory_limit, Some(2 << 30));
        assert_eq!(after.cpuset_cpus, "0-1");
        assert_eq!(after.hugepages, [("2MB".into(), 8), ("1GB".into(), 1)]);
    }
}
