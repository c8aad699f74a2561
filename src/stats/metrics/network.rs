//! Traffic of pods, by link.

use super::{Family, Kind, Of};
use crate::sys::links::LinkCounters;

const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&LinkCounters) -> u64,
) -> Family {
    Family {
        name,
        help,
        kind: Kind::Counter,
        labels: &["interface"],
        of: Of::Link(value),
    }
}

pub(super) static FAMILIES: &[Family] = &[
    counter(
        "container_network_receive_bytes_total",
        "Bytes received.",
        |link| link.received.bytes,
    ),
    counter(
        "container_network_receive_packets_total",
        "Packets received.",
        |link| link.received.packets,
    ),
    counter(
        "container_network_receive_packets_dropped_total",
        "Packets dropped on arrival.",
        |link| link.received.dropped,
    ),
    counter(
        "container_network_receive_errors_total",
        "Packets that arrived with errors.",
        |link| link.received.errors,
    ),
    counter(
        "container_network_transmit_bytes_total",
        "Bytes sent.",
        |link| link.sent.bytes,
    ),
    counter(
        "container_network_transmit_packets_total",
        "Packets sent.",
        |link| link.sent.packets,
    ),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Packets dropped before they were sent.",
        |link| link.sent.dropped,
    ),
    counter(
        "container_network_transmit_errors_total",
        "Packets that could not be sent.",
        |link| link.sent.errors,
    ),
];
