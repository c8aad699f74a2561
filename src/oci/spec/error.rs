//! What a request can get wrong.

use std::path::PathBuf;

use super::UnknownCapability;

/// A request that no specification can be built from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Neither request nor image name a program.
    #[error("there is nothing to run: neither the request nor the image has a command")]
    NothingToRun,
    /// The program's name is empty.
    #[error("the command to run is empty")]
    EmptyCommand,
    /// A text for a process that no process can get.
    #[error("{field} {value:?} holds a NUL byte")]
    Nul {
        /// Where it stands.
        field: &'static str,
        /// What it is.
        value: String,
    },
    /// An environment variable without a name, or with one that cannot be.
    #[error("environment variable name {0:?} is empty or holds '=' or a NUL byte")]
    EnvName(String),
    /// The working directory cannot be one.
    #[error("working directory {0:?} is not an absolute path")]
    WorkingDir(String),
    /// The working directory would be a descriptor of the runtime's.
    #[error("working directory {0:?} is refused: it leads to an open file of the runtime")]
    WorkingDirInProc(String),
    /// A capability nobody knows.
    #[error("{field}: {source}")]
    Capability {
        /// Where it stands.
        field: &'static str,
        /// Which.
        source: UnknownCapability,
    },
    /// A limit of the configuration with a name nobody knows.
    #[error("unknown resource limit {0:?}")]
    Rlimit(String),
    /// A path in the container that cannot be one.
    #[error("{field} {path:?} is not an absolute path without '..'")]
    Path {
        /// Where it stands.
        field: &'static str,
        /// What it is.
        path: PathBuf,
    },
    /// A mount over the root.
    #[error("a mount on {0:?} would hide the container's root")]
    MountOnRoot(PathBuf),
    /// A mount option that is not taken.
    #[error("option {option:?} of the mount on {destination:?} is not supported")]
    MountOption {
        /// Which.
        option: String,
        /// Where.
        destination: PathBuf,
    },
    /// Recursive read-only goes with private propagation only.
    #[error("recursive read-only mount on {0:?} has to have private propagation")]
    RecursivePropagation(PathBuf),
    /// Recursive read-only where it cannot be.
    #[error("recursive read-only mount on {destination:?} is not supported by {by}")]
    NoRecursiveReadOnly {
        /// Where.
        destination: PathBuf,
        /// What lacks it.
        by: &'static str,
    },
    /// Mounts made in a user namespace stay there.
    #[error(
        "bidirectional propagation of the mount on {0:?} is not possible in a pod with a user namespace"
    )]
    UsersPropagation(PathBuf),
    /// An ID-mapped mount where it cannot be.
    #[error("ID-mapped mount on {0:?} is not supported by the runtime")]
    NoIdMappedMounts(PathBuf),
    /// The processes to share are not there.
    #[error("the PID namespace of the {0} is not there")]
    NoPidNamespace(&'static str),
    /// User namespaces where they cannot be.
    #[error("user namespaces are not supported by the runtime")]
    NoUserNamespaces,
    /// A user or group that the pod's user namespace does not map.
    #[error("{kind} {id} is not mapped in the pod's user namespace")]
    NotMapped {
        /// User or group.
        kind: &'static str,
        /// Which.
        id: u32,
    },
    /// A filter of a file, where there are no filters.
    #[error("a seccomp profile is asked for, and this node or runtime has no seccomp")]
    NoSeccomp,
    /// A profile, where there are none.
    #[error("AppArmor profile {0:?} is asked for, and AppArmor is not enabled on this node")]
    NoApparmor(String),
    /// A limit that cannot be.
    #[error("{field} {value} is out of range: {why}")]
    Limit {
        /// Which.
        field: &'static str,
        /// As given.
        value: i64,
        /// Why not.
        why: &'static str,
    },
    /// A CPU or memory node list that is none.
    #[error("{field} {value:?} is not a list of numbers and ranges")]
    Cpuset {
        /// Which.
        field: &'static str,
        /// As given.
        value: String,
    },
    /// Keys of cgroup v2 on a node without it.
    #[error("unified key {0:?} needs cgroup v2, which this node does not use")]
    UnifiedOnV1(String),
    /// A key that is no file of a cgroup.
    #[error("unified key {0:?} is not the name of a cgroup file")]
    UnifiedKey(String),
}
