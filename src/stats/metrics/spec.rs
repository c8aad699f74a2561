//! What was asked for, and when the container began.

use super::{Facts, Family, Kind, Of, Values, seconds};
use crate::{container::view::ContainerState, services::now, stats::parse};

/// A limit as metrics have it: 0 for none.
fn bytes(limit: Option<i64>) -> u64 {
    limit
        .and_then(|limit| u64::try_from(limit).ok())
        .filter(|limit| *limit < 1 << 62)
        .unwrap_or(0)
}

fn unix_seconds(ns: i64) -> u64 {
    seconds(u64::try_from(ns).unwrap_or(0))
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    find: fn(&Facts<'_>, &mut Values),
) -> Family {
    Family {
        name,
        help,
        kind: Kind::Gauge,
        labels: &[],
        of: Of::Container(find),
    }
}

pub(super) static FAMILIES: &[Family] = &[
    gauge(
        "container_spec_cpu_period",
        "Period in which the CPU limit is enforced, in microseconds.",
        |facts, values| values.maybe(facts.sample.view.resources.cpu_period),
    ),
    gauge(
        "container_spec_cpu_quota",
        "CPU time that may be used in each period, in microseconds.",
        |facts, values| {
            let quota = facts.sample.view.resources.cpu_quota;
            let quota = quota.and_then(|quota| u64::try_from(quota).ok());
            values.maybe(quota.filter(|quota| *quota > 0));
        },
    ),
    gauge(
        "container_spec_cpu_shares",
        "Relative share of CPU.",
        |facts, values| values.maybe(facts.sample.view.resources.cpu_shares),
    ),
    gauge(
        "container_spec_memory_limit_bytes",
        "Memory limit in bytes; 0 for none.",
        |facts, values| values.one(bytes(facts.sample.view.resources.memory_limit)),
    ),
    gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory that is kept for the container, in bytes; 0 for none.",
        |facts, values| {
            let kept = facts.sample.view.resources.unified.get("memory.min");
            values.one(
                kept.and_then(|text| parse::limit(text.as_bytes()))
                    .unwrap_or(0),
            );
        },
    ),
    gauge(
        "container_spec_memory_swap_limit_bytes",
        "Limit of memory and swap together, in bytes; 0 for none.",
        |facts, values| values.one(bytes(facts.sample.view.resources.memory_swap_limit)),
    ),
    gauge(
        "container_start_time_seconds",
        "When the container began, in seconds since 1970.",
        |facts, values| {
            let view = &facts.sample.view;
            values.one(unix_seconds(match view.state {
                ContainerState::Running { started_at } => started_at,
                _ => view.created_at,
            }));
        },
    ),
    gauge(
        "container_last_seen",
        "When the container was last seen, in seconds since 1970.",
        |_, values| values.one(unix_seconds(now())),
    ),
];
