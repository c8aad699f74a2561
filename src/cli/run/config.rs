//! What `corten run` asks of the daemon, made from its arguments.

use std::path::{Path, PathBuf};

use super::{RunArgs, ending};
use crate::{
    cli::{
        error::CliError,
        lookup::RUN_LABEL,
        parse::{
            env,
            mount::{MountArg, Propagation},
            resources::CPU_PERIOD,
            user::UserArg,
        },
    },
    cri::api,
    id::Id,
    pod::spec::{PortMapping, Protocol},
};

/// Files of /proc and /sys that tell about the host or reach into it: what a kubelet hides.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Before the name of a pod that is to be made.
const NEW: &str = "new:";

/// What a kubelet makes read-only.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The arguments, checked, with the names that come of them.
pub(super) struct Plan<'a> {
    pub(super) args: &'a RunArgs,
    /// Name of the container, and of the pod if there is to be one.
    pub(super) name: String,
    uid: String,
    envs: Vec<api::KeyValue>,
    mounts: Vec<api::Mount>,
}

impl<'a> Plan<'a> {
    /// Checks what can be checked without the daemon; `own` gives the caller's environment.
    pub(super) fn new(
        args: &'a RunArgs,
        own: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CliError> {
        let usage = |problem: String| CliError::Usage(problem, "run");
        let name = match &args.name {
            Some(name) => {
                check_name("--name", name).map_err(usage)?;
                name.clone()
            }
            None => format!("{}-{}", image_word(&args.image), ending()),
        };
        check_pod(args).map_err(usage)?;
        let mut pairs = Vec::new();
        for file in &args.env_file {
            pairs.extend(env::read_file(file, &own).map_err(|e| usage(format!("--env-file {e}")))?);
        }
        for text in &args.env {
            pairs.extend(env::parse(text, &own).map_err(|e| usage(format!("--env {e}")))?);
        }
        Ok(Self {
            args,
            name,
            uid: Id::random().as_str()[..32].to_owned(),
            envs: pairs
                .into_iter()
                .map(|(key, value)| api::KeyValue {
                    key,
                    value: value.into_bytes(),
                })
                .collect(),
            mounts: args.mounts.iter().map(mount).collect::<Result<_, _>>()?,
        })
    }

    /// The pod's name.
    pub(super) fn pod_name(&self) -> &str {
        match self.args.pod.as_deref() {
            Some(pod) => pod.strip_prefix(NEW).unwrap_or(pod),
            None => &self.name,
        }
    }

    /// The pod that is there already and is to be joined.
    pub(super) fn joins(&self) -> Option<&str> {
        self.args.pod.as_deref().filter(|pod| !pod.starts_with(NEW))
    }

    /// The directory of the pod's logs; it ends in the pod's UID, which shows whose it is.
    pub(super) fn directory(&self) -> String {
        format!("{}_{}", self.pod_name(), self.uid)
    }

    /// The pod.
    pub(super) fn sandbox(&self, logs: &Path) -> api::PodSandboxConfig {
        let mark = logs.display().to_string();
        let hostname = match self.args.host_network {
            true => String::new(),
            false => self
                .args
                .hostname
                .clone()
                .unwrap_or_else(|| hostname(self.pod_name())),
        };
        api::PodSandboxConfig {
            metadata: Some(api::PodSandboxMetadata {
                name: self.pod_name().to_owned(),
                uid: self.uid.clone(),
                namespace: "default".into(),
                attempt: 0,
            }),
            hostname,
            log_directory: mark.clone(),
            port_mappings: self.args.publish.iter().map(port).collect(),
            labels: [(RUN_LABEL.to_owned(), "true".to_owned())].into(),
            annotations: [(RUN_LABEL.to_owned(), mark)].into(),
            linux: Some(api::LinuxPodSandboxConfig {
                security_context: Some(api::LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces(self.args.host_network)),
                    privileged: self.args.privileged,
                    seccomp: Some(profile(self.args.privileged)),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// The container, in a pod of this configuration.
    pub(super) fn container(
        &self,
        image: &str,
        sandbox: &api::PodSandboxConfig,
    ) -> api::ContainerConfig {
        let security = sandbox
            .linux
            .as_ref()
            .and_then(|linux| linux.security_context.as_ref());
        let log_path = match sandbox.log_directory.as_str() {
            "" => String::new(),
            _ => format!("{}.log", self.name),
        };
        let namespaces = security.and_then(|security| security.namespace_options.clone());
        api::ContainerConfig {
            metadata: Some(api::ContainerMetadata {
                name: self.name.clone(),
                attempt: 0,
            }),
            image: Some(api::ImageSpec {
                user_specified_image: self.args.image.clone(),
                ..image_spec(image)
            }),
            command: self.args.entrypoint.clone().into_iter().collect(),
            args: self.args.command.clone(),
            working_dir: self.args.workdir.clone().unwrap_or_default(),
            envs: self.envs.clone(),
            mounts: self.mounts.clone(),
            labels: [(RUN_LABEL.to_owned(), "true".to_owned())].into(),
            log_path,
            linux: Some(api::LinuxContainerConfig {
                resources: Some(self.resources()),
                security_context: Some(self.security(namespaces)),
            }),
            ..Default::default()
        }
    }

    fn resources(&self) -> api::LinuxContainerResources {
        api::LinuxContainerResources {
            memory_limit_in_bytes: self.args.memory.unwrap_or(0),
            cpu_quota: self.args.cpus.unwrap_or(0),
            cpu_period: self.args.cpus.map_or(0, |_| CPU_PERIOD),
            ..Default::default()
        }
    }

    fn security(
        &self,
        namespaces: Option<api::NamespaceOption>,
    ) -> api::LinuxContainerSecurityContext {
        let number = |value: u32| {
            Some(api::Int64Value {
                value: i64::from(value),
            })
        };
        let (uid, name, gid) = match &self.args.user {
            None => (None, String::new(), None),
            Some(UserArg::Id(uid, gid)) => (number(*uid), String::new(), *gid),
            Some(UserArg::Name(name, gid)) => (None, name.clone(), *gid),
        };
        let privileged = self.args.privileged;
        let unless_privileged = |paths: &[&str]| match privileged {
            true => Vec::new(),
            false => paths.iter().map(|path| (*path).to_owned()).collect(),
        };
        api::LinuxContainerSecurityContext {
            privileged,
            namespace_options: namespaces,
            run_as_user: uid,
            run_as_username: name,
            run_as_group: gid.and_then(number),
            masked_paths: unless_privileged(&MASKED),
            readonly_paths: unless_privileged(&READ_ONLY),
            seccomp: Some(profile(privileged)),
            apparmor: Some(profile(privileged)),
            ..Default::default()
        }
    }
}

/// A pod's configuration as far as it can be told from its status.
pub(super) fn sandbox_of(status: api::PodSandboxStatus) -> api::PodSandboxConfig {
    let options = status
        .linux
        .and_then(|linux| linux.namespaces)
        .and_then(|namespaces| namespaces.options);
    api::PodSandboxConfig {
        metadata: status.metadata,
        log_directory: status
            .annotations
            .get(RUN_LABEL)
            .cloned()
            .unwrap_or_default(),
        labels: status.labels,
        annotations: status.annotations,
        linux: Some(api::LinuxPodSandboxConfig {
            security_context: Some(api::LinuxSandboxSecurityContext {
                namespace_options: options,
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// An image by name or ID.
pub(super) fn image_spec(image: &str) -> api::ImageSpec {
    api::ImageSpec {
        image: image.to_owned(),
        ..Default::default()
    }
}

fn namespaces(host_network: bool) -> api::NamespaceOption {
    api::NamespaceOption {
        network: match host_network {
            true => api::NamespaceMode::Node.into(),
            false => api::NamespaceMode::Pod.into(),
        },
        pid: api::NamespaceMode::Container.into(),
        ipc: api::NamespaceMode::Pod.into(),
        ..Default::default()
    }
}

fn profile(privileged: bool) -> api::SecurityProfile {
    use api::security_profile::ProfileType;
    api::SecurityProfile {
        profile_type: match privileged {
            true => ProfileType::Unconfined.into(),
            false => ProfileType::RuntimeDefault.into(),
        },
        localhost_ref: String::new(),
    }
}

fn port(mapping: &PortMapping) -> api::PortMapping {
    api::PortMapping {
        protocol: match mapping.protocol {
            Protocol::Tcp => api::Protocol::Tcp.into(),
            Protocol::Udp => api::Protocol::Udp.into(),
            Protocol::Sctp => api::Protocol::Sctp.into(),
        },
        container_port: i32::from(mapping.container_port),
        host_port: i32::from(mapping.host_port),
        host_ip: mapping.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    }
}

fn mount(mount: &MountArg) -> Result<api::Mount, CliError> {
    let source = std::path::absolute(&mount.source)
        .and_then(|path| path.symlink_metadata().map(|_| path))
        .map_err(|source| CliError::File {
            doing: "use as the source of a mount",
            path: mount.source.clone(),
            source,
        })?;
    Ok(api::Mount {
        container_path: mount.target.display().to_string(),
        host_path: utf8(source)?,
        readonly: mount.read_only,
        recursive_read_only: mount.recursive,
        propagation: match mount.propagation {
            Propagation::Private => api::MountPropagation::PropagationPrivate.into(),
            Propagation::Slave => api::MountPropagation::PropagationHostToContainer.into(),
            Propagation::Shared => api::MountPropagation::PropagationBidirectional.into(),
        },
        ..Default::default()
    })
}

fn utf8(path: PathBuf) -> Result<String, CliError> {
    path.into_os_string().into_string().map_err(|path| {
        CliError::Usage(
            format!(
                "the path {} is not UTF-8 text, which the API needs",
                path.display()
            ),
            "run",
        )
    })
}

/// What belongs to the pod can only be said of one that is to be made.
fn check_pod(args: &RunArgs) -> Result<(), String> {
    let Some(pod) = &args.pod else { return Ok(()) };
    if let Some(name) = pod.strip_prefix(NEW) {
        return check_name("--pod new:", name);
    }
    let of_the_pod = [
        ("--publish", !args.publish.is_empty()),
        ("--hostname", args.hostname.is_some()),
        ("--host-network", args.host_network),
        ("--runtime", args.runtime.is_some()),
    ];
    match of_the_pod.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(format!(
            "{flag} belongs to the pod, and --pod {pod} is there already; give it when that pod is made"
        )),
        None => Ok(()),
    }
}

fn check_name(flag: &str, name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || name.len() > 128 || !name.chars().all(plain) {
        return Err(format!(
            "{flag} {name:?}: write up to 128 letters, digits, '-', '_' or '.', beginning with a letter or digit"
        ));
    }
    Ok(())
}

/// The last word of an image's name, as the beginning of a name.
fn image_word(image: &str) -> String {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    let word: String = last
        .split(':')
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .filter(char::is_ascii_alphanumeric)
        .take(30)
        .collect();
    match word.is_empty() {
        true => "run".to_owned(),
        false => word,
    }
}

/// A name as a host name: lower case, '-' for what a host name cannot hold.
fn hostname(name: &str) -> String {
    let text: String = name
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
            _ => '-',
        })
        .take(63)
        .collect();
    text.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests;
