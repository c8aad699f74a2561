//! The resident first process of a pod whose containers share their processes.

use std::path::Path;

use oci_spec::runtime::{
    LinuxCapabilities, LinuxNamespaceType as Kind, Mount, Process, Root, Spec,
};

use super::{
    Built, Defaults, NamespacePaths, SpecError, apparmor, bounded, devices, empty_linux, filter,
    mounts::kernel_basics,
    namespaces::{check_mapped, mappings, namespace},
    pod_annotations, process,
};
use crate::{
    id::Id,
    lsm::selinux::Labels,
    oci::{
        annotations,
        capability::CapSet,
        features::Features,
        node::{CgroupVersion, Node},
        seccomp::Filter,
        user::ResolvedUser,
    },
    pod::spec::PodSpec,
};

/// Where the program is within its otherwise empty root.
const PROGRAM: &str = "/pause";

/// It goes last of all when memory is short, for its end would be that of the pod.
const OOM_SCORE_ADJ: i64 = -998;

/// All that its specification is made of.
#[derive(Debug, Clone, Copy)]
pub struct InfraInput<'a> {
    /// Its container, which is the sandbox.
    pub id: &'a Id,
    /// The sandbox as asked for.
    pub pod: &'a PodSpec,
    /// Namespaces to join; it makes the one of processes.
    pub namespaces: &'a NamespacePaths,
    /// An empty directory.
    pub rootfs: &'a Path,
    /// The static program to run, on the host.
    pub program: &'a Path,
    /// SELinux labels, where it gets any.
    pub labels: Option<&'a Labels>,
    /// `linux.cgroupsPath`.
    pub cgroups_path: &'a str,
    /// System call filter.
    pub seccomp: &'a Filter,
    /// The node.
    pub node: &'a Node,
    /// What the runtime can do.
    pub features: &'a Features,
    /// Annotations that reach the runtime.
    pub allowed_annotations: &'a [String],
    /// As configured.
    pub defaults: &'a Defaults,
}

/// Builds its specification. It has no capabilities, can gain none, and writes nothing.
pub fn infra(input: &InfraInput<'_>) -> Result<Built, SpecError> {
    let mut clamped = Vec::new();
    let user = user(input.pod)?;
    if let Some(mappings) = &input.pod.namespaces.user {
        if !input.features.user_namespaces {
            return Err(SpecError::NoUserNamespaces);
        }
        check_mapped(&user, mappings)?;
    }

    let none = Some(CapSet::EMPTY.to_oci());
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(none.clone())
        .set_effective(none.clone())
        .set_permitted(none.clone())
        .set_inheritable(none.clone())
        .set_ambient(none);

    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_user(process::user(&user))
        .set_args(Some(vec![PROGRAM.to_owned(), "--pause".to_owned()]))
        .set_env(Some(Vec::new()))
        .set_cwd("/".into())
        .set_capabilities(Some(capabilities))
        .set_no_new_privileges(Some(true))
        .set_selinux_label(input.labels.map(|labels| labels.process.to_string()))
        .set_apparmor_profile(apparmor(
            &input.pod.apparmor,
            false,
            input.node,
            input.defaults,
        )?);
    bounded(
        &mut process,
        Some(OOM_SCORE_ADJ),
        &[],
        input.node,
        &mut clamped,
    )?;

    let mut program = Mount::default();
    program
        .set_destination(PROGRAM.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(input.program.to_owned()))
        .set_options(Some(
            ["bind", "rprivate", "ro", "nosuid", "nodev"]
                .map(str::to_owned)
                .to_vec(),
        ));
    let mut mounts = kernel_basics(false);
    mounts.retain(|mount| mount.destination() != Path::new("/dev/pts"));
    mounts.push(program);

    let mut limits = oci_spec::runtime::LinuxResources::default();
    limits.set_devices(Some(devices::rules(&[], false)));
    let mut linux = empty_linux();
    linux
        .set_namespaces(Some(namespaces(input)))
        .set_cgroups_path(Some(input.cgroups_path.into()))
        .set_mount_label(input.labels.map(|labels| labels.mount.to_string()))
        .set_resources(Some(limits))
        .set_seccomp(filter(
            input.seccomp,
            CapSet::EMPTY,
            input.node,
            input.features,
            &mut clamped,
        )?);
    if let Some(user) = &input.pod.namespaces.user {
        linux
            .set_uid_mappings(Some(mappings(&user.uids)))
            .set_gid_mappings(Some(mappings(&user.gids)));
    }

    let mut all_annotations: std::collections::HashMap<_, _> =
        annotations::filter(input.allowed_annotations, &input.pod.annotations)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
    all_annotations.extend(pod_annotations(input.id, input.pod, "sandbox"));

    let mut root = Root::default();
    root.set_path(input.rootfs.to_owned())
        .set_readonly(Some(true));
    let mut spec = Spec::default();
    spec.set_version(input.features.oci_version.clone())
        .set_root(Some(root))
        .set_process(Some(process))
        .set_mounts(Some(mounts))
        .set_hostname(None)
        .set_annotations(Some(all_annotations))
        .set_linux(Some(linux));
    Ok(Built { spec, clamped })
}

fn namespaces(input: &InfraInput<'_>) -> Vec<oci_spec::runtime::LinuxNamespace> {
    let paths = input.namespaces;
    let mut all = vec![namespace(Kind::Mount), namespace(Kind::Pid)];
    for (kind, path) in [
        (Kind::Network, &paths.network),
        (Kind::Ipc, &paths.ipc),
        (Kind::Uts, &paths.uts),
        (Kind::User, &paths.user),
    ] {
        if path.is_some() {
            let mut namespace = namespace(kind);
            namespace.set_path(path.clone());
            all.push(namespace);
        }
    }
    if input.pod.namespaces.user.is_some() && paths.user.is_none() {
        all.push(namespace(Kind::User));
    }
    if input.node.cgroup == CgroupVersion::V2 {
        all.push(namespace(Kind::Cgroup));
    }
    all
}

/// Numbers alone: there is no image to look names up in.
fn user(pod: &PodSpec) -> Result<ResolvedUser, SpecError> {
    let id = |field, value: i64| {
        u32::try_from(value)
            .ok()
            .filter(|id| *id <= crate::oci::user::passwd::MAX_ID)
            .ok_or(SpecError::Limit {
                field,
                value,
                why: "IDs go from 0 to 2147483647",
            })
    };
    let gid = id("run_as_group", pod.run_as_group.unwrap_or(0))?;
    let mut groups = vec![gid];
    for group in &pod.supplemental_groups {
        groups.push(id("supplemental_groups", *group)?);
    }
    groups.dedup();
    Ok(ResolvedUser {
        uid: id("run_as_user", pod.run_as_user.unwrap_or(0))?,
        gid,
        groups,
        name: None,
        home: None,
    })
}
