use std::{collections::BTreeSet, path::Path, sync::Arc};

use super::*;
use crate::{
    container::view::ContainerView,
    pod::view::PodView,
    stats::sample::{
        Cpu, DeviceIo, HugePages, Memory, Pids, Pressure, Processes, Stall, Swap, Writable,
    },
    sys::links::Counters,
};

/// A pod with everything that can be measured.
pub(crate) fn sample(pod: Arc<PodView>, containers: Vec<Arc<ContainerView>>) -> PodSample {
    let pressure = Some(Pressure {
        some: Some(Stall {
            total_ns: 3_000_000_000,
            avg10: 1.5,
            ..Stall::default()
        }),
        full: Some(Stall::default()),
    });
    let usage = Usage {
        cpu: Some(Cpu {
            total_ns: 5_500_000_000,
            pressure,
            ..Cpu::default()
        }),
        memory: Some(Memory {
            usage: 1000,
            inactive_file: 100,
            limit: Some(4000),
            max_usage: Some(2000),
            pressure,
            ..Memory::default()
        }),
        swap: Some(Swap {
            usage: 7,
            limit: Some(20),
        }),
        pids: Some(Pids {
            current: 4,
            limit: None,
        }),
        devices: vec![DeviceIo {
            major: 8,
            minor: 1,
            read_bytes: 5,
            ..DeviceIo::default()
        }],
        io_pressure: pressure,
        huge_pages: vec![HugePages {
            size: "2MB".into(),
            usage: 1,
            max_usage: Some(2),
        }],
    };
    let container = |view: Arc<ContainerView>| ContainerSample {
        at: 9,
        cgroup: "pods/p/corten-c".into(),
        usage: Some(usage.clone()),
        nano_cores: Some(250),
        writable: Some(Writable {
            bytes: 4096,
            inodes: 2,
            at: 8,
        }),
        storage: Path::new("/var/lib/corten").into(),
        processes: Some(Processes {
            count: 3,
            descriptors: 12,
            sockets: 1,
            open_files_limit: Some(1024),
        }),
        view,
    };
    let link = |name: &str| LinkCounters {
        name: name.into(),
        received: Counters {
            bytes: 10,
            ..Counters::default()
        },
        ..LinkCounters::default()
    };
    PodSample {
        at: 9,
        cgroup: "pods/p".into(),
        usage: Some(usage.clone()),
        nano_cores: Some(500),
        links: Some(vec![link("net1"), link("eth0")]),
        containers: containers.into_iter().map(container).collect(),
        view: pod,
    }
}

fn full_sample() -> PodSample {
    use crate::cri::convert::arbitrary::{container_view, pod_view};
    let pod = Arc::new(pod_view(1));
    let mut container = container_view(2, &pod.id);
    container.resources.cpu_period = Some(100_000);
    container.resources.cpu_quota = Some(20_000);
    sample(pod, vec![Arc::new(container)])
}

#[test]
fn every_family_has_values_with_all_its_labels() {
    let metrics = of(&full_sample(), &Machine::default());
    let all = || {
        metrics
            .pod
            .iter()
            .chain(metrics.containers.iter().flat_map(|(_, all)| all))
    };
    for family in families() {
        let mut seen = 0;
        for metric in all().filter(|metric| metric.family.name == family.name) {
            seen += 1;
            let labels = BASE_LABELS.len() + family.labels.len();
            assert_eq!(metric.labels.len(), labels, "{}", family.name);
        }
        assert!(seen > 0, "{} has no value", family.name);
        assert!(family.help.ends_with('.') || family.help.contains(';'));
        let counts = family.name.ends_with("_total") || family.name.ends_with("_failcnt");
        let counts = counts && family.name != "container_fs_inodes_total";
        assert_eq!(family.kind == Kind::Counter, counts, "{}", family.name);
    }
}

#[test]
fn names_are_told_once_and_labels_too() {
    let names: BTreeSet<_> = families().map(|family| family.name).collect();
    assert_eq!(names.len(), families().count());
    for family in families() {
        let labels: BTreeSet<_> = BASE_LABELS.iter().chain(family.labels).collect();
        assert_eq!(labels.len(), BASE_LABELS.len() + family.labels.len());
    }
    // What tests of the interface expect of any runtime.
    for name in [
        "container_blkio_device_usage_total",
        "container_cpu_usage_seconds_total",
        "container_fs_usage_bytes",
        "container_memory_failures_total",
        "container_network_transmit_packets_dropped_total",
        "container_oom_events_total",
        "container_pressure_io_stalled_seconds_total",
        "container_spec_memory_reservation_limit_bytes",
        "container_threads",
        "container_ulimits_soft",
    ] {
        assert!(names.contains(name), "{name}");
    }
}

#[test]
fn labels_tell_whose_a_value_is() {
    let sample = full_sample();
    let metrics = of(&sample, &Machine::default());
    let (id, values) = &metrics.containers[0];
    let cpu = values
        .iter()
        .find(|metric| metric.family.name == "container_cpu_usage_seconds_total")
        .unwrap();
    assert_eq!(cpu.value, 5);
    assert_eq!(
        cpu.labels,
        [
            "container-2",
            "/pods/p/corten-c",
            "busybox:1",
            id.as_str(),
            "default",
            "pod-1",
            "total"
        ]
    );
    let received: Vec<_> = metrics
        .pod
        .iter()
        .filter(|metric| metric.family.name == "container_network_receive_bytes_total")
        .map(|metric| (metric.labels[0].as_str(), metric.labels[6].as_str()))
        .collect();
    assert_eq!(received, [("", "net1"), ("", "eth0")]);
    let written = values
        .iter()
        .find(|metric| metric.family.name == "container_fs_usage_bytes")
        .unwrap();
    assert_eq!((written.value, written.at), (4096, 8));
}

#[test]
fn what_does_not_live_has_none() {
    let mut sample = full_sample();
    sample.links = None;
    sample.containers[0].usage = None;
    let metrics = of(&sample, &Machine::default());
    assert!(metrics.pod.is_empty() && metrics.containers.is_empty());
}
