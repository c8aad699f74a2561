//! CPU time, and stalls on any resource.

use super::{Facts, Family, Kind, Of, Values, seconds};
use crate::stats::sample::{Cpu, Pressure, Stall};

fn cpu(facts: &Facts<'_>, values: &mut Values, of: fn(&Cpu) -> u64) {
    values.maybe(facts.usage.cpu.as_ref().map(of));
}

fn some(pressure: Option<Pressure>, values: &mut Values) {
    stalled(pressure.and_then(|pressure| pressure.some), values);
}

fn full(pressure: Option<Pressure>, values: &mut Values) {
    stalled(pressure.and_then(|pressure| pressure.full), values);
}

fn stalled(stall: Option<Stall>, values: &mut Values) {
    values.maybe(stall.map(|stall| seconds(stall.total_ns)));
}

fn cpu_pressure(facts: &Facts<'_>) -> Option<Pressure> {
    facts.usage.cpu.as_ref()?.pressure
}

fn memory_pressure(facts: &Facts<'_>) -> Option<Pressure> {
    facts.usage.memory.as_ref()?.pressure
}

const fn counter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    find: fn(&Facts<'_>, &mut Values),
) -> Family {
    Family {
        name,
        help,
        kind: Kind::Counter,
        labels,
        of: Of::Container(find),
    }
}

pub(super) static FAMILIES: &[Family] = &[
    counter(
        "container_cpu_usage_seconds_total",
        "CPU time used, in seconds.",
        &["cpu"],
        |facts, values| {
            if let Some(cpu) = &facts.usage.cpu {
                values.labelled(["total"], seconds(cpu.total_ns));
            }
        },
    ),
    counter(
        "container_cpu_user_seconds_total",
        "CPU time used in user mode, in seconds.",
        &[],
        |facts, values| cpu(facts, values, |cpu| seconds(cpu.user_ns)),
    ),
    counter(
        "container_cpu_system_seconds_total",
        "CPU time used in the kernel, in seconds.",
        &[],
        |facts, values| cpu(facts, values, |cpu| seconds(cpu.system_ns)),
    ),
    counter(
        "container_cpu_cfs_periods_total",
        "Periods in which the CPU limit was enforced.",
        &[],
        |facts, values| cpu(facts, values, |cpu| cpu.periods),
    ),
    counter(
        "container_cpu_cfs_throttled_periods_total",
        "Periods in which the container was throttled.",
        &[],
        |facts, values| cpu(facts, values, |cpu| cpu.throttled_periods),
    ),
    counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Time for which the container was throttled, in seconds.",
        &[],
        |facts, values| cpu(facts, values, |cpu| seconds(cpu.throttled_ns)),
    ),
    counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Time in which some task waited for CPU, in seconds.",
        &[],
        |facts, values| some(cpu_pressure(facts), values),
    ),
    counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Time in which all tasks waited for CPU, in seconds.",
        &[],
        |facts, values| full(cpu_pressure(facts), values),
    ),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Time in which some task waited for memory, in seconds.",
        &[],
        |facts, values| some(memory_pressure(facts), values),
    ),
    counter(
        "container_pressure_memory_stalled_seconds_total",
        "Time in which all tasks waited for memory, in seconds.",
        &[],
        |facts, values| full(memory_pressure(facts), values),
    ),
    counter(
        "container_pressure_io_waiting_seconds_total",
        "Time in which some task waited for I/O, in seconds.",
        &[],
        |facts, values| some(facts.usage.io_pressure, values),
    ),
    counter(
        "container_pressure_io_stalled_seconds_total",
        "Time in which all tasks waited for I/O, in seconds.",
        &[],
        |facts, values| full(facts.usage.io_pressure, values),
    ),
];
