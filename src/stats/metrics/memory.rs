//! Memory, swap, huge pages, and what became of those who wanted too much.

use super::{Facts, Family, Kind, Of, Values};
use crate::stats::sample::Memory;

fn memory(facts: &Facts<'_>, values: &mut Values, of: fn(&Memory) -> u64) {
    values.maybe(facts.usage.memory.as_ref().map(of));
}

const fn family(
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    find: fn(&Facts<'_>, &mut Values),
) -> Family {
    Family {
        name,
        help,
        kind,
        labels,
        of: Of::Container(find),
    }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    find: fn(&Facts<'_>, &mut Values),
) -> Family {
    family(name, help, Kind::Gauge, &[], find)
}

pub(super) static FAMILIES: &[Family] = &[
    gauge(
        "container_memory_usage_bytes",
        "Memory in use, file caches included, in bytes.",
        |facts, values| memory(facts, values, |memory| memory.usage),
    ),
    gauge(
        "container_memory_max_usage_bytes",
        "The most memory that was in use at once, in bytes.",
        |facts, values| {
            let memory = facts.usage.memory.as_ref();
            values.maybe(memory.and_then(|memory| memory.max_usage));
        },
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Memory in use that cannot easily be taken back, in bytes.",
        |facts, values| memory(facts, values, Memory::working_set),
    ),
    gauge(
        "container_memory_rss",
        "Anonymous memory, in bytes.",
        |facts, values| memory(facts, values, |memory| memory.rss),
    ),
    gauge(
        "container_memory_cache",
        "File caches, in bytes.",
        |facts, values| memory(facts, values, |memory| memory.cache),
    ),
    gauge(
        "container_memory_mapped_file",
        "Mapped files, in bytes.",
        |facts, values| memory(facts, values, |memory| memory.mapped),
    ),
    gauge(
        "container_memory_kernel_usage",
        "Memory of the kernel's own, in bytes.",
        |facts, values| memory(facts, values, |memory| memory.kernel),
    ),
    gauge(
        "container_memory_total_active_file_bytes",
        "File caches in use, in bytes.",
        |facts, values| memory(facts, values, |memory| memory.active_file),
    ),
    gauge(
        "container_memory_total_inactive_file_bytes",
        "File caches not used lately, in bytes.",
        |facts, values| memory(facts, values, |memory| memory.inactive_file),
    ),
    gauge(
        "container_memory_swap",
        "Swap in use, in bytes.",
        |facts, values| values.one(facts.usage.swap.as_ref().map_or(0, |swap| swap.usage)),
    ),
    family(
        "container_memory_failcnt",
        "How often the memory limit was met.",
        Kind::Counter,
        &[],
        |facts, values| memory(facts, values, |memory| memory.limit_hits),
    ),
    family(
        "container_memory_failures_total",
        "Page faults.",
        Kind::Counter,
        &["failure_type", "scope"],
        |facts, values| {
            if let Some(memory) = &facts.usage.memory {
                values.labelled(["pgfault", "container"], memory.own_faults.all);
                values.labelled(["pgfault", "hierarchy"], memory.faults.all);
                values.labelled(["pgmajfault", "container"], memory.own_faults.major);
                values.labelled(["pgmajfault", "hierarchy"], memory.faults.major);
            }
        },
    ),
    family(
        "container_oom_events_total",
        "Processes that were killed for want of memory.",
        Kind::Counter,
        &[],
        |facts, values| memory(facts, values, |memory| memory.oom_kills),
    ),
    family(
        "container_hugetlb_usage_bytes",
        "Huge pages in use, in bytes.",
        Kind::Gauge,
        &["pagesize"],
        |facts, values| {
            for pages in &facts.usage.huge_pages {
                values.labelled([&pages.size], pages.usage);
            }
        },
    ),
    family(
        "container_hugetlb_max_usage_bytes",
        "The most huge pages that were in use at once, in bytes.",
        Kind::Gauge,
        &["pagesize"],
        |facts, values| {
            for pages in &facts.usage.huge_pages {
                if let Some(most) = pages.max_usage {
                    values.labelled([&pages.size], most);
                }
            }
        },
    ),
];
