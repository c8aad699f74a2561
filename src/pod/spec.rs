//! What a caller asks of a sandbox, validated and free of protocol types.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::id_map::{IdMapping, UserMappings};

use crate::container::spec::{Resources, Seccomp};

/// The name of a sandbox: unique among the sandboxes that exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodMetadata {
    /// Pod name.
    pub name: String,
    /// Pod UID.
    pub uid: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Which try of the kubelet this is.
    pub attempt: u32,
}

/// A sandbox as asked for by `RunPodSandbox`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodSpec {
    /// Its name.
    pub metadata: PodMetadata,
    /// Runtime handler by name; empty means the default.
    pub runtime_handler: String,
    /// Host name; empty on the host network means the host's own.
    pub hostname: String,
    /// Where its containers log; `None` when they don't.
    pub log_directory: Option<PathBuf>,
    /// Resolver settings; `None` takes the host's file.
    pub dns: Option<Dns>,
    /// Ports published on the host.
    pub port_mappings: Vec<PortMapping>,
    /// Kept as given.
    pub labels: BTreeMap<String, String>,
    /// Kept as given.
    pub annotations: BTreeMap<String, String>,
    /// Parent cgroup as the caller names it; empty for the configured one.
    pub cgroup_parent: String,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Namespaced kernel parameters, already checked against the namespaces asked for.
    pub sysctls: BTreeMap<String, String>,
    /// May hold privileged containers.
    pub privileged: bool,
    /// User of the infra container: (uid, gid) where given.
    pub run_as_user: Option<i64>,
    /// Group of the infra container.
    pub run_as_group: Option<i64>,
    /// Supplementary groups of the infra container.
    pub supplemental_groups: Vec<i64>,
    /// The infra container's root is read-only.
    pub readonly_rootfs: bool,
    /// System call filter of the infra container.
    pub seccomp: Seccomp,
    /// AppArmor profile of the infra container.
    pub apparmor: SecurityProfile,
    /// SELinux label.
    pub selinux: Option<SelinuxLabel>,
    /// Resources beyond the containers' own.
    pub overhead: Option<Resources>,
    /// Sum of the containers' resources.
    pub resources: Option<Resources>,
}

impl PodSpec {
    /// It is among the host's processes or IPC objects, from which no label can keep it apart.
    pub fn is_the_hosts(&self) -> bool {
        self.namespaces.pid == PidMode::Node || self.namespaces.ipc == Shared::Node
    }
}

/// `resolv.conf` in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` list.
    pub searches: Vec<String>,
    /// The `options` list.
    pub options: Vec<String>,
}

/// Transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// One port of the pod, published on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port in the pod, 1 to 65535.
    pub container_port: u16,
    /// Port on the host, 1 to 65535.
    pub host_port: u16,
    /// Host address to publish on; `None` for all.
    pub host_ip: Option<IpAddr>,
}

/// Namespaces of a sandbox; each container repeats or narrows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Network: the pod's own, or the host's.
    pub network: Shared,
    /// IPC: the pod's own, or the host's.
    pub ipc: Shared,
    /// PID.
    pub pid: PidMode,
    /// User namespace mappings; `None` for the host's.
    pub user: Option<UserMappings>,
}

/// A namespace that all containers of a pod share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shared {
    /// One for the pod.
    Pod,
    /// The host's.
    Node,
}

/// Whose processes a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidMode {
    /// All of the pod's: needs a resident infra process.
    Pod,
    /// Its own.
    Container,
    /// The host's.
    Node,
    /// Those of another container of the pod, by ID.
    Target(String),
}

impl PidMode {
    /// Its name in the CRI.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pod => "POD",
            Self::Container => "CONTAINER",
            Self::Node => "NODE",
            Self::Target(_) => "TARGET",
        }
    }
}

/// A profile of a security module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityProfile {
    /// The runtime's default where the module is there, nothing where it is not.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// Loaded on the node under this name.
    Localhost(String),
}

/// The parts of an SELinux label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxLabel {
    /// User.
    pub user: String,
    /// Role.
    pub role: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Level.
    pub level: String,
}
