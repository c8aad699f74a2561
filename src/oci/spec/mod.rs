//! The runtime specification of a container, built from values alone.
//!
//! Nothing here looks at the host: the same input always gives the same specification.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use oci_spec::runtime::{Linux, LinuxResources, LinuxSeccomp, Root, Spec};

use super::{
    annotations,
    capability::{CapSet, UnknownCapability},
    clamp::{self, Clamped, Limit},
    device::ResolvedDevice,
    features::Features,
    mount::ResolvedMount,
    node::Node,
    seccomp::{Filter, Target},
    user::ResolvedUser,
};
use crate::{
    container::spec::ContainerSpec,
    id::Id,
    lsm::selinux::Labels,
    pod::spec::{PodSpec, SecurityProfile},
};

mod capabilities;
mod devices;
mod entry;
mod environment;
mod error;
mod exec;
mod infra;
mod mounts;
mod namespaces;
mod paths;
mod process;
mod resources;

pub use entry::{Unfit, entry};
pub use error::SpecError;
pub use exec::exec_process;
pub use infra::{InfraInput, infra};
pub use resources::{resources, update};

/// Begins the annotations that tell sandboxing runtimes which pod a container belongs to.
const CRI: &str = "io.kubernetes.cri";

/// What an image says about the process to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageProcess {
    /// Begins the command line.
    pub entrypoint: Vec<String>,
    /// Goes on with it.
    pub cmd: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Where it starts.
    pub working_dir: String,
    /// Who it runs as.
    pub user: String,
    /// Directories for data.
    pub volumes: Vec<String>,
    /// First signal of a stop, by name or number.
    pub stop_signal: String,
}

/// Namespaces that exist already; `None` means the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespacePaths {
    /// Network.
    pub network: Option<PathBuf>,
    /// System V IPC and POSIX message queues.
    pub ipc: Option<PathBuf>,
    /// Host name.
    pub uts: Option<PathBuf>,
    /// Processes, for a container that sees those of the pod or of another container.
    pub pid: Option<PathBuf>,
    /// User and group IDs.
    pub user: Option<PathBuf>,
}

/// Files that all containers of a sandbox share, on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxFiles {
    /// For `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// For `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// For `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// For `/dev/shm`.
    pub shm: Option<PathBuf>,
}

/// What containers get unless they ask for something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Capabilities that additions and drops start from.
    pub capabilities: CapSet,
    /// Limits by name without `RLIMIT_`.
    pub rlimits: Vec<(String, Limit)>,
    /// Most processes; `None` for no limit.
    pub pids_limit: Option<i64>,
    /// Environment that image and request go before.
    pub env: Vec<(String, String)>,
    /// AppArmor profile, loaded already, of containers that ask for the default.
    pub apparmor_profile: Option<String>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            capabilities: CapSet::defaults(),
            rlimits: Vec::new(),
            pids_limit: None,
            env: Vec::new(),
            apparmor_profile: None,
        }
    }
}

/// All that a container's specification is made of.
#[derive(Debug, Clone, Copy)]
pub struct SpecInput<'a> {
    /// The container.
    pub id: &'a Id,
    /// Its sandbox.
    pub sandbox_id: &'a Id,
    /// As asked for.
    pub container: &'a ContainerSpec,
    /// The sandbox as asked for.
    pub pod: &'a PodSpec,
    /// From the image.
    pub image: &'a ImageProcess,
    /// Who it runs as.
    pub user: &'a ResolvedUser,
    /// Its host name.
    pub hostname: &'a str,
    /// Namespaces to join.
    pub namespaces: &'a NamespacePaths,
    /// Files of the sandbox.
    pub files: &'a SandboxFiles,
    /// Root file system, mounted.
    pub rootfs: &'a Path,
    /// The request's mounts, looked up, in its order.
    pub mounts: &'a [ResolvedMount],
    /// The request's devices, looked up; for a privileged container, all of the host's as well.
    pub devices: &'a [ResolvedDevice],
    /// System call filter; ignored for a privileged container.
    pub seccomp: &'a Filter,
    /// SELinux labels, where it gets any.
    pub labels: Option<&'a Labels>,
    /// `linux.cgroupsPath`.
    pub cgroups_path: &'a str,
    /// The node.
    pub node: &'a Node,
    /// What the runtime can do.
    pub features: &'a Features,
    /// Annotations that reach the runtime.
    pub allowed_annotations: &'a [String],
    /// As configured.
    pub defaults: &'a Defaults,
}

/// A specification, and what of the request it could not hold in full.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The specification.
    pub spec: Spec,
    /// What was given in part.
    pub clamped: Vec<Clamped>,
}

/// Builds the specification of a container.
pub fn build(input: &SpecInput<'_>) -> Result<Built, SpecError> {
    let mut clamped = Vec::new();
    let privileged = input.container.security.privileged;
    let capabilities = capabilities::decide(
        &input.container.security.capabilities,
        privileged,
        input.defaults.capabilities,
        input.node.capabilities,
    )?;
    clamped.extend(capabilities.clamped.iter().cloned());
    let seccomp = if privileged {
        None
    } else {
        filter(
            input.seccomp,
            capabilities.bounding,
            input.node,
            input.features,
            &mut clamped,
        )?
    };

    let mut process = process::process(input, &mut clamped)?;
    process.set_capabilities(Some(capabilities.to_oci()));
    process.set_apparmor_profile(apparmor(
        &input.container.security.apparmor,
        privileged,
        input.node,
        input.defaults,
    )?);
    process.set_selinux_label(input.labels.map(|labels| labels.process.to_string()));

    let (mounts, rootfs_propagation) = mounts::mounts(input)?;
    let mut limits = resources::resources(&input.container.resources, input.node, &mut clamped)?;
    resources::add_pids_limit(&mut limits, input.defaults.pids_limit);
    limits.set_devices(Some(devices::rules(input.devices, privileged)));

    let (masked, readonly) = paths::paths(&input.container.security)?;
    let mut linux = empty_linux();
    linux
        .set_namespaces(Some(namespaces::namespaces(input)?))
        .set_devices(Some(devices::nodes(input.devices)))
        .set_cgroups_path(Some(input.cgroups_path.into()))
        .set_resources(Some(limits))
        .set_seccomp(seccomp)
        .set_masked_paths(Some(masked))
        .set_readonly_paths(Some(readonly))
        .set_rootfs_propagation(rootfs_propagation.map(str::to_owned))
        .set_mount_label(input.labels.map(|labels| labels.mount.to_string()));
    if let Some(user) = &input.pod.namespaces.user {
        linux
            .set_uid_mappings(Some(namespaces::mappings(&user.uids)))
            .set_gid_mappings(Some(namespaces::mappings(&user.gids)));
    }

    let mut root = Root::default();
    root.set_path(input.rootfs.to_owned())
        .set_readonly(Some(input.container.security.readonly_rootfs));
    let mut spec = Spec::default();
    spec.set_version(input.features.oci_version.clone())
        .set_root(Some(root))
        .set_process(Some(process))
        .set_mounts(Some(mounts))
        .set_hostname(None)
        .set_annotations(Some(container_annotations(input)))
        .set_linux(Some(linux));
    Ok(Built { spec, clamped })
}

/// What the crate's own default brings along is nothing a container asked for.
fn empty_linux() -> Linux {
    let mut linux = Linux::default();
    linux
        .set_namespaces(None)
        .set_resources(Some(LinuxResources::default()))
        .set_masked_paths(None)
        .set_readonly_paths(None);
    linux
}

fn filter(
    filter: &Filter,
    capabilities: CapSet,
    node: &Node,
    features: &Features,
    clamped: &mut Vec<Clamped>,
) -> Result<Option<LinuxSeccomp>, SpecError> {
    let target = Target {
        capabilities,
        kernel: node.kernel,
    };
    if node.seccomp() && features.seccomp {
        return Ok(filter.compile(&target));
    }
    match filter {
        Filter::Unconfined => Ok(None),
        Filter::RuntimeDefault => {
            clamped.push(Clamped::Seccomp);
            Ok(None)
        }
        Filter::Profile(_) => Err(SpecError::NoSeccomp),
    }
}

fn apparmor(
    asked: &SecurityProfile,
    privileged: bool,
    node: &Node,
    defaults: &Defaults,
) -> Result<Option<String>, SpecError> {
    match asked {
        SecurityProfile::Localhost(name) if !node.apparmor => {
            Err(SpecError::NoApparmor(name.clone()))
        }
        _ if !node.apparmor => Ok(None),
        SecurityProfile::RuntimeDefault if privileged => Ok(None),
        SecurityProfile::RuntimeDefault => Ok(defaults.apparmor_profile.clone()),
        SecurityProfile::Unconfined => Ok(Some("unconfined".to_owned())),
        SecurityProfile::Localhost(name) => Ok(Some(name.clone())),
    }
}

fn pod_annotations(sandbox_id: &Id, pod: &PodSpec, kind: &str) -> HashMap<String, String> {
    [
        ("container-type", kind),
        ("sandbox-id", sandbox_id.as_str()),
        ("sandbox-name", &pod.metadata.name),
        ("sandbox-namespace", &pod.metadata.namespace),
        ("sandbox-uid", &pod.metadata.uid),
    ]
    .into_iter()
    .map(|(name, value)| (format!("{CRI}.{name}"), value.to_owned()))
    .collect()
}

fn container_annotations(input: &SpecInput<'_>) -> HashMap<String, String> {
    let mut all = HashMap::new();
    // The container's own go before the pod's.
    for given in [&input.pod.annotations, &input.container.annotations] {
        for (name, value) in annotations::filter(input.allowed_annotations, given) {
            all.insert(name.clone(), value.clone());
        }
    }
    all.extend(pod_annotations(input.sandbox_id, input.pod, "container"));
    all.insert(
        format!("{CRI}.container-name"),
        input.container.metadata.name.clone(),
    );
    all
}

/// The OOM killer preference and limits of a process, bounded by what the node may set.
fn bounded(
    process: &mut oci_spec::runtime::Process,
    oom_score_adj: Option<i64>,
    rlimits: &[(String, Limit)],
    node: &Node,
    clamped: &mut Vec<Clamped>,
) -> Result<(), SpecError> {
    // A daemon that protects itself must not hand its protection on.
    let (given, note) = clamp::oom_score_adj(oom_score_adj.unwrap_or(0), node.lowest_oom_score_adj);
    clamped.extend(note.filter(|_| oom_score_adj.is_some()));
    process.set_oom_score_adj(Some(given));
    process.set_rlimits(Some(process::rlimits(rlimits, node, clamped)?));
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
