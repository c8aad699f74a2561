//! Network plugins that hang or fail.

use std::time::Duration;

use tonic::Code;

use super::{
    front::{Front, HOLD},
    others_work, says,
};
use crate::support::{Node, container, node_with, pod_net, until};

/// What fails as a plugin should.
const FAIL: &str =
    r#"echo '{"cniVersion":"1.0.0","code":11,"msg":"the plugin is unwell"}'; exit 1"#;

/// Only for the pod named `stuck`.
fn stuck(script: &str) -> String {
    format!("case \"$CNI_ARGS\" in *K8S_POD_NAME=stuck*) {script};; esac")
}

/// A pod with a network of its own comes and goes.
async fn another_network_pod_works(node: &Node, name: &str) {
    let config = pod_net(name);
    let pod = node.pod(&config).await;
    let id = node
        .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
        .await;
    assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
    assert!(!node.pod_status(&pod).await.network.unwrap().ip.is_empty());
    node.stop_pod(&pod).await.unwrap();
    node.remove_pod(&pod).await.unwrap();
}

#[tokio::test]
async fn an_add_that_hangs_is_given_up() {
    let plugin = Front::plugin();
    let mut options = plugin.as_plugins();
    options.args.push("--cni-timeout=4s".into());
    node_with(options, async |node| {
        plugin.set("ADD", &stuck(HOLD));
        let config = pod_net("stuck");
        let (error, ()) = tokio::join!(node.try_pod(&config), async {
            plugin.called("ADD", 1).await;
            others_work(node, "on-the-host").await;
            another_network_pod_works(node, "beside").await;
        });
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        says(&error, &["plugin bridge", "ADD", "did not end within"]);
        plugin.clear("ADD");
        // Asked again, it comes.
        let pod = node.pod(&config).await;
        assert!(!node.pod_status(&pod).await.network.unwrap().ip.is_empty());
        node.remove_all().await;
        plugin.quiet().await;
    })
    .await;
}

#[tokio::test]
async fn an_add_that_fails_leaves_nothing_and_can_be_asked_for_again() {
    let plugin = Front::plugin();
    node_with(plugin.as_plugins(), async |node| {
        for script in [FAIL, "kill -KILL $$", "echo gibberish; exit 0", "exit 3"] {
            plugin.set("ADD", &stuck(script));
            let error = node.try_pod(&pod_net("stuck")).await.unwrap_err();
            assert_eq!(error.code(), Code::Internal, "{script}: {error}");
            says(&error, &["plugin bridge", "ADD"]);
            another_network_pod_works(node, "beside").await;
            assert!(node.pods(None).await.is_empty());
            node.nothing_left().await;
        }
        plugin.clear("ADD");
        node.pod(&pod_net("stuck")).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_gives_up_on_an_add_joins_it_when_it_asks_again() {
    let plugin = Front::plugin();
    node_with(plugin.as_plugins(), async |node| {
        plugin.set("ADD", &stuck(HOLD));
        let config = pod_net("stuck");
        for _ in 0..3 {
            let run = node.try_pod(&config);
            let given_up = tokio::time::timeout(Duration::from_millis(300), run).await;
            assert!(given_up.is_err());
        }
        let again = async {
            plugin.called("ADD", 1).await;
            plugin.clear("ADD");
        };
        let (pod, ()) = tokio::join!(node.pod(&config), again);
        assert_eq!(plugin.calls("ADD"), 1);
        assert_eq!(node.pods(None).await.len(), 1);
        assert!(!node.pod_status(&pod).await.network.unwrap().ip.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_del_that_hangs_or_fails_is_tried_again_and_says_so() {
    let plugin = Front::plugin();
    let mut options = plugin.as_plugins();
    options.args.push("--cni-timeout=4s".into());
    node_with(options, async |node| {
        for (script, code, words) in [
            (FAIL, Code::Internal, "the plugin is unwell"),
            (HOLD, Code::DeadlineExceeded, "did not end within"),
        ] {
            let pod = node.pod(&pod_net("stuck")).await;
            plugin.set("DEL", &stuck(script));
            let (stopped, ()) = tokio::join!(node.stop_pod(&pod), async {
                others_work(node, "on-the-host").await;
                another_network_pod_works(node, "beside").await;
            });
            let error = stopped.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            says(&error, &["plugin bridge", "DEL", words]);
            // It says so, and it is not listed as gone while its address is not free.
            let reply = node.try_pod_status(&pod, true).await.unwrap();
            let shown = format!("{:?}", reply.info);
            assert!(shown.contains(words), "{shown}");
            plugin.clear("DEL");
            until(
                "the address is given back without anyone asking",
                async || {
                    let left = node.leftovers().await;
                    !left.iter().any(|line| line.starts_with("address"))
                },
            )
            .await;
            node.remove_pod(&pod).await.unwrap();
        }
        plugin.quiet().await;
    })
    .await;
}
