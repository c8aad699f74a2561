//! Facts about whole specifications.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use oci_spec::runtime::{LinuxNamespaceType as Kind, Mount as OciMount};
use proptest::prelude::*;

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

#[test]
fn command_lines_as_kubernetes_documents_them() {
    let mut case = Case::new();
    case.image.entrypoint = texts(&["/ep", "-e"]);
    case.image.cmd = texts(&["cmd"]);
    for (command, args, expected) in [
        (vec![], vec![], vec!["/ep", "-e", "cmd"]),
        (vec!["/c"], vec![], vec!["/c"]),
        (vec![], vec!["a"], vec!["/ep", "-e", "a"]),
        (vec!["/c"], vec!["a"], vec!["/c", "a"]),
    ] {
        case.container.command = texts(&command);
        case.container.args = texts(&args);
        assert_eq!(case.args(), expected);
    }
    case.container.command.clear();
    case.container.args.clear();
    case.image = ImageProcess::default();
    assert_eq!(case.build(), Err(SpecError::NothingToRun));
    case.container.command = texts(&[""]);
    assert_eq!(case.build(), Err(SpecError::EmptyCommand));
    case.container.command = texts(&["a\0b"]);
    assert!(matches!(case.build(), Err(SpecError::Nul { .. })));
}

#[test]
fn the_environment_grows_from_defaults_to_request() {
    let mut case = Case::new();
    case.defaults.env = vec![("D".into(), "default".into()), ("A".into(), "0".into())];
    case.image.env = texts(&["A=1", "B=1", "HOSTNAME=image", "PATH=/img"]);
    case.container.envs = vec![("B".into(), "2".into()), ("C".into(), "3".into())];
    case.user.home = Some("/root".into());
    case.container.tty = true;
    assert_eq!(
        case.env(),
        texts(&[
            "D=default",
            "A=1",
            "B=2",
            "HOSTNAME=host-a",
            "PATH=/img",
            "C=3",
            "TERM=xterm",
            "HOME=/root"
        ])
    );
    case.container.envs = vec![("A=".into(), "x".into())];
    assert_eq!(case.build(), Err(SpecError::EnvName("A=".into())));
}

#[test]
fn namespaces_are_joined_made_or_left() {
    let mut case = Case::new();
    let spec = case.spec();
    let all = namespaces(&spec);
    assert!(all.contains(&(Kind::Network, Some("/run/ns/net".into()))));
    assert!(all.contains(&(Kind::Pid, None)) && all.contains(&(Kind::Mount, None)));
    assert!(!all.iter().any(|(kind, _)| *kind == Kind::Cgroup));
    assert_eq!(spec.hostname(), &None);

    case.namespaces.network = None;
    case.container.security.pid = PidMode::Node;
    case.node.cgroup = CgroupVersion::V2;
    let all = namespaces(&case.spec());
    assert!(
        !all.iter()
            .any(|(kind, _)| matches!(kind, Kind::Network | Kind::Pid))
    );
    assert!(all.contains(&(Kind::Cgroup, None)));

    case.container.security.pid = PidMode::Target("x".into());
    assert_eq!(
        case.build(),
        Err(SpecError::NoPidNamespace("target container"))
    );
    case.namespaces.pid = Some("/proc/7/ns/pid".into());
    let all = namespaces(&case.spec());
    assert!(all.contains(&(Kind::Pid, Some("/proc/7/ns/pid".into()))));

    case.container.security.privileged = true;
    assert!(!namespaces(&case.spec()).contains(&(Kind::Cgroup, None)));
}

#[test]
fn a_user_namespace_brings_its_mappings() {
    let mut case = Case::new();
    let map = vec![IdMapping {
        host_id: 100_000,
        container_id: 0,
        length: 65_536,
    }];
    case.pod.namespaces.user = Some(UserMappings {
        uids: map.clone(),
        gids: map,
    });
    case.namespaces.user = Some("/run/ns/user".into());
    let spec = case.spec();
    assert!(namespaces(&spec).contains(&(Kind::User, Some("/run/ns/user".into()))));
    assert_eq!(
        spec.linux()
            .as_ref()
            .unwrap()
            .uid_mappings()
            .as_ref()
            .unwrap()[0]
            .size(),
        65_536
    );
    case.user.uid = 70_000;
    assert_eq!(
        case.build(),
        Err(SpecError::NotMapped {
            kind: "user",
            id: 70_000
        })
    );
    case.features.user_namespaces = false;
    case.user.uid = 0;
    assert_eq!(case.build(), Err(SpecError::NoUserNamespaces));
}

#[test]
fn privileged_is_the_host_bounded_by_the_node() {
    let mut case = Case::new();
    case.container.security.masked_paths = texts(&["/proc/kcore"]);
    case.container.security.readonly_paths = texts(&["/proc/sys"]);
    let spec = case.spec();
    let linux = spec.linux().clone().unwrap();
    assert!(linux.seccomp().is_some());
    assert_eq!(linux.masked_paths(), &Some(texts(&["/proc/kcore"])));
    assert!(has_option(&spec, "/sys", "ro") && has_option(&spec, "/sys/fs/cgroup", "ro"));

    case.container.security.privileged = true;
    case.container.security.capabilities.drop = texts(&["ALL"]);
    let built = case.build().unwrap();
    let linux = built.spec.linux().clone().unwrap();
    assert!(linux.seccomp().is_none());
    assert_eq!(linux.masked_paths(), &Some(vec![]));
    assert_eq!(linux.readonly_paths(), &Some(vec![]));
    assert!(has_option(&built.spec, "/sys", "rw"));
    assert!(has_option(&built.spec, "/sys/fs/cgroup", "rw"));
    let process = built.spec.process().clone().unwrap();
    let bounding = process
        .capabilities()
        .clone()
        .unwrap()
        .bounding()
        .clone()
        .unwrap();
    assert_eq!(bounding, case.node.capabilities.to_oci());
    assert!(built.clamped.is_empty());
    let rules = linux
        .resources()
        .clone()
        .unwrap()
        .devices()
        .clone()
        .unwrap();
    assert!(rules.len() == 1 && rules[0].allow());
}

#[test]
fn masked_paths_are_just_those_asked_for() {
    let mut case = Case::new();
    let masked = |case: &Case| case.spec().linux().clone().unwrap().masked_paths().clone();
    assert_eq!(masked(&case), Some(vec![]));
    case.container.security.masked_paths = texts(&["/bin/ls"]);
    assert_eq!(masked(&case), Some(texts(&["/bin/ls"])));
    case.container.security.masked_paths = texts(&["bin/ls"]);
    assert!(matches!(
        case.build(),
        Err(SpecError::Path {
            field: "masked_paths",
            ..
        })
    ));
}

#[test]
fn the_sandbox_gives_its_files() {
    let mut case = Case::new();
    let spec = case.spec();
    assert_eq!(
        mount_at(&spec, "/etc/hosts").unwrap().source().as_deref(),
        Some(Path::new("/run/s/hosts"))
    );
    assert!(has_option(&spec, "/etc/hosts", "rw"));
    assert_eq!(
        mount_at(&spec, "/dev/shm").unwrap().source().as_deref(),
        Some(Path::new("/run/s/shm"))
    );
    case.container.security.readonly_rootfs = true;
    assert!(has_option(&case.spec(), "/etc/resolv.conf", "ro"));
    case.mounts = vec![bind("/etc/hosts", "/kubelet/hosts")];
    let spec = case.spec();
    assert_eq!(
        order(&spec).iter().filter(|p| **p == "/etc/hosts").count(),
        1
    );
    assert_eq!(
        mount_at(&spec, "/etc/hosts").unwrap().source().as_deref(),
        Some(Path::new("/kubelet/hosts"))
    );
    case.pod.namespaces.ipc = Shared::Node;
    assert_eq!(
        mount_at(&case.spec(), "/dev/shm")
            .unwrap()
            .source()
            .as_deref(),
        Some(Path::new("/dev/shm"))
    );
}

#[test]
fn mounts_come_shallow_first_and_replace_defaults() {
    let mut case = Case::new();
    case.mounts = vec![
        bind("/a/b/c", "/h1"),
        bind("/a", "/h2"),
        bind("/a/b", "/h3"),
        bind("/dev", "/h4"),
        bind("//dev/./shm/", "/h5"),
    ];
    let spec = case.spec();
    let order = order(&spec);
    let at = |path| order.iter().position(|p| *p == path).unwrap();
    assert!(at("/a") < at("/a/b") && at("/a/b") < at("/a/b/c"));
    assert!(at("/dev") < at("/dev/shm"));
    // The request's own directory brings no terminals or queues of ours.
    assert!(!order.contains(&"/dev/pts") && !order.contains(&"/dev/mqueue"));
    assert_eq!(
        mount_at(&spec, "/dev/shm").unwrap().source().as_deref(),
        Some(Path::new("/h5"))
    );
    assert_eq!(order[0], "/proc");
}

#[test]
fn mount_options() {
    let mut case = Case::new();
    let mut ask = |change: &dyn Fn(&mut ResolvedMount)| {
        let mut mount = bind("/m", "/h");
        change(&mut mount);
        case.mounts = vec![mount];
        case.build().map(|built| {
            let linux = built.spec.linux().clone().unwrap();
            let options = mount_at(&built.spec, "/m")
                .unwrap()
                .options()
                .clone()
                .unwrap();
            (options.join(","), linux.rootfs_propagation().clone())
        })
    };
    assert_eq!(ask(&|_| {}), Ok(("rbind,rprivate,rw".into(), None)));
    assert_eq!(
        ask(&|m| m.mount.read_only = ReadOnly::Mount),
        Ok(("rbind,rprivate,ro".into(), None))
    );
    assert_eq!(
        ask(&|m| m.mount.read_only = ReadOnly::Recursive),
        Ok(("rbind,rprivate,rro".into(), None))
    );
    assert_eq!(
        ask(&|m| m.mount.propagation = Propagation::HostToContainer),
        Ok(("rbind,rslave,rw".into(), Some("rslave".into())))
    );
    assert_eq!(
        ask(&|m| m.mount.propagation = Propagation::Bidirectional),
        Ok(("rbind,rshared,rw".into(), Some("rshared".into())))
    );
    assert_eq!(
        ask(&|m| m.mount.options = texts(&["noexec", "nosuid"])),
        Ok(("rbind,rprivate,rw,noexec,nosuid".into(), None))
    );
    assert_eq!(
        ask(&|m| {
            m.mount.read_only = ReadOnly::Recursive;
            m.mount.propagation = Propagation::HostToContainer;
        }),
        Err(SpecError::RecursivePropagation("/m".into()))
    );
    for bad in ["rw", "rshared", "uid=0", "mode=777", "", "remount"] {
        assert!(
            matches!(
                ask(&|m| m.mount.options = texts(&[bad])),
                Err(SpecError::MountOption { .. })
            ),
            "{bad}"
        );
    }
    let map = IdMapping {
        host_id: 0,
        container_id: 0,
        length: 1,
    };
    assert_eq!(
        ask(&|m| m.mount.uid_mappings = vec![map]),
        Err(SpecError::NoIdMappedMounts("/m".into()))
    );
    assert_eq!(
        ask(&|m| m.mount.container_path = "/".into()),
        Err(SpecError::MountOnRoot("/".into()))
    );
    for bad in ["m", "/../m", ""] {
        assert!(matches!(
            ask(&|m| m.mount.container_path = bad.into()),
            Err(SpecError::Path { .. })
        ));
    }
    case.features.recursive_read_only = false;
    let mut mount = bind("/m", "/h");
    mount.mount.read_only = ReadOnly::Recursive;
    case.mounts = vec![mount];
    assert_eq!(
        case.build().unwrap_err().to_string(),
        "recursive read-only mount on \"/m\" is not supported by the runtime"
    );
}

#[test]
fn limits_are_bounded_and_told() {
    let mut case = Case::new();
    case.container.resources.oom_score_adj = Some(-998);
    case.defaults.rlimits = vec![
        (
            "nofile".into(),
            Limit {
                soft: 1024,
                hard: 1_000_000,
            },
        ),
        ("RLIMIT_CORE".into(), Limit { soft: 0, hard: 0 }),
    ];
    case.defaults.pids_limit = Some(100);
    let built = case.build().unwrap();
    let process = built.spec.process().clone().unwrap();
    assert_eq!(process.oom_score_adj(), Some(0));
    let limits = process.rlimits().clone().unwrap();
    assert_eq!((limits[0].soft(), limits[0].hard()), (1024, 4096));
    assert_eq!(built.clamped.len(), 2);
    let resources = built
        .spec
        .linux()
        .clone()
        .unwrap()
        .resources()
        .clone()
        .unwrap();
    assert_eq!(resources.pids().unwrap().limit(), 100);
    case.defaults.rlimits = vec![("what".into(), Limit { soft: 0, hard: 0 })];
    assert_eq!(case.build(), Err(SpecError::Rlimit("what".into())));
}

#[test]
fn security_modules_are_used_where_they_are() {
    let mut case = Case::new();
    case.container.security.apparmor = SecurityProfile::Localhost("p".into());
    case.container.security.selinux = Some(SelinuxLabel {
        level: "s0:c1,c2".into(),
        ..SelinuxLabel::default()
    });
    assert_eq!(case.build(), Err(SpecError::NoApparmor("p".into())));
    case.node.apparmor = true;
    let process = case.spec().process().clone().unwrap();
    assert_eq!(process.apparmor_profile().as_deref(), Some("p"));
    assert_eq!(process.selinux_label(), &None);
    case.node.selinux = true;
    let spec = case.spec();
    assert_eq!(
        spec.process().as_ref().unwrap().selinux_label().as_deref(),
        Some("system_u:system_r:container_t:s0:c1,c2")
    );
    assert_eq!(
        spec.linux().as_ref().unwrap().mount_label().as_deref(),
        Some("system_u:object_r:container_file_t:s0:c1,c2")
    );
    case.container.security.apparmor = SecurityProfile::RuntimeDefault;
    assert_eq!(
        case.spec().process().as_ref().unwrap().apparmor_profile(),
        &None
    );
}

#[test]
fn without_filters_only_a_file_is_missed() {
    let mut case = Case::new();
    case.node.seccomp_actions.clear();
    let built = case.build().unwrap();
    assert!(built.spec.linux().as_ref().unwrap().seccomp().is_none());
    assert_eq!(built.clamped, [Clamped::Seccomp]);
    let profile = seccomp::Profile::parse(br#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
    case.seccomp = seccomp::Filter::Profile(Box::new(profile));
    assert_eq!(case.build(), Err(SpecError::NoSeccomp));
}

#[test]
fn annotations_pass_where_allowed() {
    let mut case = Case::new();
    let given = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    case.pod.annotations = [given("a.b", "pod"), given("a.c", "pod"), given("x", "1")].into();
    case.container.annotations = [
        given("a.b", "own"),
        given("io.kubernetes.cri.sandbox-id", "forged"),
        given("org.systemd.property.ExecStart", "x"),
    ]
    .into();
    case.allowed = texts(&["a.", "io.kubernetes.cri."]);
    let all = case.spec().annotations().clone().unwrap();
    assert_eq!(all["a.b"], "own");
    assert_eq!(all["a.c"], "pod");
    assert!(!all.contains_key("x") && !all.contains_key("org.systemd.property.ExecStart"));
    assert_eq!(all["io.kubernetes.cri.sandbox-id"], case.id.as_str());
    assert_eq!(all["io.kubernetes.cri.container-type"], "container");
}

#[test]
fn an_exec_is_the_container_with_another_command() {
    let mut case = Case::new();
    case.user = ResolvedUser {
        uid: 7,
        gid: 8,
        groups: vec![8, 9],
        ..ResolvedUser::default()
    };
    case.container.security.no_new_privs = true;
    case.container.working_dir = "/srv".into();
    let spec = case.spec();
    let process = exec_process(&spec, &texts(&["/bin/ls", "-l"]), true).unwrap();
    assert_eq!(process.args(), &Some(texts(&["/bin/ls", "-l"])));
    assert_eq!(process.terminal(), Some(true));
    assert!(
        process
            .env()
            .as_ref()
            .unwrap()
            .contains(&"TERM=xterm".to_owned())
    );
    let own = spec.process().as_ref().unwrap();
    assert_eq!(process.user(), own.user());
    assert_eq!(process.cwd(), own.cwd());
    assert_eq!(process.capabilities(), own.capabilities());
    assert_eq!(process.no_new_privileges(), Some(true));
    assert_eq!(
        exec_process(&spec, &[], false),
        Err(SpecError::NothingToRun)
    );
}

#[test]
fn the_pause_process_has_nothing() {
    let mut case = Case::new();
    case.pod.run_as_user = Some(65_535);
    let built = case.infra().unwrap();
    let process = built.spec.process().clone().unwrap();
    assert_eq!(process.args(), &Some(texts(&["/pause", "--pause"])));
    assert_eq!(process.user().uid(), 65_535);
    assert_eq!(process.no_new_privileges(), Some(true));
    let capabilities = process.capabilities().clone().unwrap();
    assert!(capabilities.bounding().as_ref().unwrap().is_empty());
    assert!(namespaces(&built.spec).contains(&(Kind::Pid, None)));
    assert!(namespaces(&built.spec).contains(&(Kind::Ipc, Some("/run/ns/ipc".into()))));
    assert_eq!(built.spec.root().as_ref().unwrap().readonly(), Some(true));
    assert_eq!(built.clamped.len(), 1);
    assert_eq!(
        built.spec.annotations().as_ref().unwrap()["io.kubernetes.cri.container-type"],
        "sandbox"
    );
    case.pod.run_as_user = Some(i64::from(u32::MAX));
    assert!(matches!(
        case.infra(),
        Err(SpecError::Limit {
            field: "run_as_user",
            ..
        })
    ));
}

proptest! {
    #[test]
    fn mounts_are_absolute_and_ordered(paths in proptest::collection::vec("(/[a-c]{1,2}){1,4}", 0..8)) {
        let mut case = Case::new();
        case.mounts = paths.iter().map(|path| bind(path, "/h")).collect();
        let spec = case.spec();
        let order = order(&spec);
        for (at, path) in order.iter().enumerate() {
            prop_assert!(path.starts_with('/'));
            // Nothing that comes later hides what came before.
            for earlier in &order[..at] {
                prop_assert!(earlier == path || !Path::new(earlier).starts_with(path));
            }
        }
        for path in &paths {
            prop_assert!(order.contains(&path.as_str()));
        }
    }

    #[test]
    fn a_specification_is_plain_json(command in proptest::collection::vec(".{0,10}", 0..3), envs: Vec<(String, String)>, dir in ".{0,10}") {
        let mut case = Case::new();
        case.container.command = command;
        case.container.envs = envs;
        case.container.working_dir = dir;
        if let Ok(built) = case.build() {
            let json = serde_json::to_vec(&built.spec).unwrap();
            let again: Spec = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(again, built.spec);
        }
    }
}
