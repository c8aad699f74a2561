//! A restart of the whole machine: what lives in memory is gone, what is on disk is there.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use corten::cri::api::{
    ContainerMetadata, ContainerState, NamespaceMode, PodSandboxState, PortMapping,
};
use futures_util::{StreamExt, stream};

use crate::support::{
    Node, Options, Process, Programs, Scratch, container, free_port, namespaces, node, node_with,
    pod_net, processes_naming, security, shell, until,
};

/// How long a daemon may take until it serves, in a debug build on a machine that does other things too. The promise is
/// one second; what matters here is that it does not wait for anything of the last boot.
const SERVES: Duration = Duration::from_secs(10);

/// Restarts the machine, as far as a test can: every process and every mount goes, and the directory in memory; the
/// kernel says that it is another boot.
fn reboot(node: &Node, boot: &str) {
    node.kill();
    // Monitors first: nobody is there any more to write down how the others ended.
    for monitor in node.monitors() {
        monitor.kill();
    }
    for (pid, _) in processes_naming(node.scratch.path().to_str().unwrap()) {
        Process(pid).kill();
    }
    for mount in node.scratch.mounts() {
        let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
    }
    std::fs::remove_dir_all(node.runroot()).unwrap();
    node.set_programs(Programs {
        boot: Some(boot.to_owned()),
        ..Programs::default()
    });
}

/// Addresses that host-local holds for pods.
fn reservations(node: &Node) -> Vec<PathBuf> {
    let dir = node.scratch.join("ipam").join(node.network_name());
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.parse::<std::net::IpAddr>().is_ok()
        })
        .collect()
}

/// The network's records of pods.
fn network_records(node: &Node) -> usize {
    let dir = std::fs::read_dir(node.root().join("cni"));
    dir.map_or(0, |entries| entries.count())
}

#[tokio::test]
async fn after_a_reboot_what_ran_has_exited_and_its_network_is_released() {
    node(async |node| {
        let mut config = pod_net("rebooted");
        config.labels.insert("app".into(), "web".into());
        config
            .annotations
            .insert("example.com/restarts".into(), "3".into());
        config.metadata.as_mut().unwrap().attempt = 4;
        config.port_mappings.push(PortMapping {
            container_port: 80,
            host_port: i32::from(free_port()),
            ..PortMapping::default()
        });
        namespaces(&mut config).pid = NamespaceMode::Pod as i32;
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        main.metadata = Some(ContainerMetadata {
            name: "main".into(),
            attempt: 7,
        });
        main.labels.insert("app".into(), "web".into());
        main.annotations
            .insert("io.kubernetes.container.restartCount".into(), "7".into());
        security(&mut main).namespace_options = Some(namespaces(&mut config).clone());
        let running = node.launch(&pod, &config, &main).await;
        let created = node
            .create(&pod, &config, &container("created", &["true"]))
            .await;
        let exited = node.launch(&pod, &config, &shell("exited", "exit 5")).await;
        let before_exited = node.exit(&exited).await;
        let before = (node.pod_status(&pod).await, node.status(&running).await);
        assert_eq!(reservations(node).len(), 2);

        reboot(node, "11111111-1111-1111-1111-111111111111");
        node.start_serving().await;
        // At once, and not when somebody has had a look.
        let after = (node.pod_status(&pod).await, node.status(&running).await);
        assert_eq!(after.0.state(), PodSandboxState::SandboxNotready);
        assert_eq!(after.0.metadata, before.0.metadata);
        assert_eq!(after.0.labels, before.0.labels);
        assert_eq!(after.0.annotations, before.0.annotations);
        assert_eq!(after.0.created_at, before.0.created_at);
        let told = (after.1.exit_code, after.1.reason.as_str());
        assert_eq!(after.1.state(), ContainerState::ContainerExited);
        assert_eq!(told, (-1, "NodeRebooted"));
        assert!(after.1.message.contains("restarted"), "{:?}", after.1);
        assert_eq!(after.1.metadata, before.1.metadata);
        assert_eq!(after.1.labels, before.1.labels);
        assert_eq!(after.1.annotations, before.1.annotations);
        assert_eq!(after.1.started_at, before.1.started_at);
        assert!(after.1.finished_at > after.1.started_at);
        let never_ran = node.status(&created).await;
        assert_eq!(never_ran.reason, "NodeRebooted");
        assert_eq!(never_ran.started_at, 0);
        assert_eq!(node.status(&exited).await, before_exited);
        assert!(!node.image_list().await.is_empty());

        // Nobody has to ask for that.
        until("the addresses are free", async || {
            reservations(node).is_empty()
        })
        .await;
        until("the network knows nothing of it", async || {
            network_records(node) == 0
        })
        .await;
        // What was found out stays so.
        node.restart().await;
        assert_eq!(node.status(&running).await, after.1);
        assert_eq!(node.status(&created).await, never_ran);
        assert_eq!(
            node.pod_status(&pod).await.state(),
            PodSandboxState::SandboxNotready
        );

        // A kubelet removes it and makes the next one.
        node.stop_pod(&pod).await.unwrap();
        node.remove_pod(&pod).await.unwrap();
        config.metadata.as_mut().unwrap().attempt += 1;
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
    })
    .await;
}

/// A network plugin that is quick to attach a pod, and does not detach one while there is a file `hold`. Of each pod
/// that is attached there is a file in `attached`.
fn slow_plugin(scratch: &Scratch) -> String {
    let dir = scratch.dir("plugins");
    scratch.dir("attached");
    let script = format!(
        r#"#!/bin/sh
cd {home}
case $CNI_COMMAND in
VERSION) echo '{{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}}' ;;
ADD)
  cat >attached/$CNI_CONTAINERID
  echo '{{"cniVersion": "1.0.0", "interfaces": [{{"name": "eth0", "sandbox": "'$CNI_NETNS'"}}],
         "ips": [{{"address": "10.254.1.2/24", "interface": 0}}]}}' ;;
DEL)
  grep -q prevResult || echo "no result for $CNI_CONTAINERID" >>complaints
  while [ -e hold ]; do sleep 0.1; done
  rm -f attached/$CNI_CONTAINERID ;;
*) cat >/dev/null ;;
esac
"#,
        home = scratch.path().display()
    );
    scratch.program("plugins/slow", script);
    dir.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_hundred_pods_of_the_last_boot_and_a_slow_network_hold_nobody_up() {
    let network = Scratch::new();
    let options = Options {
        args: vec!["--cni-plugin-dir".into(), slow_plugin(&network)],
        no_network: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        let list = serde_json::json!({
            "cniVersion": "1.0.0", "name": "slow", "plugins": [{"type": "slow"}]});
        node.write_network("10-slow.conflist", &list);
        until("the network is ready", async || node.network_ready().await).await;
        let made = stream::iter(0..100).map(async |n| {
            let config = pod_net(&format!("pod-{n}"));
            let pod = node.pod(&config).await;
            let idle = container("idle", &["sleep", "1000000"]);
            // A few have a container that ran.
            match n % 20 {
                0 => Some(node.launch(&pod, &config, &idle).await),
                _ => None,
            }
        });
        let made: Vec<Option<String>> = made.buffer_unordered(8).collect().await;
        let ran: Vec<String> = made.into_iter().flatten().collect();
        let attached = || entries(&network.join("attached"));
        assert_eq!((attached(), ran.len()), (100, 5));

        std::fs::write(network.join("hold"), "").unwrap();
        reboot(node, "22222222-2222-2222-2222-222222222222");
        let begun = Instant::now();
        node.start_serving().await;
        let pods = node.pods(None).await;
        let took = begun.elapsed();
        assert!(took < SERVES, "it served after {took:?}");
        assert_eq!(pods.len(), 100);
        let ready = PodSandboxState::SandboxReady;
        assert!(pods.iter().all(|pod| pod.state() != ready));
        for id in &ran {
            assert_eq!(node.status(id).await.reason, "NodeRebooted");
        }
        // A plugin that hangs has no place for the new ones only if it is asked about all the old ones at once.
        until("the network is ready", async || node.network_ready().await).await;
        let config = pod_net("new");
        let new = node.pod(&config).await;
        let id = node
            .launch(&new, &config, &container("idle", &["sleep", "1000000"]))
            .await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        assert_eq!(attached(), 101, "nothing was to be detached yet");

        std::fs::remove_file(network.join("hold")).unwrap();
        until("all but the new one are detached", async || attached() == 1).await;
        let complaints = std::fs::read_to_string(network.join("complaints"));
        assert!(complaints.is_err(), "{complaints:?}");
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
    })
    .await;
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}
