//! Command lines, environment, and the processes beside the first.

use proptest::prelude::*;

use super::*;

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
