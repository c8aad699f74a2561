//! The node's pod addresses and the network configuration made of them.

use corten::cri::api::{NetworkConfig, RuntimeConfig, UpdateRuntimeConfigRequest};
use tonic::{Code, Status};

use crate::support::{Node, Options, Scratch, node, node_with, pod_net, until};

async fn update(node: &Node, cidr: &str) -> Result<(), Status> {
    let request = UpdateRuntimeConfigRequest {
        runtime_config: Some(RuntimeConfig {
            network_config: Some(NetworkConfig {
                pod_cidr: cidr.to_owned(),
            }),
        }),
    };
    let reply = node.runtime().update_runtime_config(request).await;
    reply.map(drop)
}

/// A node without a network and with a template, whose text is still to be written.
async fn with_template(body: impl AsyncFnOnce(&Node, &Scratch)) {
    let scratch = Scratch::new();
    let template = scratch.join("template");
    let options = Options {
        no_network: true,
        args: vec![format!("--cni-conf-template={}", template.display())],
        ..Options::default()
    };
    node_with(options, async |node| body(node, &scratch).await).await;
}

/// The bridge of this node with the addresses of the kubelet.
fn template(node: &Node) -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "{}", "plugins": [{{
  "type": "bridge", "bridge": "{}", "isGateway": true, "ipMasq": true, "hairpinMode": true,
  "ipam": {{
    "type": "host-local", "dataDir": "{}",
    "ranges": [{{{{range $i, $range := .PodCIDRRanges}}}}{{{{if $i}}}}, {{{{end}}}}[{{"subnet": "{{{{$range}}}}"}}]{{{{end}}}}],
    "routes": [{{{{range $i, $route := .Routes}}}}{{{{if $i}}}}, {{{{end}}}}{{"dst": "{{{{$route}}}}"}}{{{{end}}}}]
  }}}}]}}
"#,
        node.network_name(),
        node.bridge(),
        node.scratch.join("ipam").display()
    )
}

const FILE: &str = "cni/10-corten-net.conflist";

#[tokio::test]
async fn the_network_follows_the_kubelet() {
    with_template(async |node, scratch| {
        scratch.file("template", template(node));
        assert!(!node.network_ready().await);
        let [one, two] = node.pod_cidrs();
        update(node, &format!("{one},{two}")).await.unwrap();
        until("the network is ready", async || node.network_ready().await).await;
        let pod = node.pod(&pod_net("addressed")).await;
        let network = node.pod_status(&pod).await.network.unwrap();
        let prefix = one.strip_suffix("0/24").unwrap();
        assert!(network.ip.starts_with(prefix), "{network:?}");
        assert_eq!(network.additional_ips.len(), 1, "{network:?}");
        let written = std::fs::read_to_string(node.scratch.join(FILE)).unwrap();
        assert!(
            written.contains(&one) && written.contains("::/0"),
            "{written}"
        );
        // It stays, whatever becomes of the daemon, and of no address there is nothing to be made.
        node.restart().await;
        until("the network is ready", async || node.network_ready().await).await;
        update(node, "").await.unwrap();
        let kept = std::fs::read_to_string(node.scratch.join(FILE)).unwrap();
        assert_eq!(kept, written);
        // Only one family from now on.
        update(node, &one).await.unwrap();
        let narrowed = std::fs::read_to_string(node.scratch.join(FILE)).unwrap();
        assert!(!narrowed.contains("::/0"), "{narrowed}");
    })
    .await;
}

#[tokio::test]
async fn a_network_that_is_there_is_left_alone() {
    with_template(async |node, scratch| {
        scratch.file("template", template(node));
        node.configure_network();
        until("the network is ready", async || node.network_ready().await).await;
        update(node, "10.0.0.0/24").await.unwrap();
        assert!(!node.scratch.join(FILE).exists());
    })
    .await;
}

#[tokio::test]
async fn a_template_that_is_not_understood_is_named() {
    with_template(async |node, scratch| {
        let path = scratch.join("template").display().to_string();
        for (text, words) in [
            (None, "No such file"),
            (Some("{}\n{{printf \"%s\" .PodCIDR}}"), "line 2: \"printf"),
            (
                Some("{{range .Routes}}"),
                "line 1: the block has no {{end}}",
            ),
            (Some("{\"name\": 1}"), "makes no network configuration"),
        ] {
            if let Some(text) = text {
                scratch.file("template", text);
            }
            let error = update(node, "10.0.0.0/24").await.unwrap_err();
            assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
            assert!(error.message().contains(&path), "{error}");
            assert!(error.message().contains(words), "{error}");
            assert!(!node.scratch.join(FILE).exists());
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_template_addresses_are_only_checked() {
    node(async |node| {
        update(node, "10.0.0.0/24,fd00::/64").await.unwrap();
        assert!(!node.scratch.join(FILE).exists());
        for bad in ["10.0.0.0", "10.0.0.0/40", "here"] {
            let error = update(node, bad).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(bad), "{error}");
        }
        let nothing = UpdateRuntimeConfigRequest::default();
        let reply = node.runtime().update_runtime_config(nothing).await;
        reply.unwrap();
    })
    .await;
}
