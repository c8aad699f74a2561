//! What can go wrong with a container.

use std::{io, path::PathBuf};

use super::{looks::NoAnswer, mapped::MappedError, signal::UnknownSignal, volumes::VolumeError};
use crate::{
    id::Id,
    image::ImageError,
    lsm::{apparmor::ApparmorError, relabel::RelabelError},
    monitor::MonitorError,
    oci::{
        RuntimeError, cgroup::CgroupError, device::DeviceError, handler::HandlerError,
        mount::MountError, rootfs::RootfsError, seccomp::SeccompError, spec::SpecError,
        user::UserError,
    },
    storage::StorageError,
    store::StoreError,
};

/// Why an operation on a container failed.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No such container.
    #[error("no container has the ID {0}")]
    NotFound(Id),
    /// Its sandbox is not there or not ready.
    #[error("sandbox {pod} is {state}; containers need one that is ready")]
    PodNotReady {
        /// The sandbox.
        pod: Id,
        /// Its state.
        state: &'static str,
    },
    /// It is in a state in which this cannot be done.
    #[error("container {id} is {state}; it would have to be {wanted}")]
    WrongState {
        /// The container.
        id: Id,
        /// Its state.
        state: &'static str,
        /// The state needed.
        wanted: &'static str,
    },
    /// The daemon has just started and has not found its monitor yet.
    #[error("container {0} is being taken up after a restart of the daemon; try again")]
    Recovering(Id),
    /// Its image is not on this node.
    #[error("config.image.image: {0:?} is not on this node; pull it first")]
    ImageNotFound(String),
    /// Its image cannot be used.
    #[error("image of the container")]
    Image(#[source] ImageError),
    /// Something corten does not do yet.
    #[error("{0} are not supported yet")]
    Unsupported(&'static str),
    /// A container named as target of a PID namespace.
    #[error(
        "config.linux.security_context.namespace_options.target_id: {0:?} is not a running container of the pod"
    )]
    Target(String),
    /// It asks for other processes than its sandbox was made for.
    #[error(
        "config.linux.security_context.namespace_options.pid: {container} does not fit the sandbox, which has {sandbox}"
    )]
    PidMode {
        /// What it asks for.
        container: &'static str,
        /// What the sandbox has.
        sandbox: &'static str,
    },
    /// It expects another user namespace than its sandbox has.
    #[error(
        "config.linux.security_context.namespace_options.userns_options: does not fit the user namespace of the sandbox, which is {sandbox}"
    )]
    Users {
        /// What the sandbox has.
        sandbox: &'static str,
    },
    /// A directory or file of the container.
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
    /// Its root file system.
    #[error("root file system of the container")]
    Rootfs(#[source] StorageError),
    /// Its user.
    #[error("user of the container")]
    User(#[source] UserError),
    /// A mount.
    #[error("mounts of the container")]
    Mount(#[source] MountError),
    /// A mount whose IDs are to be mapped.
    #[error("mounts of the container")]
    Mapped(#[source] MappedError),
    /// An image to mount.
    #[error(transparent)]
    Volume(Box<VolumeError>),
    /// A device.
    #[error("devices of the container")]
    Device(#[source] DeviceError),
    /// Its specification.
    #[error("specification of the container")]
    Spec(#[source] SpecError),
    /// Its specification cannot be read back or written.
    #[error("specification {path}")]
    SpecFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Its monitor.
    #[error("monitor of the container")]
    Monitor(#[source] MonitorError),
    /// A process could not be run in it.
    #[error("running a process in the container")]
    Exec(#[source] MonitorError),
    /// It ended while a process was to be run in it.
    #[error("the container ended while a process was to be run in it")]
    EndedMeanwhile(#[source] MonitorError),
    /// Its runtime handler.
    #[error("runtime handler of the container")]
    Handler(#[source] HandlerError),
    /// Its parent cgroup.
    #[error("parent cgroup of the container")]
    Cgroup(#[source] CgroupError),
    /// The image's stop signal.
    #[error(transparent)]
    StopSignal(UnknownSignal),
    /// A volume lies where nothing answers.
    #[error(transparent)]
    NoAnswer(NoAnswer),
    /// Its system call filter.
    #[error("system call filter of the container")]
    Seccomp(#[source] SeccompError),
    /// A volume cannot be given its label.
    #[error("config.mounts.selinux_relabel: SELinux label of a volume")]
    Relabel(#[source] RelabelError),
    /// Its AppArmor profile.
    #[error("AppArmor profile of the container")]
    Apparmor(#[source] ApparmorError),
    /// Its root could not be prepared.
    #[error("preparing the root file system")]
    Prepare(#[source] RootfsError),
    /// The runtime.
    #[error("container {id}")]
    Runtime {
        /// The container.
        id: Id,
        /// What the runtime said.
        #[source]
        source: RuntimeError,
    },
    /// It uses more memory than it would be allowed.
    #[error(
        "linux.memory_limit_in_bytes: {limit} is less than container {id} uses now; the limits stay as they were"
    )]
    BelowUsage {
        /// The container.
        id: Id,
        /// The limit.
        limit: i64,
        /// What the runtime said.
        #[source]
        source: RuntimeError,
    },
    /// It cannot be sent a signal.
    #[error("sending a signal to process {pid}, the container's init")]
    Signal {
        /// The process.
        pid: i32,
        /// Why not.
        #[source]
        source: rustix::io::Errno,
    },
    /// It does not die.
    #[error(
        "container {id}: its init, process {pid}, was killed but has not ended; it may be stuck in the kernel"
    )]
    Unkillable {
        /// The container.
        id: Id,
        /// The process.
        pid: i32,
    },
    /// Its record.
    #[error("record of the container")]
    Record(#[source] StoreError),
    /// A bug of corten's.
    #[error("internal error: {0}")]
    Panicked(String),
}

impl ContainerError {
    /// The runtime says that the container's init is gone.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Runtime {
                source: RuntimeError::NoContainer { .. } | RuntimeError::NotRunning { .. },
                ..
            }
        )
    }
}
