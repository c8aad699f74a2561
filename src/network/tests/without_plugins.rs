//! Networks made without plugins, beside the same made by plugins.

use super::{
    native::plugin::{Usage, Way, ways},
    state::{State, differences, state},
    *,
};
use crate::network::cni::conf::ConfList;

/// Lists that are done natively, with what stands for their `ipam` left out.
const BRIDGES: [&str; 6] = [
    r#""type":"bridge","bridge":"tbr0","isGateway":true,"hairpinMode":true"#,
    r#""type":"bridge","bridge":"tbr0","isDefaultGateway":true,"mtu":1400"#,
    r#""type":"bridge","bridge":"tbr0","dns":{"nameservers":["10.0.0.10"],"search":["a.example"]}"#,
    r#""type":"bridge","bridge":"tbr0","isGateway":true,"promiscMode":true,"forceAddress":true,"vlan":0"#,
    r#""type":"ptp""#,
    r#""type":"ptp","mtu":1300"#,
];

const IPAMS: [&str; 4] = [
    r#""ranges":[[{"subnet":"10.88.7.0/24"}],[{"subnet":"fd00:88:7::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]"#,
    r#""subnet":"10.88.7.0/24","rangeStart":"10.88.7.20","rangeEnd":"10.88.7.30","gateway":"10.88.7.19","routes":[{"dst":"10.99.0.0/16","gw":"10.88.7.18"}]"#,
    r#""ranges":[[{"subnet":"fd00:88:7::/64","gateway":"fd00:88:7::99"}]],"routes":[{"dst":"::/0"}]"#,
    r#""ranges":[[{"subnet":"10.88.7.0/24"}],[{"subnet":"10.89.0.0/16","gateway":"10.89.3.3"}],[{"subnet":"fd00:88:7::/64"}]]"#,
];

fn list(host: &Host, version: &str, plugin: &str, ipam: &str, more: &str) -> String {
    format!(
        r#"{{"cniVersion":"{version}","name":"pods","plugins":[{{{plugin},
        "ipam":{{"type":"host-local","dataDir":"{}",{ipam}}}}}{more}]}}"#,
        host.path("ipam").display()
    )
}

/// What came of attaching a pod and of detaching it again.
#[derive(Debug, PartialEq)]
struct Life {
    result: Value,
    attached: State,
    detached: State,
}

/// Attaches a pod and detaches it, on a host of its own, by these.
fn life(conf: impl Fn(&Host) -> String + Send + 'static, add: Usage, del: Usage) -> Life {
    let (tx, rx) = std::sync::mpsc::channel();
    on_a_host(move |host| {
        Box::pin(async move {
            host.conf("10.conflist", &conf(&host));
            let pod = host.pod().await;
            let network = host.network_by(add).await;
            network.add(&pod).await.unwrap();
            let record = host.path("cache").join(format!("{}.result", pod.id));
            let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
            let mut result = record["result"].clone();
            let mut names = vec![
                (pod.netns.display().to_string(), "NETNS"),
                (pod.id.to_string(), "ID"),
            ];
            for link in result["interfaces"].as_array().unwrap() {
                let name = link["name"].as_str().unwrap();
                if name.starts_with("veth") {
                    names.push((name.to_owned(), "VETH"));
                }
                let place = match name {
                    "tbr0" => "MAC-OF-BRIDGE",
                    "eth0" => "MAC-OF-POD",
                    _ => "MAC-OF-VETH",
                };
                names.push((link["mac"].as_str().unwrap().to_owned(), place));
            }
            let mut text = result.to_string();
            for (name, place) in &names {
                text = text.replace(name.as_str(), place);
            }
            result = serde_json::from_str(&text).unwrap();
            let attached = state(&host, Some(&pod), &names);
            drop(network);
            let network = host.network_by(del).await;
            network.check(&pod.id).await.unwrap();
            network.del(&pod.id).await.unwrap();
            network.del(&pod.id).await.unwrap();
            let detached = state(&host, Some(&pod), &names);
            assert_eq!(fs::read_dir(host.path("cache")).unwrap().count(), 0);
            host.unpin(&pod).await;
            tx.send(Life {
                result,
                attached,
                detached,
            })
            .unwrap();
        })
    });
    rx.recv().unwrap()
}

fn compare(what: &str, one: &Life, other: &Life) {
    assert_eq!(one.result, other.result, "{what}: result");
    for (when, one, other) in [
        ("attached", &one.attached, &other.attached),
        ("detached", &one.detached, &other.detached),
    ] {
        let found = differences(one, other);
        assert!(found.is_empty(), "{what}, {when}:\n{}", found.join("\n"));
    }
}

#[test]
fn what_is_done_natively_is_what_the_plugins_do() {
    let threads: Vec<_> = BRIDGES
        .iter()
        .map(|plugin| {
            std::thread::spawn(move || {
                for ipam in IPAMS {
                    // The plugin makes no second default route.
                    if plugin.contains("isDefaultGateway") && ipam.contains("/0\"") {
                        continue;
                    }
                    // A bridge has one address of IPv4.
                    if plugin.contains("Gateway")
                        && !plugin.contains("force")
                        && ipam.contains("10.89")
                    {
                        continue;
                    }
                    let conf = move |host: &Host| list(host, "1.0.0", plugin, ipam, "");
                    let by_plugins = life(conf, Usage::Never, Usage::Never);
                    let natively = life(conf, Usage::Auto, Usage::Auto);
                    compare(&format!("{plugin} {ipam}"), &by_plugins, &natively);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn loopback_is_what_its_plugin_makes_of_it() {
    let conf = |_: &Host| {
        r#"{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"loopback"}]}"#.to_owned()
    };
    let by_plugins = life(conf, Usage::Never, Usage::Never);
    let natively = life(conf, Usage::Auto, Usage::Auto);
    compare("loopback", &by_plugins, &natively);
    compare(
        "loopback",
        &natively,
        &life(conf, Usage::Auto, Usage::Never),
    );
}

#[test]
fn results_are_of_the_lists_version() {
    for version in ["0.3.0", "0.3.1", "0.4.0"] {
        let conf = move |host: &Host| list(host, version, BRIDGES[0], IPAMS[0], "");
        let by_plugins = life(conf, Usage::Never, Usage::Never);
        let natively = life(conf, Usage::Auto, Usage::Auto);
        assert_eq!(natively.result["cniVersion"], version);
        compare(version, &by_plugins, &natively);
    }
}

#[test]
fn plugins_take_over_what_was_done_natively() {
    for plugin in [BRIDGES[0], BRIDGES[4]] {
        let conf = move |host: &Host| list(host, "1.0.0", plugin, IPAMS[0], "");
        let natively = life(conf, Usage::Auto, Usage::Auto);
        let taken_over = life(conf, Usage::Auto, Usage::Never);
        compare(plugin, &natively, &taken_over);
    }
}

#[test]
fn pods_of_plugins_are_taken_back_by_them_when_the_rest_is_native() {
    let conf = move |host: &Host| {
        let masquerading = r#""type":"bridge","bridge":"tbr0","isGateway":true,"ipMasq":true"#;
        list(host, "1.0.0", masquerading, IPAMS[0], "")
    };
    let by_plugins = life(conf, Usage::Never, Usage::Never);
    let upgraded = life(conf, Usage::Never, Usage::Auto);
    compare("upgraded", &by_plugins, &upgraded);
}

#[test]
fn a_list_may_be_done_in_part() {
    let tuning = r#",{"type":"tuning","sysctl":{"net.core.somaxconn":"500"}},{"type":"portmap","capabilities":{"portMappings":true}}"#;
    let conf = move |host: &Host| list(host, "1.0.0", BRIDGES[0], IPAMS[0], tuning);
    let by_plugins = life(conf, Usage::Never, Usage::Never);
    let natively = life(conf, Usage::Auto, Usage::Auto);
    compare("in part", &by_plugins, &natively);
}

#[test]
fn the_list_that_is_shipped_is_done_natively() {
    let text = include_bytes!("../../../contrib/cni/10-corten.conflist");
    let list = ConfList::parse_list(text).unwrap().list;
    for way in ways(&list, Usage::Auto) {
        assert!(matches!(way, Way::Native(_)), "{way:?}");
    }
}

#[test]
fn pods_reach_each_other_the_host_and_the_world_without_any_program() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge(r#",{"type":"portmap","capabilities":{"portMappings":true}}"#);
            // There are none.
            let network = Network::open(NetworkConfig {
                plugin_dirs: vec![host.path("bin")],
                ..host.config_by(Usage::Auto)
            })
            .await
            .unwrap();
            assert!(network.status().ready, "{:?}", network.status());
            let (mut a, b) = (host.pod().await, host.pod().await);
            a.ports = vec![published()];
            let at = network.add(&a).await.unwrap();
            let bt = network.add(&b).await.unwrap();
            serve(&a, "[::]:80");
            for ip in at.addresses() {
                assert_eq!(ask_from(&b, (ip, 80).into()).unwrap(), a.id.as_str());
                assert_eq!(ask((ip, 80).into()).unwrap(), a.id.as_str());
            }
            assert_eq!(ask(([127, 0, 0, 1], 18080).into()).unwrap(), a.id.as_str());
            let world = World::beyond();
            for (ip, host_ip) in [
                ("203.0.113.2", "203.0.113.1"),
                ("2001:db8::2", "2001:db8::1"),
            ] {
                let ip: std::net::IpAddr = ip.parse().unwrap();
                assert_eq!(world.caller(&b, ip), host_ip);
                // Within its network a pod is itself.
            }
            serve_callers(&a, "[::]:81");
            for (to, from) in at.addresses().into_iter().zip(bt.addresses()) {
                assert_eq!(caller(&b, (to, 81).into()), from.to_string());
            }
            network.check(&a.id).await.unwrap();
            for pod in [&a, &b] {
                network.del(&pod.id).await.unwrap();
                host.unpin(pod).await;
            }
            assert!(host.reserved().is_empty());
            assert!(
                !links()
                    .iter()
                    .any(|name| name.starts_with("veth") && name != "vethworld")
            );
            assert_eq!(ruleset(), "");
        })
    });
}

/// A machine beyond the host.
struct World {
    _netns: File,
}

impl World {
    fn beyond() -> Self {
        let netns = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            netlink::link_up("lo").unwrap();
            for conf in ["all", "default"] {
                fs::write(format!("/proc/sys/net/ipv6/conf/{conf}/accept_dad"), "0").unwrap();
            }
            File::open("/proc/thread-self/ns/net").unwrap()
        })
        .join()
        .unwrap();
        let inner = netns.try_clone().unwrap();
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            std::os::fd::AsRawFd::as_raw_fd(&netns)
        );
        run_ip(&[
            "link",
            "add",
            "vethworld",
            "type",
            "veth",
            "peer",
            "name",
            "outside",
            "netns",
            &path,
        ]);
        run_ip(&["addr", "add", "203.0.113.1/24", "dev", "vethworld"]);
        run_ip(&["addr", "add", "2001:db8::1/64", "dev", "vethworld", "nodad"]);
        run_ip(&["link", "set", "vethworld", "up"]);
        std::thread::spawn(move || {
            setns(inner, CloneFlags::CLONE_NEWNET).unwrap();
            run_ip(&["addr", "add", "203.0.113.2/24", "dev", "outside"]);
            run_ip(&["addr", "add", "2001:db8::2/64", "dev", "outside", "nodad"]);
            run_ip(&["link", "set", "outside", "up"]);
            let listener = TcpListener::bind("[::]:82").unwrap();
            std::thread::spawn(move || tell_callers(&listener));
        })
        .join()
        .unwrap();
        Self { _netns: netns }
    }

    fn caller(&self, pod: &PodNetwork, ip: std::net::IpAddr) -> String {
        caller(pod, (ip, 82).into())
    }
}

fn run_ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {out:?}");
}

/// Tells each caller its address.
fn tell_callers(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        let peer = stream.peer_addr().unwrap().ip().to_canonical();
        let _ = write!(stream, "{peer}");
    }
}

fn serve_callers(pod: &PodNetwork, address: &'static str) {
    let listener = inside(pod, move || TcpListener::bind(address).unwrap());
    let listener = listener.join().unwrap();
    std::thread::spawn(move || tell_callers(&listener));
}

/// The address that a pod is known by to whom it calls.
fn caller(pod: &PodNetwork, address: SocketAddr) -> String {
    ask_from(pod, address).unwrap()
}
