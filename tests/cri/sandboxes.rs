//! What a sandbox is made of, and that it goes away whole.

use corten::cri::api::{self, DnsConfig, NamespaceMode, PodSandboxState};
use tonic::Code;

use crate::support::{
    Node, Options, container, namespaces, node, node_with, pod, pod_linux, pod_net,
};

#[tokio::test]
async fn status_tells_what_was_asked_for() {
    node(async |node| {
        let mut config = pod_net("asked");
        config.labels.insert("app".into(), "übung".into());
        config
            .annotations
            .insert("a/b".into(), "line\nline, = \"".into());
        let id = node.pod(&config).await;
        let status = node.pod_status(&id).await;
        assert_eq!(status.id, id);
        assert_eq!(id.len(), 64);
        assert_eq!(status.metadata, config.metadata);
        assert_eq!(status.labels, config.labels);
        assert_eq!(status.annotations, config.annotations);
        assert_eq!(status.state(), PodSandboxState::SandboxReady);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        let age = now as i128 - i128::from(status.created_at);
        assert!((0..600_000_000_000).contains(&age), "{age} ns old");
        let options = status.linux.unwrap().namespaces.unwrap().options.unwrap();
        assert_eq!(options.pid(), NamespaceMode::Container);
        assert_eq!(options.network(), NamespaceMode::Pod);
        let network = status.network.unwrap();
        assert!(network.ip.starts_with("10."), "{network:?}");
        assert!(
            network.additional_ips[0].ip.starts_with("fd00:"),
            "{network:?}"
        );

        node.stop_pod(&id).await.unwrap();
        let status = node.pod_status(&id).await;
        assert_eq!(status.state(), PodSandboxState::SandboxNotready);
        node.remove_pod(&id).await.unwrap();
        let error = node.try_pod_status(&id, false).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.message().contains(&id), "{error}");
    })
    .await;
}

#[tokio::test]
async fn verbose_status_tells_more() {
    node(async |node| {
        let id = node.pod(&pod("verbose")).await;
        assert!(
            node.try_pod_status(&id, false)
                .await
                .unwrap()
                .info
                .is_empty()
        );
        let info = node.try_pod_status(&id, true).await.unwrap().info;
        let text = info.get("info").unwrap_or_else(|| panic!("{info:?}"));
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert!(value.is_object(), "{value}");
    })
    .await;
}

#[tokio::test]
async fn a_prefix_of_an_id_is_enough_while_it_is_unique() {
    node(async |node| {
        let id = node.pod(&pod("prefixed")).await;
        assert_eq!(node.pod_status(&id[..13]).await.id, id);
    })
    .await;
}

#[tokio::test]
async fn the_host_name_is_set_and_resolvable() {
    node(async |node| {
        let mut config = pod_net("host-name");
        config.hostname = "a-name.of-mine".into();
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        assert_eq!(node.exec(&id, &["hostname"]).await, "a-name.of-mine");
        assert_eq!(
            node.exec(&id, &["cat", "/etc/hostname"]).await,
            "a-name.of-mine"
        );
        let address = node.pod_status(&pod).await.network.unwrap().ip;
        let hosts = node.exec(&id, &["cat", "/etc/hosts"]).await;
        let line = hosts.lines().find(|line| line.starts_with(&address));
        assert!(
            line.is_some_and(|line| line.contains("a-name.of-mine")),
            "{hosts}"
        );
        assert!(hosts.contains("localhost"), "{hosts}");
        let env = node.exec(&id, &["env"]).await;
        assert!(env.contains("HOSTNAME=a-name.of-mine"), "{env}");
    })
    .await;
}

#[tokio::test]
async fn a_pod_on_the_host_network_has_the_hosts_name_and_files() {
    node(async |node| {
        let config = pod("host-files");
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(node.exec(&id, &["hostname"]).await, own.trim());
        let network = node.pod_status(&pod).await.network;
        assert!(network.is_none_or(|network| network.ip.is_empty()));
    })
    .await;
}

#[tokio::test]
async fn resolver_settings_are_written() {
    node(async |node| {
        let mut config = pod("resolver");
        config.dns_config = Some(DnsConfig {
            servers: vec!["10.10.10.10".into(), "fd00::53".into()],
            searches: vec!["one.example".into(), "two.example".into()],
            options: vec!["ndots:5".into(), "edns0".into()],
        });
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        let file = node.exec(&id, &["cat", "/etc/resolv.conf"]).await;
        let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
        for line in [
            "nameserver 10.10.10.10",
            "nameserver fd00::53",
            "search one.example two.example",
            "options ndots:5 edns0",
        ] {
            assert!(lines.contains(&line), "{line} not in {file}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_settings_the_resolver_is_the_hosts() {
    node(async |node| {
        let config = pod("resolver");
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        let own = std::fs::read_to_string("/etc/resolv.conf").unwrap();
        let file = node.exec(&id, &["cat", "/etc/resolv.conf"]).await;
        assert_eq!(file.trim(), own.trim());
    })
    .await;
}

#[tokio::test]
async fn shared_memory_has_its_size_and_is_the_pods() {
    let options = Options {
        args: vec!["--shm-size=5MiB".into()],
        ..Options::default()
    };
    node_with(options, async |node| {
        let config = pod("shm");
        let pod = node.pod(&config).await;
        let one = node
            .launch(&pod, &config, &container("one", &["sleep", "1000000"]))
            .await;
        let two = node
            .launch(&pod, &config, &container("two", &["sleep", "1000000"]))
            .await;
        node.sh(&one, "echo shared >/dev/shm/file").await;
        assert_eq!(node.exec(&two, &["cat", "/dev/shm/file"]).await, "shared");
        let size = node
            .sh(&one, "echo $(($(stat -f -c '%b * %S' /dev/shm)))")
            .await;
        assert_eq!(size, (5 << 20).to_string());
        assert!(!std::path::Path::new("/dev/shm/file").exists());
        let mount = node
            .exec(&one, &["grep", " /dev/shm ", "/proc/mounts"])
            .await;
        for option in ["nosuid", "nodev", "noexec"] {
            assert!(mount.contains(option), "{mount}");
        }
    })
    .await;
}

#[tokio::test]
async fn kernel_parameters_are_set_in_the_pod_alone() {
    node(async |node| {
        let own = std::fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap();
        let mut config = pod_net("sysctls");
        let sysctls = &mut pod_linux(&mut config).sysctls;
        sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
        sysctls.insert("net.ipv4.ip_local_port_range".into(), "1024 65000".into());
        sysctls.insert("net/ipv4/conf/lo/arp_filter".into(), "1".into());
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        let read = async |name: &str| {
            let path = format!("/proc/sys/{name}");
            node.exec(&id, &["cat", &path]).await
        };
        assert_eq!(read("kernel/shm_rmid_forced").await, "1");
        let range = read("net/ipv4/ip_local_port_range").await;
        assert_eq!(
            range.split_whitespace().collect::<Vec<_>>(),
            ["1024", "65000"]
        );
        assert_eq!(read("net/ipv4/conf/lo/arp_filter").await, "1");
        let after = std::fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap();
        assert_eq!(own, after);
    })
    .await;
}

#[tokio::test]
async fn kernel_parameters_of_the_host_are_refused() {
    node(async |node| {
        for (name, value, host_network) in [
            ("kernel.panic", "1", false),
            ("vm.swappiness", "1", false),
            ("net.ipv4.ip_forward", "1", true),
            (
                "kernel.shm_rmid_forced+kernel.core_pattern",
                "|/bin/sh",
                false,
            ),
            (
                "kernel.shm_rmid_forced",
                "1+kernel.core_pattern=|/bin/sh",
                false,
            ),
            ("net.ipv4.../kernel.panic", "1", false),
            ("net/../kernel/panic", "1", false),
            ("", "1", false),
        ] {
            let mut config = if host_network {
                pod("bad")
            } else {
                pod_net("bad")
            };
            pod_linux(&mut config)
                .sysctls
                .insert(name.into(), value.into());
            let error = node
                .try_pod(&config)
                .await
                .expect_err(&format!("sysctl {name:?}={value:?} was taken"));
            assert_eq!(error.code(), Code::InvalidArgument, "{name}: {error}");
            assert!(error.message().contains("sysctl"), "{error}");
            assert!(error.message().contains(name), "{error}");
        }
        assert!(node.pods(None).await.is_empty());
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        assert!(!pattern.contains("|/bin/sh"));
    })
    .await;
}

/// A network plugin of the test's own, where those of the node are.
struct Plugin(std::path::PathBuf);

impl Plugin {
    fn new(node: &Node, script: &str) -> Self {
        let file = node.scratch.program("plugin", script);
        let name = format!("corten-test-{}", node.scratch.token());
        let link = std::path::Path::new("/usr/lib/cni").join(name);
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Self(link)
    }

    fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_request_waits_while_the_removal_that_frees_its_name_is_tried_again() {
    node(async |node| {
        let dir = node.scratch.dir("tries");
        let plugin = Plugin::new(
            node,
            &format!(
                "#!/bin/sh\ncat >/dev/null\ncd {}\n\
                 fail() {{ echo '{{\"cniVersion\":\"1.0.0\",\"code\":999,\"msg\":\"not yet\"}}'; exit 1; }}\n\
                 case $CNI_COMMAND in\n\
                 ADD) mkdir added && fail\n\
                 echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"192.0.2.7/24\"}}]}}';;\n\
                 DEL) mkdir once && fail\nmkdir twice && fail\nexit 0;;\n\
                 esac\n",
                dir.display()
            ),
        );
        let list = serde_json::json!({
            "cniVersion": "1.0.0", "name": node.network_name(), "plugins": [{"type": plugin.name()}],
        });
        node.write_network("10-tests.conflist", &list);
        let config = pod_net("again");
        let error = crate::support::until_some("the configuration is taken up", async || {
            match node.try_pod(&config).await {
                Err(error) => Some(error),
                Ok(id) => {
                    node.remove_pod(&id).await.unwrap();
                    None
                }
            }
        })
        .await;
        assert!(error.message().contains("not yet"), "{error}");
        let id = node.pod(&config).await;
        assert!(dir.join("twice").exists(), "the removal was tried again");
        assert_eq!(node.pod_status(&id).await.network.unwrap().ip, "192.0.2.7");
        node.remove_all().await;
        drop(plugin);
        node.nothing_left().await;
    })
    .await;
}

#[tokio::test]
async fn a_failing_network_plugin_leaves_nothing() {
    node(async |node| {
        let plugin = Plugin::new(
            node,
            "#!/bin/sh\ncat >/dev/null\n[ \"$CNI_COMMAND\" = ADD ] || exit 0\n\
             echo '{\"cniVersion\":\"1.0.0\",\"code\":999,\"msg\":\"the plugin says no\"}'\nexit 1\n",
        );
        let mut list: serde_json::Value = serde_json::from_slice(
            &std::fs::read(node.scratch.join("cni/10-tests.conflist")).unwrap(),
        )
        .unwrap();
        // The first plugin has made its link when the second one fails.
        let failing = serde_json::json!({"type": plugin.name()});
        list["plugins"].as_array_mut().unwrap().push(failing);
        node.write_network("10-tests.conflist", &list);
        let mut config = pod_net("fails");
        config.hostname = "fails".into();
        let error = crate::support::until_some("the configuration is taken up", async || {
            match node.try_pod(&config).await {
                Err(error) => Some(error),
                Ok(id) => {
                    node.stop_pod(&id).await.unwrap();
                    node.remove_pod(&id).await.unwrap();
                    None
                }
            }
        })
        .await;
        drop(plugin);
        assert!(error.message().contains("the plugin says no"), "{error}");
        assert!(node.pods(None).await.is_empty());
        node.nothing_left().await;
        let left: Vec<_> = ["ns", "sandboxes"]
            .iter()
            .filter_map(|dir| std::fs::read_dir(node.runroot().join(dir)).ok())
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    })
    .await;
}

#[tokio::test]
async fn the_cgroup_parent_is_the_one_asked_for() {
    node(async |node| {
        let mut config = pod("parent");
        let parent = format!("{}/kubepods/pod-of-tests", node.cgroup());
        pod_linux(&mut config).cgroup_parent = parent.clone();
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", node.init_pid(&id).await));
        let groups = groups.unwrap();
        let memory = groups
            .lines()
            .find(|line| line.contains(":memory:") || line.starts_with("0::/corten"))
            .unwrap();
        assert!(memory.contains(&format!("{parent}/")), "{groups}");
        node.remove_all().await;
        for dir in crate::support::cgroup_directories(&format!("{}/kubepods", node.cgroup())) {
            // The parent is the kubelet's, who would remove it in its own time.
            let _ = std::fs::remove_dir(dir.join("pod-of-tests"));
            let _ = std::fs::remove_dir(dir);
        }
    })
    .await;
}

#[tokio::test]
async fn a_stopped_sandbox_takes_no_container() {
    node(async |node| {
        let config = pod("stopped");
        let pod = node.pod(&config).await;
        node.stop_pod(&pod).await.unwrap();
        let error = node
            .try_create(&pod, &config, &container("main", &["true"]))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains(&pod), "{error}");
    })
    .await;
}

#[tokio::test]
async fn stopping_a_pod_stops_its_containers() {
    node(async |node| {
        let (_, pod, id) = node.idle("whole").await;
        node.stop_pod(&pod).await.unwrap();
        let status = node.status(&id).await;
        assert_eq!(status.state(), api::ContainerState::ContainerExited);
        assert_eq!(status.exit_code, 137);
        node.remove_pod(&pod).await.unwrap();
        assert_eq!(
            node.try_status(&id).await.unwrap_err().code(),
            Code::NotFound
        );
    })
    .await;
}

#[tokio::test]
async fn removing_a_running_pod_stops_it_first() {
    node(async |node| {
        let (_, pod, _) = node.idle("forced").await;
        node.remove_pod(&pod).await.unwrap();
        assert!(node.pods(None).await.is_empty());
        assert!(node.containers(None).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_attempt_tells_pods_of_one_name_apart() {
    node(async |node| {
        let mut config = pod("again");
        let first = node.pod(&config).await;
        config.metadata.as_mut().unwrap().attempt = 1;
        let second = node.pod(&config).await;
        assert_ne!(first, second);
        assert_eq!(namespaces(&mut config).network(), NamespaceMode::Node);
    })
    .await;
}
