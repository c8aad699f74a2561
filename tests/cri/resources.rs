//! Limits, as the kernel has them in the end.

use std::path::PathBuf;

use corten::cri::api::{LinuxContainerResources, UpdateContainerResourcesRequest};
use tonic::Code;

use crate::support::{Node, Options, container, linux, node, node_with, pod, runtime, shell};

/// A file of a container's cgroup, of whichever version.
pub(super) async fn limit(node: &Node, id: &str, controller: &str, v1: &str, v2: &str) -> String {
    let groups =
        std::fs::read_to_string(format!("/proc/{}/cgroup", node.init_pid(id).await)).unwrap();
    let find = |names: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            (parts.next()? == names).then(|| parts.next())?
        })
    };
    let path = match find(controller) {
        Some(group) => PathBuf::from(format!("/sys/fs/cgroup/{controller}{group}/{v1}")),
        None => PathBuf::from(format!("/sys/fs/cgroup{}/{v2}", find("").unwrap())),
    };
    std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("reading {}: {e}", path.display()))
        .trim()
        .to_owned()
}

fn v1() -> bool {
    std::path::Path::new("/sys/fs/cgroup/memory").exists()
}

/// Whether the kernel can bind a cgroup to processors.
fn cpusets() -> bool {
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    v2.contains("cpuset") || std::path::Path::new("/sys/fs/cgroup/cpuset").exists()
}

/// What a version of cgroups calls a value.
fn either(v1_value: &'static str, v2_value: &'static str) -> &'static str {
    if v1() { v1_value } else { v2_value }
}

/// The weight of cgroup v2 for shares of v1: older runtimes put both on a straight line, newer ones and corten's own on
/// a curve through both defaults (1024 is 100).
fn weight(straight: &'static str, curved: &'static str) -> &'static str {
    match &*runtime() {
        "corten" => curved,
        _ => straight,
    }
}

async fn launch(node: &Node, resources: LinuxContainerResources) -> String {
    let config = pod("limits");
    let pod = node.pod(&config).await;
    let mut main = container("main", &["sleep", "1000000"]);
    linux(&mut main).resources = Some(resources);
    node.launch(&pod, &config, &main).await
}

#[tokio::test]
async fn limits_reach_the_kernel() {
    node(async |node| {
        let id = launch(
            node,
            LinuxContainerResources {
                cpu_shares: 512,
                cpu_quota: 20_000,
                cpu_period: 50_000,
                memory_limit_in_bytes: 100 << 20,
                cpuset_cpus: if cpusets() { "0".into() } else { String::new() },
                ..Default::default()
            },
        )
        .await;
        let memory = limit(node, &id, "memory", "memory.limit_in_bytes", "memory.max").await;
        assert_eq!(memory, (100 << 20).to_string());
        let shares = limit(node, &id, "cpu", "cpu.shares", "cpu.weight").await;
        assert_eq!(shares, either("512", weight("20", "59")));
        let quota = limit(node, &id, "cpu", "cpu.cfs_quota_us", "cpu.max").await;
        assert_eq!(quota, either("20000", "20000 50000"));
        if cpusets() {
            let cpus = limit(node, &id, "cpuset", "cpuset.cpus", "cpuset.cpus").await;
            assert_eq!(cpus, "0");
            assert_eq!(
                node.exec(&id, &["grep", "Cpus_allowed_list", "/proc/self/status"])
                    .await
                    .split_whitespace()
                    .last(),
                Some("0")
            );
        }
    })
    .await;
}

#[tokio::test]
async fn limits_can_be_changed_before_and_while_it_runs() {
    node(async |node| {
        let config = pod("changed");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        linux(&mut main).resources = Some(LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_shares: 100,
            ..Default::default()
        });
        let id = node.create(&pod, &config, &main).await;
        let update = async |memory: i64, shares: i64| {
            let request = UpdateContainerResourcesRequest {
                container_id: id.clone(),
                linux: Some(LinuxContainerResources {
                    memory_limit_in_bytes: memory,
                    cpu_shares: shares,
                    ..Default::default()
                }),
                ..Default::default()
            };
            node.runtime().update_container_resources(request).await
        };
        let told = async || {
            let resources = node.status(&id).await.resources.unwrap().linux.unwrap();
            (resources.memory_limit_in_bytes, resources.cpu_shares)
        };
        update(80 << 20, 0).await.unwrap();
        assert_eq!(told().await, (80 << 20, 100));
        node.start_container(&id).await.unwrap();
        let memory = limit(node, &id, "memory", "memory.limit_in_bytes", "memory.max").await;
        assert_eq!(memory, (80 << 20).to_string());
        update(96 << 20, 200).await.unwrap();
        let memory = limit(node, &id, "memory", "memory.limit_in_bytes", "memory.max").await;
        assert_eq!(memory, (96 << 20).to_string());
        let shares = limit(node, &id, "cpu", "cpu.shares", "cpu.weight").await;
        assert_eq!(shares, either("200", weight("8", "29")));
        assert_eq!(told().await, (96 << 20, 200));
        node.stop_container(&id, 0).await.unwrap();
        // What has ended only takes it on record.
        update(64 << 20, 0).await.unwrap();
        assert_eq!(told().await, (64 << 20, 200));
    })
    .await;
}

#[tokio::test]
async fn an_update_of_nothing_known_is_refused() {
    node(async |node| {
        let request = UpdateContainerResourcesRequest {
            container_id: "feedface".into(),
            linux: Some(LinuxContainerResources::default()),
            ..Default::default()
        };
        let error = node
            .runtime()
            .update_container_resources(request)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
    })
    .await;
}

#[tokio::test]
async fn limits_that_are_none_are_refused() {
    node(async |node| {
        let config = pod("bad-limits");
        let pod = node.pod(&config).await;
        let default = LinuxContainerResources::default;
        for (resources, field, value) in [
            (
                LinuxContainerResources {
                    cpu_period: -5,
                    ..default()
                },
                "cpu_period",
                "-5",
            ),
            (
                LinuxContainerResources {
                    cpu_shares: -7,
                    ..default()
                },
                "cpu_shares",
                "-7",
            ),
            (
                LinuxContainerResources {
                    memory_limit_in_bytes: -9,
                    ..default()
                },
                "memory_limit_in_bytes",
                "-9",
            ),
            (
                LinuxContainerResources {
                    oom_score_adj: 5000,
                    ..default()
                },
                "oom_score_adj",
                "5000",
            ),
            (
                LinuxContainerResources {
                    cpuset_cpus: "0-x".into(),
                    ..default()
                },
                "cpuset_cpus",
                "0-x",
            ),
            (
                LinuxContainerResources {
                    unified: [("../escape".to_owned(), "1".to_owned())].into(),
                    ..default()
                },
                "unified",
                "../escape",
            ),
        ] {
            let mut main = container("main", &["true"]);
            linux(&mut main).resources = Some(resources);
            let error = node
                .try_create(&pod, &config, &main)
                .await
                .expect_err(&format!("{field} {value} was taken"));
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(field), "{error}");
            assert!(error.message().contains(value), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_that_runs_out_of_memory_says_so() {
    node(async |node| {
        let config = pod("hungry");
        let mut main = shell("main", "x=a; while :; do x=$x$x; done");
        linux(&mut main).resources = Some(LinuxContainerResources {
            memory_limit_in_bytes: 16 << 20,
            memory_swap_limit_in_bytes: 16 << 20,
            ..Default::default()
        });
        let (status, _) = node.run_once(&config, &main).await;
        assert_eq!(status.reason, "OOMKilled", "{status:?}");
        assert_eq!(status.exit_code, 137);
    })
    .await;
}

#[tokio::test]
async fn a_child_out_of_memory_is_told_apart_from_the_containers_end() {
    node(async |node| {
        let config = pod("child");
        let mut main = shell(
            "main",
            "sh -c 'x=a; while :; do x=$x$x; done'; echo survived; exit 0",
        );
        linux(&mut main).resources = Some(LinuxContainerResources {
            memory_limit_in_bytes: 16 << 20,
            memory_swap_limit_in_bytes: 16 << 20,
            ..Default::default()
        });
        let (status, output) = node.run_once(&config, &main).await;
        assert!(output.contains("survived"), "{output}");
        assert_eq!(status.exit_code, 0);
        assert_ne!(status.reason, "Error");
    })
    .await;
}

#[tokio::test]
async fn oom_scores_are_set_as_far_as_the_daemon_may() {
    node(async |node| {
        for (asked, expected) in [(500, Some(500)), (1000, Some(1000)), (-999, None)] {
            let id = launch(
                node,
                LinuxContainerResources {
                    oom_score_adj: asked,
                    ..Default::default()
                },
            )
            .await;
            let score: i64 = node
                .exec(&id, &["cat", "/proc/1/oom_score_adj"])
                .await
                .parse()
                .unwrap();
            let own: i64 = std::fs::read_to_string("/proc/self/oom_score_adj")
                .unwrap()
                .trim()
                .parse()
                .unwrap();
            match expected {
                Some(expected) => assert_eq!(score, expected.max(own)),
                // Lowered where the kernel lets it be.
                None => assert!(score == asked || score <= own, "{score}"),
            }
            node.remove_all().await;
        }
    })
    .await;
}

#[tokio::test]
async fn default_limits_of_the_configuration_hold() {
    let options = Options {
        args: vec![
            "--default-rlimit=nofile=100:200".into(),
            "--default-rlimit=core=0:0".into(),
            "--pids-limit=50".into(),
        ],
        ..Options::default()
    };
    node_with(options, async |node| {
        let id = launch(node, LinuxContainerResources::default()).await;
        assert_eq!(node.sh(&id, "ulimit -H -n; ulimit -c").await, "200\n0");
        assert_eq!(soft_limit_of_files(node, &id), 100);
        let pids = limit(node, &id, "pids", "pids.max", "pids.max").await;
        assert_eq!(pids, "50");
    })
    .await;
}

#[tokio::test]
async fn a_container_can_be_of_a_single_process() {
    let options = Options {
        args: vec!["--default-runtime=corten".into(), "--pids-limit=1".into()],
        ..Options::default()
    };
    node_with(options, async |node| {
        let id = launch(node, LinuxContainerResources::default()).await;
        let pids = limit(node, &id, "pids", "pids.max", "pids.max").await;
        assert_eq!(pids, "1");
    })
    .await;
}

#[tokio::test]
async fn a_hard_limit_beyond_the_daemons_is_lowered_to_it() {
    let options = Options {
        args: vec!["--default-rlimit=nofile=1024:1073741816".into()],
        ..Options::default()
    };
    node_with(options, async |node| {
        let id = launch(node, LinuxContainerResources::default()).await;
        assert_eq!(soft_limit_of_files(node, &id), 1024);
    })
    .await;
}

/// As the runtime is told it: a runtime written in Go may raise the soft limit of its own children to the hard
/// one, depending on which of its threads is first.
fn soft_limit_of_files(node: &Node, id: &str) -> u64 {
    let path = node
        .runroot()
        .join("containers")
        .join(id)
        .join("config.json");
    let spec: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let limits = spec["process"]["rlimits"].as_array().unwrap();
    let files = limits.iter().find(|limit| limit["type"] == "RLIMIT_NOFILE");
    files.unwrap()["soft"].as_u64().unwrap()
}
