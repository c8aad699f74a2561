//! Commands on a container, from created to gone.

use super::{Bench, wait};
use crate::{oci::run::RuntimeError, pod::spec::PidMode};

#[tokio::test]
async fn created_running_paused_stopped_gone() {
    let (bench, mut case) = Bench::new().await;
    let (handler, id) = (&bench.handler, &bench.id);
    case.container.command = vec!["/bin/sleep".into(), "1000".into()];
    let spec = case.build().unwrap().spec;
    let pid = bench.create(&spec).unwrap();
    assert_eq!(handler.state(id).await.unwrap().status, "created");
    handler.start(id).await.unwrap();
    let state = handler.state(id).await.unwrap();
    assert_eq!(
        (state.status.as_str(), state.id.as_str()),
        ("running", id.as_str())
    );
    assert!(state.pid > 0);
    handler.pause(id).await.unwrap();
    assert_eq!(handler.state(id).await.unwrap().status, "paused");
    handler.resume(id).await.unwrap();
    assert_eq!(handler.state(id).await.unwrap().status, "running");
    handler.kill(id, libc::SIGKILL).await.unwrap();
    wait(&pid);
    assert_eq!(handler.state(id).await.unwrap().status, "stopped");
    let error = handler.kill(id, libc::SIGTERM).await.unwrap_err();
    assert!(matches!(error, RuntimeError::NotRunning { .. }), "{error}");
    handler.delete(id).await.unwrap();
    handler.delete(id).await.unwrap();
    for error in [
        handler.state(id).await.map(drop),
        handler.start(id).await,
        handler.kill(id, libc::SIGTERM).await,
        handler.pause(id).await,
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, RuntimeError::NoContainer { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_exec_is_who_the_container_is() {
    let (bench, mut case) = Bench::new().await;
    case.user.uid = 1000;
    case.user.gid = 1001;
    case.user.groups = vec![1001, 9];
    case.container.working_dir = "/tmp".into();
    case.container.envs = vec![("A".into(), "b c".into())];
    let spec = bench.sleeping(&mut case).await;
    let out = bench.exec(
        &spec,
        "id -u; id -g; pwd; echo $A; grep Seccomp: /proc/self/status",
    );
    assert_eq!(out, "1000\n1001\n/tmp\nb c\nSeccomp:\t2\n");
}

#[tokio::test]
async fn a_process_namespace_is_shared_by_path() {
    let (first, mut case) = Bench::new().await;
    first.sleeping(&mut case).await;
    let pid = first.handler.state(&first.id).await.unwrap().pid;

    let (second, mut case) = Bench::new().await;
    case.container.security.pid = PidMode::Target(first.id.to_string());
    case.namespaces.pid = Some(format!("/proc/{pid}/ns/pid").into());
    let out = second.run_script(&mut case, "cat /proc/1/cmdline").await;
    assert!(out.starts_with("/bin/sleep\0"), "{out}");
}

#[tokio::test]
async fn the_pause_program_runs_with_nothing() {
    let (bench, mut case) = Bench::new().await;
    case.rootfs = bench.path("empty");
    std::fs::create_dir(&case.rootfs).unwrap();
    let mut built = case.infra().unwrap();
    // Any static program will do: this one says that it cannot pause.
    for mount in built.spec.mounts_mut().as_mut().unwrap() {
        if mount.destination().ends_with("pause") {
            mount.set_source(Some("/bin/busybox".into()));
        }
    }
    let pid = bench.create(&built.spec).unwrap();
    bench.handler.start(&bench.id).await.unwrap();
    wait(&pid);
    assert_eq!(bench.output(), "pause: applet not found\n");
}
