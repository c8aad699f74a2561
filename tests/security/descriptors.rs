//! Nothing of the host is open in a container, in what runs inside it, or in the programs that the daemon runs.

use std::path::PathBuf;

use serde_json::json;

use super::{open_files, parent};
use crate::support::{Options, Scratch, node, node_with, pod_net, shell, until};

/// What a shell holds open, a line each, but the directory that ls reads.
const HELD: &str = "ls -l /proc/self/fd | grep -o '[0-9]* -> .*' | grep -v -e '-> /proc/'";

#[tokio::test]
async fn a_container_and_a_command_hold_three_descriptors() {
    node(async |node| {
        let seen = node.prints("descriptors", HELD, |_| ()).await;
        assert_eq!(seen.lines().count(), 3, "{seen}");
        let (_, _, id) = node.idle("exec").await;
        let seen = node.sh(&id, HELD).await;
        assert_eq!(seen.lines().count(), 3, "{seen}");
        for word in ["corten", "cgroup", "/run"] {
            assert!(!seen.contains(word), "{seen}");
        }
    })
    .await;
}

/// A program that writes down what it holds open before it turns into another one.
fn nosy(scratch: &Scratch, name: &str, really: &str) -> PathBuf {
    let held = scratch.join(name).with_file_name("held");
    let script = format!(
        "#!/bin/sh\nls -l /proc/$$/fd >> {}\nexec {really} \"$@\"\n",
        held.display()
    );
    scratch.program(name, script)
}

#[tokio::test]
async fn what_the_daemon_was_started_with_goes_no_further() {
    let others = Scratch::new();
    let secret = others.file("left-open", "of the host");
    let (oci, cni) = (others.dir("oci"), others.dir("cni"));
    let runtime = nosy(&others, "oci/runtime", "/usr/sbin/runc");
    nosy(&others, "cni/nosy-bridge", "/usr/lib/cni/bridge");
    let options = Options {
        left_open: Some(secret.clone()),
        no_network: true,
        args: vec![
            format!("--runtime=nosy={}", runtime.display()),
            "--default-runtime=nosy".into(),
            format!("--cni-plugin-dir={}", cni.display()),
        ],
        ..Options::default()
    };
    node_with(options, async |node| {
        assert!(open_files(node.pid()).contains(&secret));
        let network = json!({"cniVersion": "1.0.0", "name": node.network_name(),
                             "plugins": [{"type": "nosy-bridge", "bridge": node.bridge()}]});
        node.write_network("10-nosy.conflist", &network);
        until("the network is seen", async || node.network_ready().await).await;
        let config = pod_net("leak");
        let pod = node.pod(&config).await;
        let main = shell("main", &format!("{HELD}; exec sleep 1000000"));
        let id = node.launch(&pod, &config, &main).await;
        let seen = node.sh(&id, HELD).await;
        assert_eq!(seen.lines().count(), 3, "a command in a container: {seen}");
        until("the container has looked", async || {
            node.output(&config, &main).lines().count() >= 3
        })
        .await;
        let seen = node.output(&config, &main);
        assert_eq!(seen.lines().count(), 3, "a container: {seen}");
        let init = node.init_pid(&id).await;
        for (what, pid) in [("the container", init), ("its monitor", parent(init))] {
            let open = open_files(pid);
            assert!(!open.contains(&secret), "{what} holds {open:?}");
        }
        node.remove_all().await;
        for (what, dir) in [("the OCI runtime", &oci), ("the CNI plugin", &cni)] {
            let held = std::fs::read_to_string(dir.join("held")).unwrap();
            assert!(held.contains(" 0 -> "), "{what}: {held}");
            assert!(!held.contains("left-open"), "{what}: {held}");
        }
    })
    .await;
}
