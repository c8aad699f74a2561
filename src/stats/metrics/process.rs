//! Processes and what they have open.

use super::{Facts, Family, Kind, Of, Values};
use crate::stats::sample::Processes;

fn processes(facts: &Facts<'_>, values: &mut Values, of: fn(&Processes) -> u64) {
    values.maybe(facts.sample.processes.as_ref().map(of));
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    find: fn(&Facts<'_>, &mut Values),
) -> Family {
    Family {
        name,
        help,
        kind: Kind::Gauge,
        labels,
        of: Of::Container(find),
    }
}

pub(super) static FAMILIES: &[Family] = &[
    gauge("container_processes", "Processes.", &[], |facts, values| {
        processes(facts, values, |processes| processes.count)
    }),
    gauge(
        "container_threads",
        "Threads of all processes.",
        &[],
        |facts, values| values.maybe(facts.usage.pids.as_ref().map(|pids| pids.current)),
    ),
    gauge(
        "container_threads_max",
        "How many threads there may be; 0 for any number.",
        &[],
        |facts, values| {
            let pids = facts.usage.pids.as_ref();
            values.maybe(pids.map(|pids| pids.limit.unwrap_or(0)));
        },
    ),
    gauge(
        "container_file_descriptors",
        "Open file descriptors; at least so many where there are thousands.",
        &[],
        |facts, values| processes(facts, values, |processes| processes.descriptors),
    ),
    gauge(
        "container_sockets",
        "Open sockets; at least so many where thousands of files are open.",
        &[],
        |facts, values| processes(facts, values, |processes| processes.sockets),
    ),
    gauge(
        "container_ulimits_soft",
        "Soft limits of the container's first process.",
        &["ulimit"],
        |facts, values| {
            let limit = facts.sample.processes.and_then(|all| all.open_files_limit);
            if let Some(limit) = limit {
                values.labelled(["max_open_files"], limit);
            }
        },
    ),
];
