//! Facts about whole specifications.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use oci_spec::runtime::{LinuxNamespaceType as Kind, Mount as OciMount};

use super::*;
use crate::{
    container::spec::*,
    oci::{
        clamp::Limit,
        mountinfo::Peers,
        node::{CgroupVersion, RLIMITS},
        seccomp,
    },
    pod::spec::{
        IdMapping, Namespaces, PidMode, PodMetadata, PodSpec, SecurityProfile, Shared, UserMappings,
    },
};

mod confinement;
mod entry;
mod mounting;
mod namespaces;
mod process;

pub(crate) fn node() -> Node {
    Node {
        capabilities: CapSet::ALL.difference(CapSet::one("SYS_RESOURCE").unwrap()),
        lowest_oom_score_adj: 0,
        highest_rlimits: RLIMITS.iter().map(|(name, _)| (*name, 4096)).collect(),
        cgroup: CgroupVersion::V1,
        controllers: vec![],
        swap: true,
        hugepage_sizes: vec![],
        kernel: (6, 1),
        seccomp_actions: vec!["errno".into()],
        apparmor: false,
        selinux: false,
    }
}

pub(crate) fn pod() -> PodSpec {
    PodSpec {
        metadata: PodMetadata {
            name: "pod".into(),
            uid: "uid".into(),
            namespace: "default".into(),
            attempt: 0,
        },
        runtime_handler: String::new(),
        hostname: "host-a".into(),
        log_directory: None,
        dns: None,
        port_mappings: vec![],
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        cgroup_parent: String::new(),
        namespaces: Namespaces {
            network: Shared::Pod,
            ipc: Shared::Pod,
            pid: PidMode::Container,
            user: None,
        },
        sysctls: BTreeMap::new(),
        privileged: false,
        run_as_user: None,
        run_as_group: None,
        supplemental_groups: vec![],
        readonly_rootfs: false,
        seccomp: Seccomp::Unconfined,
        apparmor: SecurityProfile::RuntimeDefault,
        selinux: None,
        overhead: None,
        resources: None,
    }
}

pub(crate) fn container() -> ContainerSpec {
    ContainerSpec {
        metadata: ContainerMetadata {
            name: "main".into(),
            attempt: 0,
        },
        image: ImageRef::default(),
        command: vec!["/bin/true".into()],
        args: vec![],
        working_dir: String::new(),
        envs: vec![],
        mounts: vec![],
        devices: vec![],
        cdi_devices: vec![],
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log_path: None,
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: Resources::default(),
        security: Security {
            privileged: false,
            pid: PidMode::Container,
            users: Default::default(),
            capabilities: Capabilities::default(),
            user: RunAs::Image,
            supplemental_groups: vec![],
            supplemental_groups_policy: GroupsPolicy::Merge,
            readonly_rootfs: false,
            no_new_privs: false,
            masked_paths: vec![],
            readonly_paths: vec![],
            seccomp: Seccomp::Unconfined,
            apparmor: SecurityProfile::RuntimeDefault,
            selinux: None,
        },
        stop_signal: None,
    }
}

pub(crate) fn bind(to: &str, from: &str) -> ResolvedMount {
    ResolvedMount {
        mount: Mount {
            container_path: to.into(),
            source: MountSource::Host(from.into()),
            read_only: ReadOnly::No,
            selinux_relabel: false,
            propagation: Propagation::Private,
            uid_mappings: vec![],
            gid_mappings: vec![],
            options: vec![],
        },
        source: from.into(),
        is_directory: true,
        peers: Peers::default(),
        mounted_on: "/".into(),
    }
}

/// Everything an input borrows, to be changed by a test before it builds.
pub(crate) struct Case {
    pub(crate) id: Id,
    pub(crate) container: ContainerSpec,
    pub(crate) pod: PodSpec,
    pub(crate) image: ImageProcess,
    pub(crate) user: ResolvedUser,
    pub(crate) namespaces: NamespacePaths,
    pub(crate) files: SandboxFiles,
    pub(crate) rootfs: PathBuf,
    pub(crate) mounts: Vec<ResolvedMount>,
    pub(crate) devices: Vec<ResolvedDevice>,
    pub(crate) seccomp: seccomp::Filter,
    pub(crate) labels: Option<Labels>,
    pub(crate) cgroups_path: String,
    pub(crate) node: Node,
    pub(crate) features: Features,
    pub(crate) allowed: Vec<String>,
    pub(crate) defaults: Defaults,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self {
            id: Id::parse(&"cd".repeat(32)).unwrap(),
            container: container(),
            pod: pod(),
            image: ImageProcess::default(),
            user: ResolvedUser {
                groups: vec![0],
                ..ResolvedUser::default()
            },
            namespaces: NamespacePaths {
                network: Some("/run/ns/net".into()),
                ipc: Some("/run/ns/ipc".into()),
                uts: Some("/run/ns/uts".into()),
                pid: None,
                user: None,
            },
            files: SandboxFiles {
                hostname: Some("/run/s/hostname".into()),
                hosts: Some("/run/s/hosts".into()),
                resolv_conf: Some("/run/s/resolv.conf".into()),
                shm: Some("/run/s/shm".into()),
            },
            rootfs: "/run/c/rootfs".into(),
            mounts: vec![],
            devices: vec![],
            seccomp: seccomp::Filter::RuntimeDefault,
            labels: None,
            cgroups_path: "/corten/x".into(),
            node: node(),
            features: Features {
                recursive_read_only: true,
                ..Features::default()
            },
            allowed: vec![],
            defaults: Defaults::default(),
        }
    }

    pub(crate) fn build(&self) -> Result<Built, SpecError> {
        build(&SpecInput {
            id: &self.id,
            sandbox_id: &self.id,
            container: &self.container,
            pod: &self.pod,
            image: &self.image,
            user: &self.user,
            hostname: "host-a",
            namespaces: &self.namespaces,
            files: &self.files,
            rootfs: &self.rootfs,
            mounts: &self.mounts,
            devices: &self.devices,
            seccomp: &self.seccomp,
            labels: self.labels.as_ref(),
            cgroups_path: &self.cgroups_path,
            node: &self.node,
            features: &self.features,
            allowed_annotations: &self.allowed,
            defaults: &self.defaults,
        })
    }

    pub(crate) fn infra(&self) -> Result<Built, SpecError> {
        infra(&InfraInput {
            id: &self.id,
            pod: &self.pod,
            namespaces: &self.namespaces,
            rootfs: &self.rootfs,
            program: Path::new("/usr/bin/corten-conmon"),
            labels: self.labels.as_ref(),
            cgroups_path: &self.cgroups_path,
            seccomp: &self.seccomp,
            node: &self.node,
            features: &self.features,
            allowed_annotations: &self.allowed,
            defaults: &self.defaults,
        })
    }

    fn spec(&self) -> Spec {
        self.build().unwrap().spec
    }

    fn args(&self) -> Vec<String> {
        self.spec()
            .process()
            .clone()
            .unwrap()
            .args()
            .clone()
            .unwrap()
    }

    fn env(&self) -> Vec<String> {
        self.spec()
            .process()
            .clone()
            .unwrap()
            .env()
            .clone()
            .unwrap()
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn mount_at<'a>(spec: &'a Spec, path: &str) -> Option<&'a OciMount> {
    let mut at = spec.mounts().as_ref().unwrap().iter();
    at.rfind(|mount| mount.destination() == Path::new(path))
}

fn has_option(spec: &Spec, path: &str, option: &str) -> bool {
    let options = mount_at(spec, path).unwrap().options().as_ref().unwrap();
    options.iter().any(|o| o == option)
}

fn order(spec: &Spec) -> Vec<&str> {
    let mounts = spec.mounts().as_ref().unwrap().iter();
    mounts.map(|m| m.destination().to_str().unwrap()).collect()
}

fn namespaces(spec: &Spec) -> Vec<(Kind, Option<PathBuf>)> {
    let list = spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
    list.into_iter()
        .map(|n| (n.typ(), n.path().clone()))
        .collect()
}
