//! What the configuration means for pods and containers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    config::{self, CgroupManager, Config, ExecBy, Rlimit},
    container::spec::{Device, Seccomp},
    oci::{
        HandlerConfig,
        capability::{CapSet, UnknownCapability},
        cgroup::Driver,
        clamp::Limit,
        handler::{self, RuntimeKind},
        node::{CgroupVersion, Node},
        spec::Defaults,
    },
    services::Settings,
    stream::{server::StreamConfig, tls::TlsFiles},
    sys::cgroup,
};

/// How long a new pod waits for a network that is not ready, before it tells the kubelet so.
const NETWORK_READY: Duration = Duration::from_secs(5);

/// Choices of the configuration that pods and containers are made by.
pub(super) fn settings(config: &Config, node: &Node) -> Result<Settings, UnknownCapability> {
    let names = config.default_capabilities.iter().map(|c| c.as_str());
    Ok(Settings {
        shm_size: config.shm_size.bytes(),
        network_ready_timeout: NETWORK_READY,
        host_ports: config.host_ports,
        cgroup_parent: config.pods_cgroup().to_owned(),
        cgroup_driver: driver(config),
        monitor_cgroups: monitor_cgroups(config.monitors_cgroup(), node),
        log_size_max: config.log_size_max.map(|size| size.bytes()),
        exec_output_max: config.exec_output_max.bytes(),
        create_timeout: config.create_timeout,
        default_seccomp: config
            .seccomp_profile
            .clone()
            .map_or(Seccomp::RuntimeDefault, Seccomp::Localhost),
        refused_mount_sources: config.absent_mount_sources_to_reject.clone(),
        additional_devices: config
            .additional_devices
            .iter()
            .map(|device| Device {
                container_path: device.container_path.clone(),
                host_path: device.host_path.clone(),
                permissions: device.permissions.clone(),
            })
            .collect(),
        defaults: Defaults {
            capabilities: CapSet::of(names)?,
            rlimits: config.default_rlimits.iter().map(limit).collect(),
            pids_limit: config
                .pids_limit
                .map(|most| i64::try_from(most).unwrap_or(i64::MAX)),
            env: Vec::new(),
            apparmor_profile: None,
        },
    })
}

/// How streams are served.
pub(super) fn streams(config: &Config) -> StreamConfig {
    StreamConfig {
        address: config.stream_address.0,
        port: config.stream_port,
        // The configuration has both or neither.
        tls: config
            .stream_tls_cert
            .clone()
            .zip(config.stream_tls_key.clone())
            .map(|(cert, key)| TlsFiles {
                cert,
                key,
                client_ca: config.stream_tls_client_ca.clone(),
            }),
        idle: config.stream_idle_timeout.unwrap_or(super::FOR_EVER),
        creation: config.stream_creation_timeout,
    }
}

/// Handlers as the runtimes' part of the program wants them.
pub(super) fn handlers(config: &Config) -> BTreeMap<String, HandlerConfig> {
    config
        .runtimes
        .iter()
        .map(|(name, runtime)| {
            let handler = HandlerConfig {
                path: runtime.program(name).0,
                kind: match runtime.kind {
                    config::RuntimeKind::Oci => RuntimeKind::Oci,
                    config::RuntimeKind::Embedded => RuntimeKind::Embedded,
                },
                root: config.runtime_root(name),
                allowed_annotations: runtime.allowed_annotations.clone(),
                privileged_without_host_devices: runtime.privileged_without_host_devices,
                extra_args: runtime.args.clone(),
                exec: match runtime.exec {
                    ExecBy::Auto => handler::ExecBy::Auto,
                    ExecBy::Runtime => handler::ExecBy::Runtime,
                },
                call_timeout: config.runtime_timeout,
            };
            (name.clone(), handler)
        })
        .collect()
}

/// Who makes cgroups.
pub(super) fn driver(config: &Config) -> Driver {
    match config.cgroup_manager {
        CgroupManager::Cgroupfs => Driver::Cgroupfs,
        CgroupManager::Systemd => Driver::Systemd,
    }
}

fn limit(limit: &Rlimit) -> (String, Limit) {
    let name = limit.name.to_ascii_uppercase();
    let (soft, hard) = (limit.soft, limit.hard);
    (name, Limit { soft, hard })
}

/// The monitors' cgroup in each hierarchy.
fn monitor_cgroups(name: &str, node: &Node) -> Vec<PathBuf> {
    let relative = Path::new(name.trim_start_matches('/'));
    cgroup::hierarchies()
        .unwrap_or_default()
        .into_iter()
        // A new v1 cpuset has no CPUs, and takes no process before it was given some.
        .filter(|root| node.cgroup == CgroupVersion::V2 || !root.ends_with("cpuset"))
        .map(|root| root.join(relative))
        .collect()
}
