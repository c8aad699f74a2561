//! What a caller asks of a container, validated and free of protocol types.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    id_map::{IdMapping, UserMappings},
    pod::spec::{PidMode, SecurityProfile, SelinuxLabel},
};

/// The name of a container within its pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerMetadata {
    /// Container name.
    pub name: String,
    /// Which try of the kubelet this is.
    pub attempt: u32,
}

/// A container as asked for by `CreateContainer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its name.
    pub metadata: ContainerMetadata,
    /// The image as the caller names it.
    pub image: ImageRef,
    /// Replaces the image's entry point (and its command) when not empty.
    pub command: Vec<String>,
    /// Replaces the image's command when not empty.
    pub args: Vec<String>,
    /// Replaces the image's working directory when not empty.
    pub working_dir: String,
    /// Added to the image's environment, in order; a later one wins.
    pub envs: Vec<(String, String)>,
    /// Mounts in the order given.
    pub mounts: Vec<Mount>,
    /// Devices in the order given.
    pub devices: Vec<Device>,
    /// CDI devices by qualified name.
    pub cdi_devices: Vec<String>,
    /// Kept as given.
    pub labels: BTreeMap<String, String>,
    /// Kept as given.
    pub annotations: BTreeMap<String, String>,
    /// Log file below the pod's log directory; `None` when it has none.
    pub log_path: Option<PathBuf>,
    /// Standard input stays open.
    pub stdin: bool,
    /// Standard input is closed when the first client leaves.
    pub stdin_once: bool,
    /// A terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// Identity and confinement.
    pub security: Security,
    /// First signal of a stop; overrides the image's. Number on this architecture.
    pub stop_signal: Option<i32>,
}

/// An image as a container names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// What to look the image up by: an ID or a reference.
    pub image: String,
    /// What the user wrote; empty when the same.
    pub user_specified: String,
    /// Kept as given.
    pub annotations: BTreeMap<String, String>,
}

/// A mount from the host or from an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub container_path: PathBuf,
    /// What to mount.
    pub source: MountSource,
    /// Read-only, and how far down.
    pub read_only: ReadOnly,
    /// Relabel for SELinux.
    pub selinux_relabel: bool,
    /// Propagation.
    pub propagation: Propagation,
    /// User IDs of an id-mapped mount.
    pub uid_mappings: Vec<IdMapping>,
    /// Group IDs of an id-mapped mount.
    pub gid_mappings: Vec<IdMapping>,
    /// Further options (`noexec`, `nosuid`, …) as given, already checked.
    pub options: Vec<String>,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    /// An absolute path on the host.
    Host(PathBuf),
    /// An image, or a path below its root.
    Image {
        /// Which.
        image: ImageRef,
        /// Relative path below the image's root; empty for the root.
        sub_path: PathBuf,
    },
}

/// How far a mount is read-only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadOnly {
    /// Not at all.
    #[default]
    No,
    /// The mount itself.
    Mount,
    /// All that is mounted below it too.
    Recursive,
}

/// Mount propagation between host and container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// None (`rprivate`).
    #[default]
    Private,
    /// Later mounts of the host appear in the container (`rslave`).
    HostToContainer,
    /// In both directions (`rshared`).
    Bidirectional,
}

/// A device of the host, or a directory of devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path in the container.
    pub container_path: PathBuf,
    /// Path on the host.
    pub host_path: PathBuf,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

/// Limits of a container; `None` leaves the kernel's or the runtime's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// CFS period in microseconds.
    pub cpu_period: Option<u64>,
    /// CFS quota in microseconds; negative for none.
    pub cpu_quota: Option<i64>,
    /// Relative weight as cgroup v1 counts it, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// Bytes of memory.
    pub memory_limit: Option<i64>,
    /// Bytes of memory and swap together.
    pub memory_swap_limit: Option<i64>,
    /// OOM killer preference, −1000 to 1000.
    pub oom_score_adj: Option<i64>,
    /// CPU list, like `0-3,7`.
    pub cpuset_cpus: String,
    /// Memory node list.
    pub cpuset_mems: String,
    /// Huge page limits: page size (`2MB`, `1GB`) and bytes.
    pub hugepages: Vec<(String, u64)>,
    /// cgroup v2 files and what is written to them.
    pub unified: BTreeMap<String, String>,
}

/// Identity and confinement of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Security {
    /// Everything the host can do.
    pub privileged: bool,
    /// Which processes it sees; the pod's other namespaces are the sandbox's.
    pub pid: PidMode,
    /// The user namespace it expects its pod to have.
    #[serde(default)]
    pub users: Users,
    /// Capabilities changed from the default set.
    pub capabilities: Capabilities,
    /// Who it runs as.
    pub user: RunAs,
    /// Supplementary groups given by the caller.
    pub supplemental_groups: Vec<u32>,
    /// Whether the image's groups are added.
    pub supplemental_groups_policy: GroupsPolicy,
    /// Root file system is read-only.
    pub readonly_rootfs: bool,
    /// Sets `no_new_privs`.
    pub no_new_privs: bool,
    /// Paths made unreadable.
    pub masked_paths: Vec<String>,
    /// Paths made read-only.
    pub readonly_paths: Vec<String>,
    /// System call filter.
    pub seccomp: Seccomp,
    /// AppArmor profile.
    pub apparmor: SecurityProfile,
    /// SELinux label.
    pub selinux: Option<SelinuxLabel>,
}

/// Capabilities added to and dropped from the default set; names without `CAP_`, or `ALL`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Added.
    pub add: Vec<String>,
    /// Dropped.
    pub drop: Vec<String>,
    /// Added to the ambient set too.
    pub add_ambient: Vec<String>,
}

/// The user namespace that a container expects. It always has its pod's: an expectation that does not fit is
/// refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Users {
    /// Whatever the pod has.
    #[default]
    Pod,
    /// The host's.
    Node,
    /// One with these mappings.
    Mapped(UserMappings),
}

/// Who a container runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunAs {
    /// As the image says.
    #[default]
    Image,
    /// A user ID, and a group ID where given.
    Ids {
        /// User ID.
        uid: u32,
        /// Group ID.
        gid: Option<u32>,
    },
    /// A user name of the image's, and a group ID where given.
    Name {
        /// User name.
        name: String,
        /// Group ID.
        gid: Option<u32>,
    },
}

/// Whether groups of the image's `/etc/group` are added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupsPolicy {
    /// They are.
    #[default]
    Merge,
    /// They are not.
    Strict,
}

/// System call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// None.
    #[default]
    Unconfined,
    /// The runtime's default profile.
    RuntimeDefault,
    /// A profile on the node: absolute path of a JSON file.
    Localhost(PathBuf),
}
