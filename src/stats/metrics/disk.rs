//! The writable layer, and traffic with block devices.

use super::{Facts, Family, Kind, Of, Values};
use crate::stats::sample::DeviceIo;

fn by_device(facts: &Facts<'_>, values: &mut Values, of: fn(&DeviceIo) -> u64) {
    for io in &facts.usage.devices {
        let device = facts.machine.device_of(io.major, io.minor);
        values.labelled([&device], of(io));
    }
}

const fn family(
    name: &'static str,
    help: &'static str,
    kind: Kind,
    find: fn(&Facts<'_>, &mut Values),
) -> Family {
    Family {
        name,
        help,
        kind,
        labels: &["device"],
        of: Of::Container(find),
    }
}

pub(super) static FAMILIES: &[Family] = &[
    family(
        "container_fs_usage_bytes",
        "What the container has written to its root file system, in bytes.",
        Kind::Gauge,
        |facts, values| {
            if let Some(writable) = &facts.sample.writable {
                values.aged([&facts.machine.device], writable.bytes, writable.at);
            }
        },
    ),
    family(
        "container_fs_limit_bytes",
        "Size of the file system that the container writes to, in bytes.",
        Kind::Gauge,
        |facts, values| values.labelled([&facts.machine.device], facts.machine.capacity),
    ),
    family(
        "container_fs_inodes_total",
        "Inodes of the file system that the container writes to.",
        Kind::Gauge,
        |facts, values| values.labelled([&facts.machine.device], facts.machine.inodes),
    ),
    family(
        "container_fs_inodes_free",
        "Free inodes of the file system that the container writes to.",
        Kind::Gauge,
        |facts, values| values.labelled([&facts.machine.device], facts.machine.inodes_free),
    ),
    family(
        "container_fs_reads_bytes_total",
        "Bytes read from a device.",
        Kind::Counter,
        |facts, values| by_device(facts, values, |io| io.read_bytes),
    ),
    family(
        "container_fs_reads_total",
        "Reads from a device.",
        Kind::Counter,
        |facts, values| by_device(facts, values, |io| io.reads),
    ),
    family(
        "container_fs_writes_bytes_total",
        "Bytes written to a device.",
        Kind::Counter,
        |facts, values| by_device(facts, values, |io| io.write_bytes),
    ),
    family(
        "container_fs_writes_total",
        "Writes to a device.",
        Kind::Counter,
        |facts, values| by_device(facts, values, |io| io.writes),
    ),
    Family {
        name: "container_blkio_device_usage_total",
        help: "Bytes that went to or came from a device.",
        kind: Kind::Counter,
        labels: &["device", "major", "minor", "operation"],
        of: Of::Container(|facts, values| {
            for io in &facts.usage.devices {
                let device = facts.machine.device_of(io.major, io.minor);
                let (major, minor) = (io.major.to_string(), io.minor.to_string());
                values.labelled([&device, &major, &minor, "Read"], io.read_bytes);
                values.labelled([&device, &major, &minor, "Write"], io.write_bytes);
            }
        }),
    },
];
