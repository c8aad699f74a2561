//! Namespaces and ID mappings.

use super::*;

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
