//! What pods and containers use, for answers.

use super::{container_view, pod_view};
use crate::{
    cri::api,
    network::cni::chain::INTERFACE,
    stats::sample::{
        ContainerSample, Cpu, Memory, PodSample, Pressure, Stall, Swap, Usage, Writable,
    },
    sys::links::LinkCounters,
};

/// What a container uses. One without processes has only written something.
pub fn container(sample: &ContainerSample) -> api::ContainerStats {
    let view = &sample.view;
    let usage = sample.usage.as_ref();
    let at = sample.at;
    api::ContainerStats {
        attributes: Some(api::ContainerAttributes {
            id: view.id.to_string(),
            metadata: Some(container_view::metadata(view)),
            labels: view.spec.labels.clone().into_iter().collect(),
            annotations: view.spec.annotations.clone().into_iter().collect(),
        }),
        cpu: usage
            .and_then(|usage| usage.cpu.as_ref())
            .map(|used| cpu(used, sample.nano_cores, at)),
        memory: usage
            .and_then(|usage| usage.memory.as_ref())
            .map(|used| memory(used, at)),
        writable_layer: sample
            .writable
            .map(|written| writable(written, &sample.storage.to_string_lossy())),
        swap: usage
            .and_then(|usage| usage.swap.as_ref())
            .map(|used| swap(used, at)),
        io: usage.and_then(|usage| io(usage, at)),
    }
}

/// What a pod uses. One that is down has no more than its containers.
pub fn pod(sample: &PodSample) -> api::PodSandboxStats {
    let view = &sample.view;
    let usage = sample.usage.as_ref();
    let at = sample.at;
    api::PodSandboxStats {
        attributes: Some(api::PodSandboxAttributes {
            id: view.id.to_string(),
            metadata: Some(pod_view::metadata(view)),
            labels: view.spec.labels.clone().into_iter().collect(),
            annotations: view.spec.annotations.clone().into_iter().collect(),
        }),
        linux: Some(api::LinuxPodSandboxStats {
            cpu: usage
                .and_then(|usage| usage.cpu.as_ref())
                .map(|used| cpu(used, sample.nano_cores, at)),
            memory: usage
                .and_then(|usage| usage.memory.as_ref())
                .map(|used| memory(used, at)),
            network: sample.links.as_ref().map(|links| network(links, at)),
            process: usage
                .and_then(|usage| usage.pids.as_ref())
                .map(|pids| api::ProcessUsage {
                    timestamp: at,
                    process_count: value(pids.current),
                }),
            containers: sample.containers.iter().map(container).collect(),
            io: usage.and_then(|usage| io(usage, at)),
        }),
        windows: None,
    }
}

fn cpu(used: &Cpu, nano_cores: Option<u64>, at: i64) -> api::CpuUsage {
    api::CpuUsage {
        timestamp: at,
        usage_core_nano_seconds: value(used.total_ns),
        usage_nano_cores: nano_cores.and_then(value),
        psi: used.pressure.map(psi),
    }
}

fn memory(used: &Memory, at: i64) -> api::MemoryUsage {
    api::MemoryUsage {
        timestamp: at,
        working_set_bytes: value(used.working_set()),
        available_bytes: used.available().and_then(value),
        usage_bytes: value(used.usage),
        rss_bytes: value(used.rss),
        page_faults: value(used.faults.all),
        major_page_faults: value(used.faults.major),
        psi: used.pressure.map(psi),
    }
}

fn swap(used: &Swap, at: i64) -> api::SwapUsage {
    api::SwapUsage {
        timestamp: at,
        swap_available_bytes: used
            .limit
            .and_then(|limit| value(limit.saturating_sub(used.usage))),
        swap_usage_bytes: value(used.usage),
    }
}

/// There is nothing to tell of I/O but stalls.
fn io(usage: &Usage, at: i64) -> Option<api::IoUsage> {
    Some(api::IoUsage {
        timestamp: at,
        psi: Some(psi(usage.io_pressure?)),
    })
}

fn psi(pressure: Pressure) -> api::PsiStats {
    let data = |stall: Stall| api::PsiData {
        total: stall.total_ns,
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
    };
    api::PsiStats {
        full: pressure.full.map(data),
        some: pressure.some.map(data),
    }
}

fn writable(written: Writable, mountpoint: &str) -> api::FilesystemUsage {
    api::FilesystemUsage {
        timestamp: written.at,
        fs_id: Some(api::FilesystemIdentifier {
            mountpoint: mountpoint.to_owned(),
        }),
        used_bytes: value(written.bytes),
        inodes_used: value(written.inodes),
    }
}

/// The default interface is the one that the first network plugin made; without it, the first there is.
fn network(links: &[LinkCounters], at: i64) -> api::NetworkUsage {
    let default = links
        .iter()
        .position(|link| link.name == INTERFACE)
        .unwrap_or(0);
    let mut interfaces: Vec<_> = links.iter().map(interface).collect();
    api::NetworkUsage {
        timestamp: at,
        default_interface: (default < interfaces.len()).then(|| interfaces.remove(default)),
        interfaces,
    }
}

fn interface(link: &LinkCounters) -> api::NetworkInterfaceUsage {
    api::NetworkInterfaceUsage {
        name: link.name.clone(),
        rx_bytes: value(link.received.bytes),
        rx_errors: value(link.received.errors),
        tx_bytes: value(link.sent.bytes),
        tx_errors: value(link.sent.errors),
    }
}

#[allow(clippy::unnecessary_wraps)] // The messages' fields are optional.
fn value(value: u64) -> Option<api::UInt64Value> {
    Some(api::UInt64Value { value })
}

#[cfg(test)]
mod tests {
    use super::super::arbitrary::{container_view, pod_view};
    use super::*;
    use crate::stats::metrics::tests::sample;
    use std::sync::Arc;

    fn full() -> PodSample {
        let view = Arc::new(pod_view(1));
        let container = Arc::new(container_view(2, &view.id));
        sample(view, vec![container])
    }

    #[test]
    fn every_field_is_told() {
        let sample = full();
        let stats = pod(&sample);
        assert_eq!(stats.attributes.unwrap().labels["app"], "web");
        let linux = stats.linux.unwrap();
        let network = linux.network.unwrap();
        assert_eq!(network.default_interface.unwrap().name, "eth0");
        assert_eq!(network.interfaces.len(), 1);
        assert_eq!(network.interfaces[0].rx_bytes, value(10));
        assert_eq!(linux.process.unwrap().process_count, value(4));
        assert_eq!(linux.cpu.unwrap().usage_nano_cores, value(500));
        let stats = &linux.containers[0];
        let attributes = stats.attributes.as_ref().unwrap();
        assert_eq!(attributes.id, sample.containers[0].view.id.as_str());
        assert_eq!(attributes.metadata.as_ref().unwrap().name, "container-2");
        let cpu = stats.cpu.as_ref().unwrap();
        assert_eq!((cpu.timestamp, cpu.usage_nano_cores), (9, value(250)));
        assert_eq!(cpu.usage_core_nano_seconds, value(5_500_000_000));
        let psi = cpu.psi.unwrap();
        assert_eq!(
            (psi.some.unwrap().total, psi.some.unwrap().avg10),
            (3_000_000_000, 1.5)
        );
        let memory = stats.memory.as_ref().unwrap();
        assert_eq!(memory.working_set_bytes, value(900));
        assert_eq!(memory.available_bytes, value(3100));
        let swap = stats.swap.unwrap();
        assert_eq!(
            (swap.swap_usage_bytes, swap.swap_available_bytes),
            (value(7), value(13))
        );
        let layer = stats.writable_layer.as_ref().unwrap();
        assert_eq!(
            (layer.timestamp, layer.used_bytes, layer.inodes_used),
            (8, value(4096), value(2))
        );
        assert_eq!(layer.fs_id.as_ref().unwrap().mountpoint, "/var/lib/corten");
        assert!(stats.io.is_some());
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let mut sample = full();
        (sample.usage, sample.links) = (None, None);
        sample.containers[0].usage = None;
        let linux = pod(&sample).linux.unwrap();
        assert!(linux.cpu.is_none() && linux.memory.is_none() && linux.network.is_none());
        let stats = &linux.containers[0];
        assert!(stats.cpu.is_none() && stats.memory.is_none() && stats.io.is_none());
        assert!(stats.writable_layer.is_some());
        assert_eq!(network(&[], 1).default_interface, None);
        let other = LinkCounters {
            name: "wg0".into(),
            ..LinkCounters::default()
        };
        assert_eq!(network(&[other], 1).default_interface.unwrap().name, "wg0");
    }
}
