//! Limits that change.

use corten::cri::api::{
    HugepageLimit, LinuxContainerResources, UpdateContainerResourcesRequest,
    UpdatePodSandboxResourcesRequest, WindowsContainerResources,
};
use tonic::{Code, Status};

use super::resources::limit;
use crate::support::{
    Node, container, linux, node, pod, pod_linux, run, runtime, runtime_program, shell, until,
};

fn memory(bytes: i64) -> LinuxContainerResources {
    LinuxContainerResources {
        memory_limit_in_bytes: bytes,
        ..Default::default()
    }
}

async fn update(node: &Node, id: &str, limits: LinuxContainerResources) -> Result<(), Status> {
    let request = UpdateContainerResourcesRequest {
        container_id: id.to_owned(),
        linux: Some(limits),
        ..Default::default()
    };
    let reply = node.runtime().update_container_resources(request).await;
    reply.map(drop)
}

/// The limits as the status tells them.
async fn told(node: &Node, id: &str) -> LinuxContainerResources {
    node.status(id).await.resources.unwrap().linux.unwrap()
}

fn v1() -> bool {
    std::path::Path::new("/sys/fs/cgroup/memory").exists()
}

#[tokio::test]
async fn every_state_takes_new_limits_and_keeps_them() {
    node(async |node| {
        let (config, pod, running) = node.idle("states").await;
        let created = node
            .create(&pod, &config, &container("created", &["sleep", "1000000"]))
            .await;
        let exited = node
            .launch(&pod, &config, &container("exited", &["true"]))
            .await;
        node.exit(&exited).await;
        for (n, id) in [&created, &running, &exited].into_iter().enumerate() {
            let limits = LinuxContainerResources {
                cpu_shares: 300 + n as i64,
                cpu_quota: 40_000,
                cpu_period: 80_000,
                ..memory(64 << 20)
            };
            update(node, id, limits.clone()).await.unwrap();
            assert_eq!(told(node, id).await, limits);
            // What is not given stays.
            update(node, id, memory(65 << 20)).await.unwrap();
            let expected = LinuxContainerResources {
                memory_limit_in_bytes: 65 << 20,
                ..limits
            };
            assert_eq!(told(node, id).await, expected);
        }
        let before = [
            told(node, &created).await,
            told(node, &running).await,
            told(node, &exited).await,
        ];
        node.restart().await;
        let after = [
            told(node, &created).await,
            told(node, &running).await,
            told(node, &exited).await,
        ];
        assert_eq!(before, after);
        node.remove_container(&exited).await.unwrap();
        let error = update(node, &exited, memory(66 << 20)).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_paused_container_takes_new_limits() {
    node(async |node| {
        let (_, _, id) = node.idle("paused").await;
        let root = node.runroot().join("runtimes").join(runtime());
        let root = root.to_str().unwrap();
        let program = runtime_program();
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        let call = |verb| [&program[..], &["--root", root, verb, &id]].concat();
        let done = run(&call("pause")).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let updated = update(node, &id, memory(64 << 20)).await;
        let resumed = run(&call("resume")).await;
        updated.unwrap();
        assert_eq!(resumed.code, Some(0), "{resumed:?}");
        assert_eq!(told(node, &id).await.memory_limit_in_bytes, 64 << 20);
        assert_eq!(node.exec(&id, &["echo", "awake"]).await, "awake");
    })
    .await;
}

#[tokio::test]
async fn all_limits_are_told_back() {
    node(async |node| {
        let cpusets = v1() || {
            let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
            v2.unwrap_or_default().contains("cpuset")
        };
        let list = |text: &str| {
            if cpusets {
                text.to_owned()
            } else {
                String::new()
            }
        };
        let huge = std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists();
        let mut limits = LinuxContainerResources {
            cpu_period: 50_000,
            cpu_quota: 25_000,
            cpu_shares: 512,
            memory_limit_in_bytes: 64 << 20,
            memory_swap_limit_in_bytes: 64 << 20,
            oom_score_adj: 700,
            cpuset_cpus: list("0"),
            cpuset_mems: list("0"),
            ..Default::default()
        };
        if huge {
            limits.hugepage_limits = vec![HugepageLimit {
                page_size: "2MB".into(),
                limit: 4 << 20,
            }];
        }
        if !v1() {
            let high = ("memory.high".to_owned(), (60 << 20).to_string());
            limits.unified = [high].into();
        }
        let config = pod("all");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        linux(&mut main).resources = Some(limits.clone());
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(told(node, &id).await, limits);
        let changed = LinuxContainerResources {
            cpu_quota: 30_000,
            cpu_shares: 600,
            memory_limit_in_bytes: 80 << 20,
            memory_swap_limit_in_bytes: 80 << 20,
            ..limits.clone()
        };
        update(node, &id, changed.clone()).await.unwrap();
        assert_eq!(told(node, &id).await, changed);
        node.restart().await;
        assert_eq!(told(node, &id).await, changed);
    })
    .await;
}

#[tokio::test]
async fn less_memory_than_is_used_is_refused() {
    node(async |node| {
        let config = pod("full");
        let pod = node.pod(&config).await;
        let script = "x=$(head -c 30000000 /dev/zero | tr '\\0' a); echo full; sleep 1000000; :";
        let mut main = shell("main", script);
        linux(&mut main).resources = Some(memory(512 << 20));
        let id = node.launch(&pod, &config, &main).await;
        until("it holds its memory", async || {
            node.output(&config, &main) == "full\n"
        })
        .await;
        let error = update(node, &id, memory(8 << 20)).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        let said = error.message();
        assert!(said.contains("memory_limit_in_bytes: 8388608"), "{error}");
        assert_eq!(told(node, &id).await, memory(512 << 20));
        let kernels = limit(node, &id, "memory", "memory.limit_in_bytes", "memory.max").await;
        assert_eq!(kernels, (512 << 20).to_string());
        update(node, &id, memory(600 << 20)).await.unwrap();
        assert_eq!(node.exec(&id, &["echo", "alive"]).await, "alive");
    })
    .await;
}

#[tokio::test]
async fn changes_that_are_none_are_refused() {
    node(async |node| {
        let (_, _, id) = node.idle("refusing").await;
        let before = told(node, &id).await;
        for (limits, field) in [
            (memory(-5), "linux.memory_limit_in_bytes: -5"),
            (
                LinuxContainerResources {
                    cpu_shares: 1,
                    ..Default::default()
                },
                "linux.cpu_shares: 1",
            ),
            (
                LinuxContainerResources {
                    cpuset_cpus: "one".into(),
                    ..Default::default()
                },
                "linux.cpuset_cpus: \"one\"",
            ),
            (
                LinuxContainerResources {
                    memory_swap_limit_in_bytes: 5 << 20,
                    ..memory(6 << 20)
                },
                "linux.memory_swap_limit_in_bytes: 5242880",
            ),
        ] {
            let error = update(node, &id, limits).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(field), "{error}");
        }
        let request = UpdateContainerResourcesRequest {
            container_id: id.clone(),
            windows: Some(WindowsContainerResources::default()),
            ..Default::default()
        };
        let reply = node.runtime().update_container_resources(request).await;
        assert_eq!(reply.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(told(node, &id).await, before);
    })
    .await;
}

/// What the verbose status tells of a pod's resources.
async fn pod_told(node: &Node, pod: &str) -> (serde_json::Value, serde_json::Value) {
    let status = node.try_pod_status(pod, true).await.unwrap();
    let mut info: serde_json::Value = serde_json::from_str(&status.info["info"]).unwrap();
    (info["overhead"].take(), info["resources"].take())
}

async fn update_pod(
    node: &Node,
    pod: &str,
    overhead: Option<LinuxContainerResources>,
    resources: Option<LinuxContainerResources>,
) -> Result<(), Status> {
    let request = UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pod.to_owned(),
        overhead,
        resources,
    };
    let reply = node.runtime().update_pod_sandbox_resources(request).await;
    reply.map(drop)
}

#[tokio::test]
async fn resources_of_a_pod_are_kept_and_set_on_its_cgroup() {
    node(async |node| {
        let mut config = pod("whole");
        pod_linux(&mut config).overhead = Some(memory(1 << 20));
        let pod = node.pod(&config).await;
        let (overhead, resources) = pod_told(node, &pod).await;
        assert_eq!(overhead["memory_limit"], 1 << 20);
        assert!(resources.is_null(), "{resources}");
        update_pod(node, &pod, None, Some(memory(128 << 20)))
            .await
            .unwrap();
        let file = memory_limit(node, &pod);
        let limit = || std::fs::read_to_string(&file).unwrap().trim().to_owned();
        assert_eq!(limit(), (129 << 20).to_string());
        // Its containers come to lie below.
        let main = shell(
            "main",
            "cat /dev/zero | head -c 1000 | wc -c; sleep 1000000",
        );
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(node.exec(&id, &["echo", "runs"]).await, "runs");
        update_pod(node, &pod, Some(memory(2 << 20)), Some(memory(256 << 20)))
            .await
            .unwrap();
        assert_eq!(limit(), (258 << 20).to_string());
        let before = pod_told(node, &pod).await;
        assert_eq!(before.0["memory_limit"], 2 << 20);
        assert_eq!(before.1["memory_limit"], 256 << 20);
        node.restart().await;
        assert_eq!(pod_told(node, &pod).await, before);
        node.stop_pod(&pod).await.unwrap();
        update_pod(node, &pod, None, Some(memory(512 << 20)))
            .await
            .unwrap();
        assert_eq!(pod_told(node, &pod).await.1["memory_limit"], 512 << 20);
    })
    .await;
}

#[tokio::test]
async fn resources_that_a_pod_is_made_with_hold_from_the_start() {
    node(async |node| {
        let mut config = pod("limited");
        pod_linux(&mut config).overhead = Some(memory(1 << 20));
        pod_linux(&mut config).resources = Some(memory(64 << 20));
        let pod = node.pod(&config).await;
        let limit = std::fs::read_to_string(memory_limit(node, &pod)).unwrap();
        assert_eq!(limit.trim(), (65 << 20).to_string());
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        assert_eq!(node.exec(&id, &["echo", "runs"]).await, "runs");
    })
    .await;
}

/// The file with the limit on a pod's memory.
fn memory_limit(node: &Node, pod: &str) -> String {
    let parent = node.cgroup();
    match v1() {
        true => format!("/sys/fs/cgroup/memory{parent}/{pod}/memory.limit_in_bytes"),
        false => format!("/sys/fs/cgroup{parent}/{pod}/memory.max"),
    }
}

#[tokio::test]
async fn a_cgroup_of_the_callers_is_left_to_the_caller() {
    node(async |node| {
        let mut config = pod("foreign");
        let parent = format!("{}/foreign", node.cgroup());
        pod_linux(&mut config).cgroup_parent = parent.clone();
        let (pod, id) = {
            let pod = node.pod(&config).await;
            let main = container("main", &["sleep", "1000000"]);
            let id = node.launch(&pod, &config, &main).await;
            (pod, id)
        };
        update_pod(node, &pod, None, Some(memory(128 << 20)))
            .await
            .unwrap();
        assert_eq!(pod_told(node, &pod).await.1["memory_limit"], 128 << 20);
        if v1() {
            let file = format!("/sys/fs/cgroup/memory{parent}/memory.limit_in_bytes");
            let limit = std::fs::read_to_string(file).unwrap();
            assert_ne!(limit.trim(), (128 << 20).to_string());
        }
        node.remove_container(&id).await.unwrap();
        node.remove_pod(&pod).await.unwrap();
        // As the caller would.
        for dir in crate::support::cgroup_directories(&parent) {
            std::fs::remove_dir(dir).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn resources_of_a_pod_that_are_none_are_refused() {
    node(async |node| {
        let config = pod("none");
        let pod = node.pod(&config).await;
        let before = pod_told(node, &pod).await;
        let error = update_pod(node, "feedface", None, None).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        for (overhead, resources, field) in [
            (Some(memory(-5)), None, "overhead.memory_limit_in_bytes: -5"),
            (
                None,
                Some(memory(-7)),
                "resources.memory_limit_in_bytes: -7",
            ),
        ] {
            let reply = update_pod(node, &pod, overhead, resources).await;
            let error = reply.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(field), "{error}");
        }
        let main = shell(
            "main",
            "x=$(head -c 30000000 /dev/zero | tr '\\0' a); echo full; sleep 1000000; :",
        );
        node.launch(&pod, &config, &main).await;
        until("it holds its memory", async || {
            node.output(&config, &main) == "full\n"
        })
        .await;
        let reply = update_pod(node, &pod, None, Some(memory(8 << 20))).await;
        let error = reply.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains("8388608"), "{error}");
        assert_eq!(pod_told(node, &pod).await, before);
    })
    .await;
}
