//! What pods and containers are made with: one value that every job shares.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;

use crate::{
    container::{
        error::ContainerError,
        looks::Looks,
        spec::{Device, Seccomp, Security},
    },
    id::Id,
    image::Images,
    layout::Layout,
    lsm::{
        apparmor::{self, ApparmorError},
        selinux::{Labels, Selinux},
    },
    monitor::MonitorBinary,
    network::Network,
    oci::{
        Handler, Handlers,
        cgroup::{CgroupError, Driver, Parent},
        node::Node,
        seccomp::Filters,
        spec::Defaults,
    },
    pod::{
        record::PodRecord,
        spec::{PodSpec, SecurityProfile, SelinuxLabel},
    },
    storage::Storage,
    store::Store,
};

/// The parts of a daemon that pods and containers are made with.
#[derive(Debug)]
pub struct Services {
    /// Where everything lies.
    pub layout: Layout,
    /// Choices of the configuration.
    pub settings: Settings,
    /// Records.
    pub store: Store,
    /// Layers and root file systems.
    pub storage: Storage,
    /// Images.
    pub images: Images,
    /// Pods' network.
    pub network: Network,
    /// OCI runtimes.
    pub handlers: Handlers,
    /// The monitor's program.
    pub monitor: MonitorBinary,
    /// What this machine lets a container have.
    pub node: Node,
    /// Labels, where this machine has them and is to use them.
    pub selinux: Option<Selinux>,
    /// Volumes that are being looked at.
    pub looks: Looks,
    /// Which boot of the machine this is.
    pub boot_id: String,
    /// Cancelled when the daemon begins to end: what it lets go of from then on is to outlive it.
    pub leaving: CancellationToken,
    /// System call filters that were compiled for execs.
    pub filters: Filters,
}

/// Choices of the configuration that pods and containers are made by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Size of a pod's `/dev/shm` in bytes.
    pub shm_size: u64,
    /// How long a new pod waits for the network to be ready.
    pub network_ready_timeout: Duration,
    /// Host ports that pods ask for are published.
    pub host_ports: bool,
    /// Parent cgroup of pods that name none, in the driver's notation.
    pub cgroup_parent: String,
    /// Who makes cgroups.
    pub cgroup_driver: Driver,
    /// cgroup directories the monitors live in, outside all pods: one for each hierarchy.
    pub monitor_cgroups: Vec<PathBuf>,
    /// Largest log file in bytes; none when `None`.
    pub log_size_max: Option<u64>,
    /// Most output of one stream that an exec keeps, in bytes.
    pub exec_output_max: u64,
    /// How long the runtime may take to create a container.
    pub create_timeout: Duration,
    /// The filter that stands for the default one: built in, or a file.
    pub default_seccomp: Seccomp,
    /// Paths where, and below which, a missing source of a mount is refused rather than made.
    pub refused_mount_sources: Vec<PathBuf>,
    /// Devices every container gets.
    pub additional_devices: Vec<Device>,
    /// What containers get that do not ask for something else.
    pub defaults: Defaults,
}

/// Why pods cannot have user namespaces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoUserNamespaces {
    /// The runtime.
    #[error("runtime handler {0:?} cannot give containers a user namespace")]
    Runtime(String),
    /// The kernel, or the file system that layers lie on.
    #[error("this node cannot give pods a user namespace: {0}")]
    Node(String),
}

impl Services {
    /// Whether pods of a handler can have user namespaces.
    pub(crate) fn user_namespaces(&self, handler: &Handler) -> Result<(), NoUserNamespaces> {
        if !handler.features.user_namespaces {
            return Err(NoUserNamespaces::Runtime(handler.name.clone()));
        }
        match self.storage.unmapped_because() {
            None => Ok(()),
            Some(reason) => Err(NoUserNamespaces::Node(reason.to_owned())),
        }
    }

    /// Nothing of any container is left: the node is as if corten had never run on it.
    pub(crate) fn is_idle(&self) -> bool {
        let empty =
            |dir: PathBuf| std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
        empty(self.layout.bundles()) && empty(self.layout.sandboxes())
    }

    /// The filter that a request's choice stands for.
    pub(crate) fn seccomp<'a>(&'a self, asked: &'a Seccomp) -> &'a Seccomp {
        match asked {
            Seccomp::RuntimeDefault => &self.settings.default_seccomp,
            other => other,
        }
    }

    /// Refuses an AppArmor profile that is asked for and that the kernel does not have. Blocks.
    pub(crate) fn check_apparmor(&self, asked: &SecurityProfile) -> Result<(), ApparmorError> {
        // Without AppArmor, what cannot be had is refused with the specification.
        if !self.node.apparmor {
            return Ok(());
        }
        apparmor::check(asked, self.settings.defaults.apparmor_profile.as_deref())
    }

    /// Labels of a container, where it gets any.
    pub(crate) fn labels(&self, pod: &PodRecord, container: &Security) -> Option<Labels> {
        let asked = container.selinux.as_ref();
        let confined = !container.privileged;
        self.labels_of(pod, asked, confined)
    }

    /// Labels of a sandbox's own files and process, where they get any.
    pub(crate) fn sandbox_labels(&self, pod: &PodRecord) -> Option<Labels> {
        self.labels_of(pod, None, true)
    }

    fn labels_of(
        &self,
        pod: &PodRecord,
        asked: Option<&SelinuxLabel>,
        confined: bool,
    ) -> Option<Labels> {
        let selinux = self.selinux.as_ref()?;
        let level = pod.selinux_level.as_deref().unwrap_or_default();
        match asked.or(pod.spec.selinux.as_ref()) {
            Some(asked) => Some(selinux.contexts.labels(asked, level)),
            None if confined && !pod.spec.is_the_hosts() => {
                Some(selinux.contexts.labels(&SelinuxLabel::default(), level))
            }
            None => None,
        }
    }

    /// A handler for a container that was made with it.
    pub(crate) fn handler(&self, name: &str) -> Result<Arc<Handler>, ContainerError> {
        self.handlers.get(name).map_err(ContainerError::Handler)
    }

    /// Parent cgroup of a pod's containers.
    pub(crate) fn cgroup_parent(&self, id: &Id, spec: &PodSpec) -> Result<Parent, CgroupError> {
        if spec.cgroup_parent.is_empty() {
            Parent::parse(self.settings.cgroup_driver, &self.own_parent(id))
        } else {
            Parent::parse(self.settings.cgroup_driver, &spec.cgroup_parent)
        }
    }

    /// The pod's cgroup relative to the hierarchies' roots, when corten made it and has to remove it.
    pub(crate) fn own_pod_cgroup(&self, id: &Id, spec: &PodSpec) -> Option<PathBuf> {
        // systemd removes an empty slice by itself.
        (spec.cgroup_parent.is_empty() && self.settings.cgroup_driver == Driver::Cgroupfs)
            .then(|| PathBuf::from(self.own_parent(id)))
    }

    fn own_parent(&self, id: &Id) -> String {
        let parent = &self.settings.cgroup_parent;
        match self.settings.cgroup_driver {
            Driver::Cgroupfs => format!("{}/{id}", parent.trim_end_matches('/')),
            Driver::Systemd => {
                format!("{}-{id}.slice", parent.trim_end_matches(".slice"))
            }
        }
    }
}

/// The time in Unix nanoseconds.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
