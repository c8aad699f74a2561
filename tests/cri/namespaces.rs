//! Which namespaces pods and their containers share.

use corten::cri::api::{NamespaceMode, PodSandboxConfig};

use crate::support::{Node, container, namespaces, node, pod, pod_net, security};

fn host(kind: &str) -> String {
    link(&format!("/proc/self/ns/{kind}"))
}

fn link(path: &str) -> String {
    std::fs::read_link(path)
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

/// A pod with these modes, and its two containers' namespaces of each kind.
async fn pair(node: &Node, config: &PodSandboxConfig) -> [Vec<String>; 2] {
    let pod = node.pod(config).await;
    let mut seen = Vec::new();
    for name in ["one", "two"] {
        let mut container = container(name, &["sleep", "1000000"]);
        let options = config
            .linux
            .as_ref()
            .and_then(|linux| linux.security_context.as_ref())
            .and_then(|context| context.namespace_options.clone());
        security(&mut container).namespace_options = options;
        let id = node.launch(&pod, config, &container).await;
        let script = "for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n; done";
        let lines = node.sh(&id, script).await;
        seen.push(lines.lines().map(str::to_owned).collect());
    }
    node.stop_pod(&pod).await.unwrap();
    node.remove_pod(&pod).await.unwrap();
    [seen.remove(0), seen.remove(0)]
}

#[tokio::test]
async fn every_mode_is_honoured() {
    use NamespaceMode::{Container, Node, Pod};
    node(async |node| {
        for network in [Pod, Node] {
            for ipc in [Pod, Node] {
                for pid in [Pod, Container, Node] {
                    let mut config = pod("modes");
                    let options = namespaces(&mut config);
                    options.network = network as i32;
                    options.ipc = ipc as i32;
                    options.pid = pid as i32;
                    let what = format!("network {network:?}, IPC {ipc:?}, PID {pid:?}");
                    let [one, two] = pair(node, &config).await;
                    for (index, kind, mode) in [(0, "net", network), (1, "ipc", ipc)] {
                        assert_eq!(one[index], two[index], "{what}");
                        assert_eq!(one[index] == host(kind), mode == Node, "{what}: {kind}");
                    }
                    assert_eq!(one[3] == two[3], pid != Container, "{what}");
                    assert_eq!(one[3] == host("pid"), pid == Node, "{what}");
                    assert_ne!(one[4], two[4], "{what}");
                    assert_ne!(one[4], host("mnt"), "{what}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn containers_share_the_host_name_of_their_pod() {
    node(async |node| {
        let mut config = pod_net("named");
        config.hostname = "the-name".into();
        let [one, two] = pair(node, &config).await;
        assert_eq!(one[2], two[2]);
        assert_ne!(one[2], host("uts"));
    })
    .await;
}

#[tokio::test]
async fn a_shared_pid_namespace_outlives_its_containers() {
    node(async |node| {
        let mut config = pod("shared");
        namespaces(&mut config).pid = NamespaceMode::Pod as i32;
        let pod = node.pod(&config).await;
        let options = Some(namespaces(&mut config).clone());
        let mut first = container("first", &["sh", "-c", "readlink /proc/self/ns/pid"]);
        security(&mut first).namespace_options = options.clone();
        let id = node.launch(&pod, &config, &first).await;
        assert_eq!(node.exit(&id).await.exit_code, 0);
        let mut second = container("second", &["sleep", "1000000"]);
        security(&mut second).namespace_options = options;
        let id = node.launch(&pod, &config, &second).await;
        let now = node.exec(&id, &["readlink", "/proc/self/ns/pid"]).await;
        assert_eq!(node.output(&config, &first).trim(), now);
        // The pod's first process is corten's own; the container's is not the first.
        let mine = node.sh(&id, "echo $PPID; cat /proc/1/comm").await;
        assert!(!mine.contains("sleep"), "{mine}");
    })
    .await;
}

#[tokio::test]
async fn orphans_of_a_shared_pid_namespace_are_reaped() {
    node(async |node| {
        let mut config = pod("orphans");
        namespaces(&mut config).pid = NamespaceMode::Pod as i32;
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        security(&mut main).namespace_options = Some(namespaces(&mut config).clone());
        let id = node.launch(&pod, &config, &main).await;
        node.sh(&id, "(sh -c 'exec sleep 0.1' &) ; sleep 0.5").await;
        let script = "grep -l '^State:.Z' /proc/[0-9]*/status || true";
        crate::support::until("no zombie is left", async || {
            node.sh(&id, script).await.is_empty()
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_container_sees_the_processes_of_its_target() {
    node(async |node| {
        let (config, pod, target) = node.idle("target").await;
        let mut debugger = container("debugger", &["sleep", "2000000"]);
        let options = security(&mut debugger)
            .namespace_options
            .get_or_insert_default();
        *options = namespaces(&mut config.clone()).clone();
        options.pid = NamespaceMode::Target as i32;
        options.target_id = target.clone();
        let id = node.launch(&pod, &config, &debugger).await;
        let theirs = node.exec(&target, &["readlink", "/proc/self/ns/pid"]).await;
        let ours = node.exec(&id, &["readlink", "/proc/self/ns/pid"]).await;
        assert_eq!(theirs, ours);
        let first = node.sh(&id, "tr '\\0' ' ' </proc/1/cmdline").await;
        assert_eq!(first.trim(), "sleep 1000000");
    })
    .await;
}

#[tokio::test]
async fn a_target_must_run_in_the_same_pod() {
    node(async |node| {
        let (_, _, elsewhere) = node.idle("elsewhere").await;
        let (config, pod, _) = node.idle("here").await;
        for target in [elsewhere.as_str(), "", "feedfacefeedface"] {
            let mut debugger = container("debugger", &["true"]);
            let options = security(&mut debugger)
                .namespace_options
                .get_or_insert_default();
            *options = namespaces(&mut config.clone()).clone();
            options.pid = NamespaceMode::Target as i32;
            options.target_id = target.into();
            let error = node.try_create(&pod, &config, &debugger).await.unwrap_err();
            assert!(
                [
                    tonic::Code::InvalidArgument,
                    tonic::Code::NotFound,
                    tonic::Code::FailedPrecondition
                ]
                .contains(&error.code()),
                "{error}"
            );
            assert!(error.message().contains("target"), "{error}");
            assert!(error.message().contains(target), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_that_names_no_namespaces_has_its_pods() {
    use NamespaceMode::{Container, Node, Pod};
    node(async |node| {
        for mode in [Pod, Container, Node] {
            let mut config = pod(&format!("{mode:?}"));
            namespaces(&mut config).pid = mode as i32;
            let pod = node.pod(&config).await;
            let main = container("main", &["sleep", "1000000"]);
            assert!(main.linux.is_none());
            let id = node.try_create_bare(&pod, &config, main).await.unwrap();
            node.start_container(&id).await.unwrap();
            let seen = node.exec(&id, &["readlink", "/proc/self/ns/pid"]).await;
            assert_eq!(seen == host("pid"), mode == Node, "{mode:?}");
            let seen = node.exec(&id, &["readlink", "/proc/self/ns/net"]).await;
            assert_eq!(seen, host("net"), "{mode:?}");
        }
    })
    .await;
}
