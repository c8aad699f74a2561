//! What runtimes say when something is wrong.

use super::Bench;
use crate::oci::{
    message::{Meaning, meaning},
    run::RuntimeError,
};

#[tokio::test]
async fn a_missing_command_is_told_whole() {
    let (bench, mut case) = Bench::new().await;
    case.container.command = vec!["/bin/not-there".into()];
    let message = bench.create(&case.build().unwrap().spec).unwrap_err();
    assert!(message.contains("exec: \"/bin/not-there\""), "{message}");
    assert_eq!(meaning(&message), Meaning::NoCommand, "{message}");
}

#[tokio::test]
async fn a_version_too_new_is_not_written() {
    for runtime in ["runc", "crun"] {
        let (bench, case) = Bench::with(runtime).await;
        let mut spec = case.build().unwrap().spec;
        if let Err(message) = bench.create(&spec) {
            assert!(!message.contains("version"), "{runtime}: {message}");
        }
        bench.handler.delete(&bench.id).await.unwrap();
        if runtime == "crun" {
            spec.set_version("9.9.9".into());
            let message = bench.create(&spec).unwrap_err();
            assert!(message.contains("version"), "{message}");
        }
    }
}

#[tokio::test]
async fn crun_takes_the_same_commands() {
    let (bench, mut case) = Bench::with("crun").await;
    let (handler, id) = (&bench.handler, &bench.id);
    for error in [handler.state(id).await.map(drop), handler.start(id).await] {
        let error = error.unwrap_err();
        assert!(matches!(error, RuntimeError::NoContainer { .. }), "{error}");
    }
    handler.delete(id).await.unwrap();
    // It refuses some layouts of cgroups that others take; then it says so.
    case.container.command = vec!["/bin/sleep".into(), "1000".into()];
    match bench.create(&case.build().unwrap().spec) {
        Ok(_) => assert_eq!(handler.state(id).await.unwrap().status, "created"),
        Err(message) => assert!(message.contains("cgroup"), "{message}"),
    }
}

#[tokio::test]
async fn what_a_killed_runtime_left_is_removed() {
    let (bench, _) = Bench::new().await;
    let dir = bench.path("state").join(bench.id.as_str());
    std::fs::create_dir_all(&dir).unwrap();
    let copy = dir.join("runc.kB1vuL");
    std::fs::write(&copy, "").unwrap();
    let bound = std::process::Command::new("mount")
        .args(["--bind", "/bin/busybox"])
        .arg(&copy)
        .status();
    assert!(bound.unwrap().success());
    bench.handler.delete(&bench.id).await.unwrap();
    assert!(!dir.exists());
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(bench.id.as_str()), "{table}");
    bench.handler.delete(&bench.id).await.unwrap();
}
