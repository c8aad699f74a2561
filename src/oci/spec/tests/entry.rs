//! Processes told in full, or left to the runtime.

use oci_spec::runtime::{LinuxIntelRdt, LinuxPersonality, PosixRlimitBuilder, PosixRlimitType};

use super::*;
use crate::monitor::{Rlimit, Streams};

const PIPES: Streams = Streams::Pipes {
    stdin: false,
    keep: 0,
};

fn told(spec: &Spec, node: &Node) -> Result<crate::monitor::Run, Unfit> {
    let id = Id::parse(&"ab".repeat(32)).unwrap();
    let process = exec_process(spec, &texts(&["ls", "-l"]), false).unwrap();
    entry(&id, spec, process, node, PIPES)
}

#[test]
fn a_process_is_told_as_the_specification_has_it() {
    let mut case = Case::new();
    case.user = ResolvedUser {
        uid: 7,
        gid: 8,
        groups: vec![8, 9],
        home: Some("/home/seven".into()),
        ..ResolvedUser::default()
    };
    case.container.security.no_new_privs = true;
    case.container.working_dir = "/srv".into();
    let mut spec = case.spec();
    let limit = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(10u64)
        .hard(20u64)
        .build()
        .unwrap();
    let mut process = spec.process().clone().unwrap();
    process.set_rlimits(Some(vec![limit]));
    spec.set_process(Some(process));
    let run = told(&spec, &node()).unwrap();
    assert_eq!(run.args, ["ls", "-l"]);
    assert!(run.env.contains(&"HOME=/home/seven".into()));
    assert_eq!(run.cwd, Path::new("/srv"));
    assert_eq!((run.user.uid, run.user.gid), (7, 8));
    assert_eq!(run.user.groups, [8, 9]);
    assert!(run.no_new_privs);
    assert_eq!(
        run.rlimits,
        [Rlimit {
            resource: libc::RLIMIT_NOFILE,
            soft: 10,
            hard: 20
        }]
    );
    assert_eq!(run.keyring, format!("_ses.{}", "ab".repeat(32)).as_str());
    let caps = spec.process().as_ref().unwrap().capabilities();
    let bounding = caps.as_ref().unwrap().bounding().as_ref().unwrap();
    assert_eq!(
        run.capabilities.bounding.count_ones() as usize,
        bounding.len()
    );
    assert!(!bounding.is_empty() && run.capabilities.ambient == 0);
}

#[test]
fn what_is_not_known_here_is_left_to_the_runtime() {
    let spec = Case::new().spec();
    assert!(told(&spec, &node()).is_ok());
    let old = Node {
        kernel: (5, 8),
        ..node()
    };
    assert_eq!(told(&spec, &old), Err(Unfit::Kernel));

    let mut linux = spec.linux().clone().unwrap();
    linux.set_personality(Some(LinuxPersonality::default()));
    let mut personal = spec.clone();
    personal.set_linux(Some(linux));
    assert_eq!(
        told(&personal, &node()),
        Err(Unfit::Feature("an execution domain"))
    );

    let mut linux = spec.linux().clone().unwrap();
    linux.set_intel_rdt(Some(LinuxIntelRdt::default()));
    let mut classed = spec.clone();
    classed.set_linux(Some(linux));
    assert!(matches!(told(&classed, &node()), Err(Unfit::Feature(_))));

    let mut handled = spec.clone();
    let annotation = ("run.oci.handler".to_owned(), "krun".to_owned());
    handled.set_annotations(Some([annotation].into()));
    assert_eq!(
        told(&handled, &node()),
        Err(Unfit::Feature("a handler of its own"))
    );

    let mut bare = spec.clone();
    let mut process = spec.process().clone().unwrap();
    process.set_capabilities(None);
    bare.set_process(Some(process));
    assert_eq!(told(&bare, &node()), Err(Unfit::Value("its capabilities")));
}
