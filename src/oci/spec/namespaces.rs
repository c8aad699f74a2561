//! Which namespaces a container has of its own, joins, or leaves the host's.

use oci_spec::runtime::{
    LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType as Kind,
};

use super::{SpecError, SpecInput};
use crate::{
    id_map::is_mapped,
    oci::{node::CgroupVersion, user::ResolvedUser},
    pod::spec::{IdMapping, PidMode, UserMappings},
};

/// The namespaces of a container.
pub(super) fn namespaces(input: &SpecInput<'_>) -> Result<Vec<LinuxNamespace>, SpecError> {
    let paths = input.namespaces;
    let mut all = vec![namespace(Kind::Mount)];
    let joined = [
        (Kind::Network, &paths.network),
        (Kind::Ipc, &paths.ipc),
        (Kind::Uts, &paths.uts),
        (Kind::User, &paths.user),
    ];
    for (kind, path) in joined {
        if path.is_some() {
            let mut namespace = namespace(kind);
            namespace.set_path(path.clone());
            all.push(namespace);
        }
    }
    if input.pod.namespaces.user.is_some() {
        if !input.features.user_namespaces {
            return Err(SpecError::NoUserNamespaces);
        }
        if paths.user.is_none() {
            all.push(namespace(Kind::User));
        }
    }
    let shared_pid = |of| {
        let mut namespace = namespace(Kind::Pid);
        let path = paths.pid.clone().ok_or(SpecError::NoPidNamespace(of))?;
        namespace.set_path(Some(path));
        Ok(namespace)
    };
    match &input.container.security.pid {
        PidMode::Container => all.push(namespace(Kind::Pid)),
        PidMode::Node => {}
        PidMode::Pod => all.push(shared_pid("pod")?),
        PidMode::Target(_) => all.push(shared_pid("target container")?),
    }
    // A privileged container manages the host's cgroups; on v1 all see them anyway.
    if input.node.cgroup == CgroupVersion::V2 && !input.container.security.privileged {
        all.push(namespace(Kind::Cgroup));
    }
    Ok(all)
}

pub(super) fn namespace(kind: Kind) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind);
    namespace
}

/// ID mappings as the runtime specification has them.
pub(super) fn mappings(list: &[IdMapping]) -> Vec<LinuxIdMapping> {
    list.iter()
        .map(|one| {
            // Building cannot fail: every field has a default.
            LinuxIdMappingBuilder::default()
                .container_id(one.container_id)
                .host_id(one.host_id)
                .size(one.length)
                .build()
                .unwrap_or_default()
        })
        .collect()
}

/// A process cannot become who does not exist.
pub(super) fn check_mapped(user: &ResolvedUser, mappings: &UserMappings) -> Result<(), SpecError> {
    if !is_mapped(user.uid, &mappings.uids) {
        return Err(SpecError::NotMapped {
            kind: "user",
            id: user.uid,
        });
    }
    let groups = std::iter::once(&user.gid).chain(&user.groups);
    match groups.copied().find(|gid| !is_mapped(*gid, &mappings.gids)) {
        None => Ok(()),
        Some(id) => Err(SpecError::NotMapped { kind: "group", id }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_who_exists() {
        let list = [IdMapping {
            host_id: 100_000,
            container_id: 10,
            length: 5,
        }];
        let mappings = UserMappings {
            uids: list.to_vec(),
            gids: list.to_vec(),
        };
        let user = |uid, gid, groups: &[u32]| ResolvedUser {
            uid,
            gid,
            groups: groups.to_vec(),
            ..ResolvedUser::default()
        };
        assert!(check_mapped(&user(10, 11, &[12]), &mappings).is_ok());
        let error = check_mapped(&user(10, 11, &[12, 99]), &mappings).unwrap_err();
        assert_eq!(
            error.to_string(),
            "group 99 is not mapped in the pod's user namespace"
        );
    }
}
