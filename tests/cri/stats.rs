//! What pods and containers use, as the kernel counts it.

use std::collections::{BTreeMap, HashMap};

use corten::cri::api::{
    self, ContainerStats, ContainerStatsFilter, LinuxContainerResources, LinuxPodSandboxStats,
    PodSandboxStatsFilter, UInt64Value,
};
use futures_util::TryStreamExt;
use tonic::{Code, Status};

use crate::support::{Node, container, linux, node, pod, pod_net, shell, until, until_some};

async fn try_stats(node: &Node, id: &str) -> Result<ContainerStats, Status> {
    let request = api::ContainerStatsRequest {
        container_id: id.to_owned(),
    };
    let reply = node.runtime().container_stats(request).await?;
    Ok(reply.into_inner().stats.unwrap())
}

async fn stats(node: &Node, id: &str) -> ContainerStats {
    try_stats(node, id)
        .await
        .unwrap_or_else(|e| panic!("ContainerStats: {e}"))
}

async fn try_pod_stats(node: &Node, id: &str) -> Result<LinuxPodSandboxStats, Status> {
    let request = api::PodSandboxStatsRequest {
        pod_sandbox_id: id.to_owned(),
    };
    let reply = node.runtime().pod_sandbox_stats(request).await?;
    let stats = reply.into_inner().stats.unwrap();
    assert_eq!(stats.attributes.unwrap().id, id);
    Ok(stats.linux.unwrap())
}

async fn pod_stats(node: &Node, id: &str) -> LinuxPodSandboxStats {
    try_pod_stats(node, id)
        .await
        .unwrap_or_else(|e| panic!("PodSandboxStats: {e}"))
}

async fn listed(node: &Node, filter: Option<ContainerStatsFilter>) -> Vec<ContainerStats> {
    let request = api::ListContainerStatsRequest { filter };
    let reply = node.runtime().list_container_stats(request).await.unwrap();
    reply.into_inner().stats
}

/// All metrics of a pod, its own and those of its containers.
async fn metrics(node: &Node, pod: &str) -> Option<Vec<api::Metric>> {
    let request = api::ListPodSandboxMetricsRequest {};
    let reply = node.runtime().list_pod_sandbox_metrics(request).await;
    let all = reply.unwrap().into_inner().pod_metrics;
    let found = all.into_iter().find(|one| one.pod_sandbox_id == pod)?;
    let containers = found.container_metrics.into_iter().flat_map(|c| c.metrics);
    Some(found.metrics.into_iter().chain(containers).collect())
}

/// The first value of a metric.
fn metric(metrics: &[api::Metric], name: &str) -> Option<u64> {
    let found = metrics.iter().find(|metric| metric.name == name)?;
    Some(found.value.unwrap().value)
}

fn n(value: Option<UInt64Value>) -> u64 {
    value.map_or(0, |value| value.value)
}

fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Whether the kernel tells of stalls.
fn stalls_are_counted() -> bool {
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    v2 && std::fs::read("/proc/pressure/cpu").is_ok()
}

fn is_v1() -> bool {
    std::path::Path::new("/sys/fs/cgroup/memory").exists()
}

#[tokio::test]
async fn work_and_memory_show() {
    node(async |node| {
        let config = pod("busy");
        let pod = node.pod(&config).await;
        let mut main = shell(
            "main",
            "text=$(head -c 20000000 /dev/zero | tr '\\0' x); while true; do :; done",
        );
        linux(&mut main).resources = Some(LinuxContainerResources {
            memory_limit_in_bytes: 200 << 20,
            ..Default::default()
        });
        let id = node.launch(&pod, &config, &main).await;
        let first = stats(node, &id).await;
        assert_eq!(first.attributes.unwrap().metadata.unwrap().name, "main");
        let cpu = first.cpu.unwrap();
        assert!(cpu.timestamp > 1_700_000_000_000_000_000, "{cpu:?}");
        assert_eq!(cpu.usage_nano_cores, None);
        until("CPU and memory are used", async || {
            let now = stats(node, &id).await;
            let (cpu, memory) = (now.cpu.unwrap(), now.memory.unwrap());
            n(cpu.usage_nano_cores) > 50_000_000 && n(memory.rss_bytes) > 20_000_000
        })
        .await;
        let then = stats(node, &id).await;
        let used = n(then.cpu.as_ref().unwrap().usage_core_nano_seconds);
        assert!(used > n(cpu.usage_core_nano_seconds));
        assert!(then.cpu.as_ref().unwrap().timestamp > cpu.timestamp);
        assert_eq!(then.cpu.unwrap().psi.is_some(), stalls_are_counted());
        assert_eq!(then.io.is_some(), stalls_are_counted());
        let memory = then.memory.unwrap();
        let working_set = n(memory.working_set_bytes);
        assert!((20_000_000..200 << 20).contains(&working_set), "{memory:?}");
        assert_eq!(n(memory.available_bytes), (200 << 20) - working_set);
        assert!(n(memory.usage_bytes) >= working_set);
        assert!(n(memory.page_faults) > 1000, "{memory:?}");

        let whole = pod_stats(node, &pod).await;
        assert!(n(whole.cpu.unwrap().usage_core_nano_seconds) >= used);
        let memory = whole.memory.unwrap();
        assert!(n(memory.working_set_bytes) > 20_000_000, "{memory:?}");
        // The pod has no limit of its own.
        assert_eq!(memory.available_bytes, None);
        assert!(n(whole.process.unwrap().process_count) >= 1);
        // It has the host's network, and so no traffic of its own.
        assert_eq!(whole.network, None);
        assert_eq!(whole.containers.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_written_shows() {
    node(async |node| {
        let (_, pod, id) = node.idle("written").await;
        node.sh(
            &id,
            "mkdir /new; for n in 1 2 3 4 5; do echo x > /new/$n; done; \
             dd if=/dev/urandom of=/new/large bs=1M count=3; sync",
        )
        .await;
        let layer = until_some("it is counted", async || {
            stats(node, &id).await.writable_layer
        })
        .await;
        // The directory of the layer itself, too.
        assert!(n(layer.inodes_used) >= 8, "{layer:?}");
        let bytes = n(layer.used_bytes);
        assert!((3 << 20..8 << 20).contains(&bytes), "{layer:?}");
        assert!(layer.timestamp > 0);
        let mountpoint = layer.fs_id.unwrap().mountpoint;
        assert!(
            mountpoint.starts_with(node.root().to_str().unwrap()),
            "{mountpoint}"
        );
        let metrics = metrics(node, &pod).await.unwrap();
        assert_eq!(metric(&metrics, "container_fs_usage_bytes"), Some(bytes));
        assert!(metric(&metrics, "container_fs_limit_bytes") > Some(bytes));
        // Just asked for again: as counted before.
        let again = stats(node, &id).await.writable_layer.unwrap();
        assert_eq!(again.timestamp, layer.timestamp);
    })
    .await;
}

#[tokio::test]
async fn traffic_shows() {
    node(async |node| {
        let config = pod_net("server");
        let server = node.pod(&config).await;
        let script = "sleep 1000000 | nc -l -p 8080 > /dev/null";
        node.launch(&server, &config, &shell("main", script)).await;
        let address = node.pod_status(&server).await.network.unwrap().ip;
        let before = pod_stats(node, &server).await.network.unwrap();
        let link = before.default_interface.unwrap();
        assert_eq!(link.name, "eth0");
        assert!(before.interfaces.iter().all(|other| other.name != "lo"));
        let client = pod_net("client");
        let from = node.pod(&client).await;
        let id = node
            .launch(&from, &client, &container("main", &["sleep", "1000000"]))
            .await;
        let script = format!("head -c 1000000 /dev/zero | nc -w 5 {address} 8080");
        until("the server listens", async || {
            let done = node.try_exec(&id, &["sh", "-c", &script], 0).await.unwrap();
            done.exit_code == 0
        })
        .await;
        until("the bytes are counted", async || {
            let after = pod_stats(node, &server).await.network.unwrap();
            let after = after.default_interface.unwrap();
            n(after.rx_bytes) > n(link.rx_bytes) + 1_000_000 && n(after.tx_bytes) > n(link.tx_bytes)
        })
        .await;
        let sent = pod_stats(node, &from).await.network.unwrap();
        assert!(n(sent.default_interface.unwrap().tx_bytes) > 1_000_000);
        let metrics = metrics(node, &server).await.unwrap();
        assert!(metric(&metrics, "container_network_receive_bytes_total") > Some(1_000_000));
        assert!(metric(&metrics, "container_network_receive_packets_total") > Some(20));
        // Nothing of having been asked keeps the namespace when the pod goes.
        let netns = node.runroot().join("ns").join(&server).join("net");
        let inode =
            std::fs::metadata(&netns).map(|data| std::os::unix::fs::MetadataExt::ino(&data));
        let inode = inode.unwrap();
        node.stop_pod(&server).await.unwrap();
        let stopped = pod_stats(node, &server).await;
        assert!(
            stopped.network.is_none() && stopped.cpu.is_none(),
            "{stopped:?}"
        );
        let held = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap();
        for fd in held.flatten() {
            let target = std::fs::read_link(fd.path()).unwrap_or_default();
            assert_ne!(target.to_string_lossy(), format!("net:[{inode}]"));
        }
    })
    .await;
}

#[tokio::test]
async fn only_what_lives_uses_anything() {
    node(async |node| {
        let config = pod("life");
        let pod = node.pod(&config).await;
        let empty = pod_stats(node, &pod).await;
        assert_eq!(n(empty.cpu.unwrap().usage_core_nano_seconds), 0);
        assert!(empty.containers.is_empty());
        let created = node
            .create(&pod, &config, &container("created", &["true"]))
            .await;
        let shown = stats(node, &created).await;
        assert!(shown.cpu.is_some() && shown.memory.is_some());
        node.start_container(&created).await.unwrap();
        node.exit(&created).await;
        let shown = stats(node, &created).await;
        assert!(shown.cpu.is_none() && shown.memory.is_none() && shown.swap.is_none());
        until("what it wrote is counted", async || {
            stats(node, &created).await.writable_layer.is_some()
        })
        .await;
        assert_eq!(listed(node, None).await.len(), 1);
        let found = metrics(node, &pod).await.unwrap();
        assert!(found.is_empty(), "{found:?}");
        node.stop_pod(&pod).await.unwrap();
        assert!(metrics(node, &pod).await.is_none());
        let stopped = pod_stats(node, &pod).await;
        assert!(stopped.cpu.is_none() && stopped.memory.is_none());
        assert_eq!(stopped.containers.len(), 1);
        node.remove_pod(&pod).await.unwrap();
        for id in [&created, "feedfacefeedface"] {
            let error = try_stats(node, id).await.unwrap_err();
            assert_eq!(error.code(), Code::NotFound, "{error}");
        }
        let error = try_pod_stats(node, &pod).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        for bad in ["", "not an ID"] {
            let error = try_stats(node, bad).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            let error = try_pod_stats(node, bad).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered() {
    node(async |node| {
        let mut pods = Vec::new();
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            let mut config = pod(name);
            config.labels = labels(&[("pod", name)]);
            let pod = node.pod(&config).await;
            for tier in ["front", "back"] {
                let mut main = container(tier, &["sleep", "1000000"]);
                main.labels = labels(&[("tier", tier)]);
                ids.push(node.launch(&pod, &config, &main).await);
            }
            pods.push(pod);
        }
        let find = async |id: &str, pod: &str, pairs: &[(&str, &str)]| {
            let filter = Some(ContainerStatsFilter {
                id: id.into(),
                pod_sandbox_id: pod.into(),
                label_selector: labels(pairs),
            });
            let places = |stats: &[ContainerStats]| {
                let mut places: Vec<usize> = stats
                    .iter()
                    .map(|one| one.attributes.as_ref().unwrap())
                    .map(|one| ids.iter().position(|id| *id == one.id).unwrap())
                    .collect();
                places.sort_unstable();
                places
            };
            let found = places(&listed(node, filter.clone()).await);
            let request = api::StreamContainerStatsRequest { filter };
            let stream = node.runtime().stream_container_stats(request).await;
            let parts: Vec<_> = stream.unwrap().into_inner().try_collect().await.unwrap();
            let streamed: Vec<_> = parts.into_iter().flat_map(|p| p.container_stats).collect();
            assert_eq!(places(&streamed), found);
            found
        };
        assert_eq!(find("", "", &[]).await, [0, 1, 2, 3]);
        assert_eq!(find(&ids[2], "", &[]).await, [2]);
        assert_eq!(find(&ids[2][..13], "", &[]).await, [2]);
        assert_eq!(find("", &pods[0], &[]).await, [0, 1]);
        assert_eq!(find("", "", &[("tier", "back")]).await, [1, 3]);
        assert_eq!(find("", &pods[1], &[("tier", "back")]).await, [3]);
        assert!(find(&ids[0], &pods[1], &[]).await.is_empty());
        assert!(find("", "", &[("tier", "Back")]).await.is_empty());
        assert!(find("feedfacefeedface", "", &[]).await.is_empty());

        let find = async |id: &str, pairs: &[(&str, &str)]| {
            let filter = Some(PodSandboxStatsFilter {
                id: id.into(),
                label_selector: labels(pairs),
            });
            let request = api::ListPodSandboxStatsRequest {
                filter: filter.clone(),
            };
            let list = node.runtime().list_pod_sandbox_stats(request).await;
            let list = list.unwrap().into_inner().stats;
            let request = api::StreamPodSandboxStatsRequest { filter };
            let stream = node.runtime().stream_pod_sandbox_stats(request).await;
            let parts: Vec<_> = stream.unwrap().into_inner().try_collect().await.unwrap();
            let streamed = parts.iter().flat_map(|p| &p.pod_sandbox_stats).count();
            assert_eq!(streamed, list.len());
            for stats in &list {
                assert_eq!(stats.linux.as_ref().unwrap().containers.len(), 2);
            }
            list.len()
        };
        assert_eq!(find("", &[]).await, 2);
        assert_eq!(find(&pods[0][..12], &[]).await, 1);
        assert_eq!(find("", &[("pod", "two")]).await, 1);
        assert_eq!(find(&pods[0], &[("pod", "two")]).await, 0);
        assert_eq!(find("feedface", &[]).await, 0);
    })
    .await;
}

#[tokio::test]
async fn metrics_have_the_usual_names() {
    node(async |node| {
        let request = api::ListMetricDescriptorsRequest {};
        let reply = node.runtime().list_metric_descriptors(request).await;
        let described: BTreeMap<String, Vec<String>> = reply
            .unwrap()
            .into_inner()
            .descriptors
            .into_iter()
            .map(|one| (one.name, one.label_keys))
            .collect();
        let config = pod_net("metrics");
        let pod = node.pod(&config).await;
        let mut main = shell("main", "sleep 1000000 & sleep 1000000 & nc -l -p 8080");
        linux(&mut main).resources = Some(LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 20_000,
            cpu_shares: 1024,
            memory_limit_in_bytes: 64 << 20,
            memory_swap_limit_in_bytes: 64 << 20,
            ..Default::default()
        });
        let id = node.launch(&pod, &config, &main).await;
        let found = until_some("its processes run", async || {
            let found = metrics(node, &pod).await.unwrap();
            (metric(&found, "container_processes") >= Some(3)
                && metric(&found, "container_sockets") >= Some(1)
                && metric(&found, "container_fs_usage_bytes").is_some())
            .then_some(found)
        })
        .await;
        for one in &found {
            let keys = &described[&one.name];
            assert_eq!(keys.len(), one.label_values.len(), "{one:?}");
            let label = |name| {
                let at = keys.iter().position(|key| key == name).unwrap();
                one.label_values[at].as_str()
            };
            assert_eq!((label("pod"), label("namespace")), ("metrics", "tests"));
            if one.name.contains("_network_") {
                assert_eq!((label("name"), label("interface")), (pod.as_str(), "eth0"));
            } else {
                assert_eq!((label("name"), label("container")), (id.as_str(), "main"));
                assert!(label("id").ends_with(id.as_str()), "{one:?}");
            }
        }
        // What a machine may lack: block devices that count, huge pages, stalls.
        let may_lack = |name: &str| {
            ["_fs_reads_", "_fs_writes_", "_blkio_", "_hugetlb_"]
                .iter()
                .any(|part| name.contains(part))
                || (name.contains("_pressure_") && !stalls_are_counted())
                || (name == "container_memory_max_usage_bytes" && !is_v1())
        };
        for name in described.keys().filter(|name| !may_lack(name)) {
            assert!(metric(&found, name).is_some(), "{name} has no value");
        }
        let value = |name| metric(&found, name).unwrap();
        assert_eq!(value("container_spec_cpu_quota"), 20_000);
        assert_eq!(value("container_spec_memory_limit_bytes"), 64 << 20);
        assert!(value("container_file_descriptors") > value("container_sockets"));
        assert!(value("container_threads") >= 3);
        assert_eq!(value("container_oom_events_total"), 0);
        assert!(value("container_last_seen") >= value("container_start_time_seconds"));

        let request = api::StreamPodSandboxMetricsRequest {};
        let stream = node.runtime().stream_pod_sandbox_metrics(request).await;
        let parts: Vec<_> = stream.unwrap().into_inner().try_collect().await.unwrap();
        assert_eq!(parts[0].pod_sandbox_metrics[0].pod_sandbox_id, pod);

        // One of its processes is killed for want of memory, and the container lives on.
        let eat = "x=$(head -c 90000000 /dev/zero | tr '\\0' x)";
        node.try_exec(&id, &["sh", "-c", eat], 0).await.unwrap();
        let found = metrics(node, &pod).await.unwrap();
        assert!(metric(&found, "container_oom_events_total") >= Some(1));
    })
    .await;
}

#[tokio::test]
async fn asking_keeps_nothing_open() {
    node(async |node| {
        let (_, pod, id) = node.idle("open").await;
        let open = || {
            let fds = std::fs::read_dir(format!("/proc/{}/fd", node.pid()));
            fds.unwrap().count()
        };
        listed(node, None).await;
        metrics(node, &pod).await;
        let before = open();
        for _ in 0..30 {
            listed(node, None).await;
            pod_stats(node, &pod).await;
            metrics(node, &pod).await;
        }
        assert!(open() <= before + 2, "{} and then {}", before, open());
        node.stop_container(&id, 0).await.unwrap();
    })
    .await;
}
