//! Pods on a bridge: addresses, ports, and configurations that come and go.

use corten::cri::api::{PortMapping, Protocol, StatusRequest};
use tonic::Code;

use crate::support::{
    Node, Options, container, free_port, node, node_with, pod, pod_net, shell, talk, until,
};

/// What the server of these tests says to whoever connects; nothing when nobody can.
async fn hear(address: &str) -> Option<String> {
    talk(address, "hello\n").await
}

fn mapping(protocol: Protocol, container: u16, host: u16, host_ip: &str) -> PortMapping {
    PortMapping {
        protocol: protocol as i32,
        container_port: container.into(),
        host_port: host.into(),
        host_ip: host_ip.to_owned(),
    }
}

/// A running container that answers every connection to a port with a word.
async fn answering(node: &Node, name: &str, ports: Vec<PortMapping>) -> (String, String) {
    let mut config = pod_net(name);
    config.port_mappings = ports;
    let pod = node.pod(&config).await;
    let server = shell("server", "while true; do echo answer | nc -l -p 8080; done");
    let id = node.launch(&pod, &config, &server).await;
    (pod, id)
}

#[tokio::test]
async fn a_pod_has_its_addresses_and_reaches_others() {
    node(async |node| {
        let (server, _) = answering(node, "server", Vec::new()).await;
        let network = node.pod_status(&server).await.network.unwrap();
        let config = pod_net("client");
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["sleep", "1000000"]))
            .await;
        let shown = node.exec(&id, &["ip", "-o", "addr"]).await;
        let own = node.pod_status(&pod).await.network.unwrap();
        assert_ne!(own.ip, network.ip);
        for ip in own.additional_ips.iter().map(|ip| &ip.ip).chain([&own.ip]) {
            assert!(shown.contains(ip.as_str()), "{ip} not in {shown}");
        }
        // The loopback interface works from the start.
        assert!(shown.contains("127.0.0.1/8"), "{shown}");
        let links = node.exec(&id, &["ip", "-o", "link"]).await;
        assert!(
            links
                .lines()
                .any(|line| line.contains(" lo: ") && line.contains("UP")),
            "{links}"
        );
        let script = format!("echo hello | nc -w 5 {} 8080", network.ip);
        until("the other pod answers", async || {
            let done = node.try_exec(&id, &["sh", "-c", &script], 0).await.unwrap();
            done.stdout == b"answer\n"
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_published_port_leads_into_the_pod() {
    node(async |node| {
        let port = free_port();
        let (pod, _) = answering(
            node,
            "published",
            vec![mapping(Protocol::Tcp, 8080, port, "")],
        )
        .await;
        let local = format!("127.0.0.1:{port}");
        until("the port answers", async || hear(&local).await.is_some()).await;
        // By the address of an interface, too: the bridge's own.
        let gateway = node.pod_status(&pod).await.network.unwrap().ip;
        let (net, _) = gateway.rsplit_once('.').unwrap();
        let outside = format!("{net}.1:{port}");
        until("the bridge's address answers", async || {
            hear(&outside).await.is_some()
        })
        .await;
        node.stop_pod(&pod).await.unwrap();
        assert_eq!(hear(&local).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_port_published_on_one_address_is_there_alone() {
    node(async |node| {
        let port = free_port();
        let (pod, _) = answering(
            node,
            "narrow",
            vec![mapping(Protocol::Tcp, 8080, port, "127.0.0.1")],
        )
        .await;
        let local = format!("127.0.0.1:{port}");
        until("the port answers", async || hear(&local).await.is_some()).await;
        let ip = node.pod_status(&pod).await.network.unwrap().ip;
        let (net, _) = ip.rsplit_once('.').unwrap();
        assert_eq!(hear(&format!("{net}.1:{port}")).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_port_without_a_host_port_is_not_published() {
    node(async |node| {
        let (pod, _) = answering(node, "inner", vec![mapping(Protocol::Tcp, 8080, 0, "")]).await;
        let ip = node.pod_status(&pod).await.network.unwrap().ip;
        let inside = format!("{ip}:8080");
        until("the pod answers", async || hear(&inside).await.is_some()).await;
    })
    .await;
}

#[tokio::test]
async fn ports_that_are_none_are_refused() {
    node(async |node| {
        for (mapping, value) in [
            (
                PortMapping {
                    container_port: 70000,
                    host_port: 80,
                    ..Default::default()
                },
                "70000",
            ),
            (
                PortMapping {
                    container_port: 80,
                    host_port: -1,
                    ..Default::default()
                },
                "-1",
            ),
            (
                PortMapping {
                    container_port: 0,
                    host_port: 80,
                    ..Default::default()
                },
                "0",
            ),
            (
                PortMapping {
                    container_port: 80,
                    host_port: 80,
                    protocol: 9,
                    ..Default::default()
                },
                "9",
            ),
            (
                PortMapping {
                    container_port: 80,
                    host_port: 80,
                    host_ip: "not-an-ip".into(),
                    ..Default::default()
                },
                "not-an-ip",
            ),
        ] {
            let mut config = pod_net("bad-port");
            config.port_mappings = vec![mapping];
            let error = node.try_pod(&config).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(value), "{error}");
            assert!(error.message().contains("port_mappings"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_network_is_as_ready_as_its_configuration() {
    let options = Options {
        no_network: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        let condition = node.condition("NetworkReady").await;
        assert!(!condition.status);
        assert!(!condition.reason.is_empty());
        let dir = node.scratch.join("cni");
        assert!(
            condition.message.contains(dir.to_str().unwrap()),
            "{condition:?}"
        );
        // A pod of the host's network needs none.
        node.pod(&pod("on-the-host")).await;
        node.configure_network();
        until("the new configuration is seen", async || {
            node.network_ready().await
        })
        .await;
        let id = node.pod(&pod_net("on-the-bridge")).await;
        assert!(!node.pod_status(&id).await.network.unwrap().ip.is_empty());
        std::fs::remove_file(dir.join("10-tests.conflist")).unwrap();
        until("the loss is seen", async || !node.network_ready().await).await;
        // What it set up is taken down from what was kept.
        node.stop_pod(&id).await.unwrap();
        node.remove_pod(&id).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_broken_configuration_is_named() {
    let options = Options {
        no_network: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        std::fs::write(node.scratch.join("cni/05-broken.conflist"), "{").unwrap();
        until("the broken file is named", async || {
            let condition = node.condition("NetworkReady").await;
            !condition.status && condition.message.contains("05-broken.conflist")
        })
        .await;
    })
    .await;
}

/// The network in the verbose status.
async fn told_of_network(node: &Node) -> serde_json::Value {
    let request = StatusRequest { verbose: true };
    let status = node.runtime().status(request).await.unwrap().into_inner();
    serde_json::from_str(&status.info["network"]).unwrap()
}

#[tokio::test]
async fn the_status_says_which_plugins_run_and_why() {
    let options = Options {
        args: vec!["--cni-native".into(), "auto".into()],
        more_plugins: &["tuning"],
        ..Options::default()
    };
    node_with(options, async |node| {
        let told = told_of_network(node).await;
        assert_eq!(told["ready"], true, "{told}");
        assert_eq!(told["list"]["name"], node.network_name());
        assert_eq!(told["list"]["native"], false);
        let [bridge, tuning] = &told["list"]["plugins"].as_array().unwrap()[..] else {
            panic!("{told}");
        };
        assert_eq!(
            (&bridge["type"], &tuning["type"]),
            (&"bridge".into(), &"tuning".into())
        );
        assert_eq!(tuning["reason"], "there is no native work for it");
        // A kernel without the expressions that masquerading takes leaves the bridge to its plugin, and says so.
        assert_eq!(
            bridge["native"] == true,
            bridge["reason"].is_null(),
            "{told}"
        );
        // It follows the configuration.
        node.write_network(
            "00-first.conflist",
            &serde_json::json!({
            "cniVersion": "1.0.0", "name": "alone", "plugins": [{"type": "loopback"}]}),
        );
        until("the other list is told of", async || {
            let told = told_of_network(node).await;
            told["list"]["name"] == "alone" && told["list"]["native"] == true
        })
        .await;
    })
    .await;
}
