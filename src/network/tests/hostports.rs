//! Ports of the host without a plugin for them.

use std::net::IpAddr;

use super::*;
use crate::pod::spec::{PortMapping, Protocol};

fn tcp(host_port: u16, container_port: u16, host_ip: Option<&str>) -> PortMapping {
    PortMapping {
        protocol: Protocol::Tcp,
        container_port,
        host_port,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
    }
}

fn localnet(link: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/route_localnet")).unwrap()
}

#[test]
fn packets_go_to_the_pod_from_everywhere() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge("");
            let network = host.network().await;
            let (mut a, b) = (host.pod().await, host.pod().await);
            a.ports = vec![
                tcp(18080, 80, None),
                tcp(18081, 80, Some("127.0.0.1")),
                PortMapping {
                    protocol: Protocol::Udp,
                    ..tcp(18080, 53, None)
                },
            ];
            let attachment = network.add(&a).await.unwrap();
            network.add(&b).await.unwrap();
            serve(&a, "[::]:80");
            let a_id = a.id.as_str();
            let gateways: Vec<IpAddr> = attachment
                .ips
                .iter()
                .map(|ip| ip.gateway.unwrap())
                .collect();
            for gateway in &gateways {
                let address = (*gateway, 18080).into();
                assert_eq!(ask(address).unwrap(), a_id, "from the host");
                assert_eq!(ask_from(&b, address).unwrap(), a_id, "from a neighbour");
                assert_eq!(ask_from(&a, address).unwrap(), a_id, "from itself");
            }
            let refused = ask("[::1]:18080".parse().unwrap()).unwrap_err();
            assert!(
                refused.ends_with("Connection refused (os error 111)"),
                "{refused}"
            );
            for port in [18080, 18081] {
                assert_eq!(ask(([127, 0, 0, 1], port).into()).unwrap(), a_id);
            }
            assert!(
                ask((gateways[0], 18081).into()).is_err(),
                "only on 127.0.0.1"
            );
            assert_eq!(localnet("tbr0"), "1\n");

            // A daemon that starts again takes up where the first one was.
            drop(network);
            let network = host.network().await;
            let mut c = host.pod().await;
            c.ports = vec![tcp(18080, 80, Some("10.88.7.1"))];
            let error = network.add(&c).await.unwrap_err();
            assert!(error.to_string().contains(a_id), "{error}");
            network
                .gc(&BTreeSet::from([a.id.clone(), b.id.clone()]))
                .await
                .unwrap();
            assert_eq!(ask(([127, 0, 0, 1], 18080).into()).unwrap(), a_id);

            network.del(&a.id).await.unwrap();
            assert!(!ruleset().contains("corten_"), "{}", ruleset());
            assert_eq!(localnet("tbr0"), "0\n");
            assert!(ask(([127, 0, 0, 1], 18080).into()).is_err());
            c.ports[0].host_ip = None;
            network.add(&c).await.unwrap();
            serve(&c, "[::]:80");
            assert_eq!(
                ask((gateways[0], 18080).into()).unwrap(),
                c.id.as_str(),
                "the port is free again"
            );
            network.del(&c.id).await.unwrap();
            network.del(&b.id).await.unwrap();
        })
    });
}

#[test]
fn daemons_side_by_side_have_tables_of_their_own() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge("");
            let one = host.network().await;
            let two = Network::open(NetworkConfig {
                tag: "other".into(),
                cache_dir: host.path("cache2"),
                ..host.config()
            })
            .await
            .unwrap();
            let (mut a, mut b) = (host.pod().await, host.pod().await);
            a.ports = vec![tcp(18080, 80, None)];
            b.ports = vec![tcp(18081, 80, None)];
            one.add(&a).await.unwrap();
            two.add(&b).await.unwrap();
            for pod in [&a, &b] {
                serve(pod, "0.0.0.0:80");
            }
            one.del(&a.id).await.unwrap();
            assert!(!ruleset().contains("corten_test"));
            let answer = ask(([10, 88, 7, 1], 18081).into());
            assert_eq!(answer.unwrap(), b.id.as_str());
            two.del(&b.id).await.unwrap();
            assert!(!ruleset().contains("corten_"));
        })
    });
}

#[test]
fn a_port_of_a_family_the_pod_lacks_is_refused_and_undone() {
    on_a_host(|host| {
        Box::pin(async move {
            let data = host.path("ipam");
            host.conf(
                "10-ptp.conf",
                &format!(
                    r#"{{"cniVersion":"1.0.0","name":"pods","type":"ptp","ipam":{{"type":"host-local","dataDir":"{}",
                    "subnet":"10.88.9.0/24"}}}}"#,
                    data.display()
                ),
            );
            let network = host.network().await;
            let mut pod = host.pod().await;
            pod.ports = vec![tcp(18080, 80, None), tcp(18082, 80, Some("fd00::1"))];
            let error = network.add(&pod).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "host port 18082: the pod has no IPv6 address to send packets to"
            );
            assert!(host.reserved().is_empty());
            assert!(network.cached().await.unwrap().is_empty());
            assert!(!ruleset().contains("corten_"));
            pod.ports[1] = tcp(18083, 80, Some("::1"));
            let error = network.add(&pod).await.unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("host port 18083: cannot be published on ::1"),
                "{error}"
            );
            pod.ports.pop();
            network.add(&pod).await.unwrap();
            serve(&pod, "0.0.0.0:80");
            assert_eq!(
                ask(([127, 0, 0, 1], 18080).into()).unwrap(),
                pod.id.as_str()
            );
            // The table vanishing under us is made good by the next change.
            assert!(
                Command::new("nft")
                    .args(["flush", "ruleset"])
                    .status()
                    .unwrap()
                    .success()
            );
            network.del(&pod.id).await.unwrap();
        })
    });
}
