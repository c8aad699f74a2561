//! What a container may do, and what it is bounded by.

use super::*;

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
    assert_eq!(case.build(), Err(SpecError::NoApparmor("p".into())));
    case.node.apparmor = true;
    let process = case.spec().process().clone().unwrap();
    assert_eq!(process.apparmor_profile().as_deref(), Some("p"));
    assert_eq!(process.selinux_label(), &None);
    let label = |kind: &str| format!("system_u:x:{kind}:s0:c1,c2").parse().unwrap();
    case.labels = Some(Labels {
        process: label("container_t"),
        mount: label("container_file_t"),
    });
    for spec in [case.spec(), case.infra().unwrap().spec] {
        assert_eq!(
            spec.process().as_ref().unwrap().selinux_label().as_deref(),
            Some("system_u:x:container_t:s0:c1,c2")
        );
        assert_eq!(
            spec.linux().as_ref().unwrap().mount_label().as_deref(),
            Some("system_u:x:container_file_t:s0:c1,c2")
        );
    }
    // A privileged container is confined by no default, but by what was asked for.
    case.container.security.privileged = true;
    let profile = |case: &Case| {
        case.spec()
            .process()
            .clone()
            .unwrap()
            .apparmor_profile()
            .clone()
    };
    assert_eq!(profile(&case).as_deref(), Some("p"));
    case.defaults.apparmor_profile = Some("default".into());
    case.container.security.apparmor = SecurityProfile::RuntimeDefault;
    assert_eq!(profile(&case), None);
    case.container.security.privileged = false;
    assert_eq!(profile(&case).as_deref(), Some("default"));
    case.container.security.apparmor = SecurityProfile::Unconfined;
    assert_eq!(profile(&case).as_deref(), Some("unconfined"));
    case.defaults.apparmor_profile = None;
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
    case.allowed = texts(&["a.*", "io.kubernetes.cri.*"]);
    let all = case.spec().annotations().clone().unwrap();
    assert_eq!(all["a.b"], "own");
    assert_eq!(all["a.c"], "pod");
    assert!(!all.contains_key("x") && !all.contains_key("org.systemd.property.ExecStart"));
    assert_eq!(all["io.kubernetes.cri.sandbox-id"], case.id.as_str());
    assert_eq!(all["io.kubernetes.cri.container-type"], "container");
}
