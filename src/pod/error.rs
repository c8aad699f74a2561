//! What can go wrong with a sandbox.

use std::{io, path::PathBuf, sync::Arc};

use super::limits::LimitsError;
use crate::{
    container::error::ContainerError,
    id::Id,
    lsm::{apparmor::ApparmorError, relabel::RelabelError},
    monitor::MonitorError,
    network::{NetworkError, cni::args::ArgsError, files::FilesError},
    oci::{
        RuntimeError, cgroup::CgroupError, handler::HandlerError, seccomp::SeccompError,
        spec::SpecError,
    },
    services::NoUserNamespaces,
    store::StoreError,
    sys::namespaces::NamespaceError,
};

/// Why an operation on a sandbox failed.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// No such sandbox.
    #[error("no sandbox has the ID {0}")]
    NotFound(Id),
    /// It was removed while the request waited.
    #[error("sandbox {0} was removed")]
    Gone(Id),
    /// Its name is taken by one that cannot be given out again.
    #[error("a sandbox of this name exists already: {id} is {state}; remove it first")]
    Exists {
        /// The other one.
        id: Id,
        /// Its state.
        state: &'static str,
    },
    /// A runtime handler that is not configured.
    #[error("runtime_handler")]
    Handler(#[source] HandlerError),
    /// The parent cgroup.
    #[error("config.linux.cgroup_parent")]
    Cgroup(#[source] CgroupError),
    /// A directory or file of the sandbox.
    #[error("{step} {path}")]
    File {
        /// What was tried.
        step: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A user namespace where there is none to be had.
    #[error("config.linux.security_context.namespace_options.userns_options")]
    Users(#[source] NoUserNamespaces),
    /// Annotations that the network understands.
    #[error("config.annotations")]
    Annotations(#[source] ArgsError),
    /// The contents of a file of the sandbox.
    #[error("writing the sandbox's files")]
    Contents(#[source] FilesError),
    /// Namespaces.
    #[error("namespaces of the sandbox")]
    Namespaces(#[source] NamespaceError),
    /// Network.
    #[error("network of the sandbox")]
    Network(#[source] NetworkError),
    /// The system call filter of the infra process.
    #[error("system call filter of the sandbox")]
    Seccomp(#[source] SeccompError),
    /// Specification of the infra process.
    #[error("specification of the infra process")]
    InfraSpec(#[source] SpecError),
    /// The program that would be the infra process needs libraries.
    #[error(
        "a pod that shares its PID namespace needs a statically linked monitor, and {0} is not; build it with make"
    )]
    DynamicMonitor(PathBuf),
    /// Start of the infra process.
    #[error("starting the infra process")]
    InfraMonitor(#[source] MonitorError),
    /// The runtime refused something about the infra process.
    #[error("infra process")]
    InfraRuntime(#[source] RuntimeError),
    /// No SELinux level is free.
    #[error("every pair of SELinux categories is in use by a pod")]
    NoLevel,
    /// Its files cannot be labelled.
    #[error("SELinux label of the sandbox's files")]
    Relabel(#[source] RelabelError),
    /// The infra process's AppArmor profile.
    #[error("AppArmor profile of the sandbox")]
    Apparmor(#[source] ApparmorError),
    /// The infra process is gone.
    #[error("the infra process is gone: {0}")]
    InfraLost(String),
    /// Limits of the pod.
    #[error("limits of the pod")]
    Limits(#[source] LimitsError),
    /// A record.
    #[error("record of the sandbox")]
    Record(#[source] StoreError),
    /// A container of it could not be stopped or removed.
    #[error("a container of the sandbox")]
    Container(#[source] Arc<ContainerError>),
    /// A thing it needs is not there any more.
    #[error("{what} is gone")]
    Lost {
        /// What.
        what: String,
    },
    /// A bug of corten's.
    #[error("internal error: {0}")]
    Panicked(String),
}
