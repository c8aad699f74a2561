//! What is done without plugins, where something is in its way.

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{native::plugin::Usage, *};
use crate::causes::whole;

/// A bridge whose pods are called by `more` and get addresses of `ipam`.
fn bridge(host: &Host, version: &str, more: &str, ipam: &str) {
    let text = format!(
        r#"{{"cniVersion":"{version}","name":"pods","plugins":[{{"type":"bridge","bridge":"tbr0"{more},
        "ipam":{{"type":"host-local","dataDir":"{}",{ipam}}}}}]}}"#,
        host.path("ipam").display()
    );
    host.conf("10.conflist", &text);
}

const MASQUERADING: &str = r#","isGateway":true,"ipMasq":true"#;
const DUAL: &str = r#""ranges":[[{"subnet":"10.88.7.0/24"}],[{"subnet":"fd00:88:7::/64"}]]"#;

/// Nothing is left of any pod.
fn nothing_left(host: &Host) {
    assert!(host.reserved().is_empty(), "{:?}", host.reserved());
    assert!(
        !links().iter().any(|name| name.starts_with("veth")),
        "{:?}",
        links()
    );
    assert_eq!(ruleset(), "");
    assert_eq!(fs::read_dir(host.path("cache")).unwrap().count(), 0);
}

#[test]
fn many_come_and_go_at_once_without_plugins() {
    on_a_host(|host| {
        Box::pin(async move {
            bridge(&host, "1.0.0", MASQUERADING, DUAL);
            let network = host.network_by(Usage::Auto).await;
            let mut pods = Vec::new();
            for _ in 0..24 {
                pods.push(host.pod().await);
            }
            let adds = pods.iter().map(|pod| network.add(pod));
            let mut ips = BTreeSet::new();
            for attachment in futures_util::future::join_all(adds).await {
                ips.extend(attachment.unwrap().addresses());
            }
            assert_eq!(ips.len(), 48);
            let rules = ruleset();
            for ip in &ips {
                assert!(rules.contains(&ip.to_string()), "{ip}: {rules}");
            }
            let checks = pods.iter().map(|pod| network.check(&pod.id));
            for done in futures_util::future::join_all(checks).await {
                done.unwrap();
            }
            let dels = pods.iter().map(|pod| network.del(&pod.id));
            for done in futures_util::future::join_all(dels).await {
                done.unwrap();
            }
            nothing_left(&host);
        })
    });
}

#[test]
fn an_add_that_nobody_waits_for_is_undone_all_the_same() {
    on_a_host(|host| {
        Box::pin(async move {
            bridge(&host, "1.0.0", MASQUERADING, DUAL);
            let network = host.network_by(Usage::Auto).await;
            for microseconds in (0..40).map(|n| n * 500) {
                let pod = host.pod().await;
                let limit = Duration::from_micros(microseconds);
                // It may have been done by then.
                let _ = tokio::time::timeout(limit, network.add(&pod)).await;
                network.del(&pod.id).await.unwrap();
                nothing_left(&host);
                host.unpin(&pod).await;
            }
        })
    });
}

#[test]
fn a_network_without_a_free_address_says_so_and_recovers() {
    on_a_host(|host| {
        Box::pin(async move {
            let one = r#""ranges":[[{"subnet":"fd00:88:7::/64"}],[{"subnet":"10.88.7.0/24","rangeStart":"10.88.7.9","rangeEnd":"10.88.7.9"}]]"#;
            bridge(&host, "1.0.0", MASQUERADING, one);
            let network = host.network_by(Usage::Auto).await;
            let (a, b) = (host.pod().await, host.pod().await);
            network.add(&a).await.unwrap();
            let error = network.add(&b).await.unwrap_err();
            assert_eq!(
                whole(&error),
                "network \"pods\": bridge: ADD: no IP addresses available in range set: 10.88.7.9-10.88.7.9"
            );
            assert_eq!(host.reserved(), ["10.88.7.9", "fd00:88:7::2"]);
            network.del(&a.id).await.unwrap();
            let attachment = network.add(&b).await.unwrap();
            assert_eq!(attachment.addresses()[1].to_string(), "10.88.7.9");
            network.del(&b.id).await.unwrap();
            nothing_left(&host);
        })
    });
}

#[test]
fn a_disk_without_room_for_a_reservation_is_an_error_and_leaves_nothing() {
    on_a_host(|host| {
        Box::pin(async move {
            bridge(&host, "1.0.0", MASQUERADING, DUAL);
            let network = host.network_by(Usage::Auto).await;
            let pod = host.pod().await;
            let dir = host.path("ipam");
            fs::create_dir(&dir).unwrap();
            let (none, tmpfs) = (None::<&str>, Some("tmpfs"));
            // Room for the directory, the lock, an address and the name of the last one, and no more.
            let options = Some("nr_inodes=5");
            mount(tmpfs, &dir, tmpfs, MsFlags::empty(), options).unwrap();
            let full = network.add(&pod).await;
            let reserved = host.reserved();
            let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(none, &dir, none, read_only, none).unwrap();
            let unwritable = network.add(&pod).await;
            umount2(&dir, MntFlags::MNT_DETACH).unwrap();
            let error = whole(&full.unwrap_err());
            assert!(
                error.contains("address reservations: ") && error.contains("No space left"),
                "{error}"
            );
            assert!(reserved.is_empty(), "{reserved:?}");
            let error = whole(&unwritable.unwrap_err());
            assert!(error.contains("Read-only file system"), "{error}");
            network.del(&pod.id).await.unwrap();
            network.add(&pod).await.unwrap();
            network.del(&pod.id).await.unwrap();
            nothing_left(&host);
        })
    });
}

#[test]
fn a_bridge_that_is_somebody_elses_is_left_alone() {
    on_a_host(|host| {
        Box::pin(async move {
            bridge(&host, "1.0.0", MASQUERADING, DUAL);
            let network = host.network_by(Usage::Auto).await;
            let pod = host.pod().await;
            ip("link add tbr0 type veth peer name other");
            let error = whole(&network.add(&pod).await.unwrap_err());
            assert!(
                error.ends_with("tbr0 already exists but is not a bridge"),
                "{error}"
            );
            ip("link del tbr0");
            ip("link add tbr0 type bridge");
            ip("addr add 10.1.1.1/24 dev tbr0");
            let error = whole(&network.add(&pod).await.unwrap_err());
            assert!(
                error.ends_with("tbr0 already has the address 10.1.1.1/24, and not 10.88.7.1/24"),
                "{error}"
            );
            nothing_left(&host);
        })
    });
}

#[test]
fn pods_of_an_earlier_daemon_still_call_the_world_by_the_hosts_address() {
    on_a_host(|host| {
        Box::pin(async move {
            bridge(&host, "1.0.0", MASQUERADING, DUAL);
            let (old, gone, new) = (host.pod().await, host.pod().await, host.pod().await);
            let first = host.network_by(Usage::Auto).await;
            let kept = first.add(&old).await.unwrap().addresses();
            let lost = first.add(&gone).await.unwrap().addresses();
            drop(first);
            let masqueraded = |ips: &[std::net::IpAddr]| {
                let rules = ruleset();
                let words = || rules.split([' ', ',', '\n', '\t']);
                ips.iter()
                    .all(|ip| words().any(|word| word == ip.to_string()))
            };
            let second = host.network_by(Usage::Auto).await;
            let added = second.add(&new).await.unwrap().addresses();
            assert!(masqueraded(&kept) && masqueraded(&added), "{}", ruleset());
            second.gc(&BTreeSet::from([old.id.clone()])).await.unwrap();
            assert!(masqueraded(&kept) && masqueraded(&added), "{}", ruleset());
            assert!(
                !masqueraded(&lost[..1]) && !masqueraded(&lost[1..]),
                "{}",
                ruleset()
            );
            // Somebody was at the packet filter: the next change makes it good.
            let flushed = Command::new("nft").args(["flush", "ruleset"]).status();
            assert!(flushed.unwrap().success());
            second.add(&gone).await.unwrap();
            assert!(masqueraded(&kept) && masqueraded(&added), "{}", ruleset());
            drop(second);
            // By programs from now on: what is not theirs goes all the same.
            let third = host.network_by(Usage::Never).await;
            for pod in [&old, &gone, &new] {
                third.del(&pod.id).await.unwrap();
            }
            assert!(!ruleset().contains("corten-masquerade"), "{}", ruleset());
            assert!(host.reserved().is_empty());
        })
    });
}

#[test]
fn a_list_of_the_newest_version_is_collected_without_plugins() {
    on_a_host(|host| {
        Box::pin(async move {
            bridge(&host, "1.1.0", "", DUAL);
            let network = host.network_by(Usage::Auto).await;
            network.wait_ready(Duration::from_secs(60)).await.unwrap();
            let pod = host.pod().await;
            let attachment = network.add(&pod).await.unwrap();
            assert_eq!(attachment.interfaces[2].mtu, Some(1500));
            let stray = host.path("ipam/pods/10.88.7.200");
            fs::write(&stray, "nobody\r\neth0").unwrap();
            let report = network.gc(&BTreeSet::from([pod.id.clone()])).await.unwrap();
            assert!(report.plugins.is_empty(), "{report:?}");
            assert!(!stray.exists());
            assert_eq!(host.reserved().len(), 2);
            network.check(&pod.id).await.unwrap();
            network.del(&pod.id).await.unwrap();
            nothing_left(&host);
        })
    });
}

#[test]
fn what_a_pod_asks_for_it_gets() {
    on_a_host(|host| {
        Box::pin(async move {
            let takes = r#","capabilities":{"mac":true,"ips":true,"ipRanges":true}"#;
            bridge(&host, "1.0.0", takes, DUAL);
            let network = host.network_by(Usage::Auto).await;
            let mut pod = host.pod().await;
            pod.mac = Some("0a:00:00:00:00:77".into());
            pod.ips = vec!["10.88.7.77/24".parse().unwrap()];
            pod.ip_ranges = vec!["10.90.0.5/16".parse().unwrap()];
            let attachment = network.add(&pod).await.unwrap();
            let ips: Vec<_> = attachment
                .ips
                .iter()
                .map(|ip| ip.address.to_string())
                .collect();
            assert_eq!(ips, ["10.90.0.2/16", "10.88.7.77/24", "fd00:88:7::2/64"]);
            assert_eq!(attachment.interfaces[2].mac, "0a:00:00:00:00:77");
            network.del(&pod.id).await.unwrap();
            pod.mac = Some("0a:00".into());
            let error = whole(&network.add(&pod).await.unwrap_err());
            assert!(
                error.ends_with("\"0a:00\" is not a hardware address"),
                "{error}"
            );
            nothing_left(&host);
        })
    });
}

#[test]
fn a_check_tells_what_has_changed() {
    on_a_host(|host| {
        Box::pin(async move {
            let routes = format!(r#"{DUAL},"routes":[{{"dst":"0.0.0.0/0"}}]"#);
            bridge(&host, "1.0.0", MASQUERADING, &routes);
            let network = host.network_by(Usage::Auto).await;
            let pod = host.pod().await;
            let attachment = network.add(&pod).await.unwrap();
            let port = attachment.interfaces[1].name.clone();
            for (change, back, message) in [(
                format!("link set {port} nomaster"),
                format!("link set {port} master tbr0"),
                "is no port of tbr0",
            )] {
                ip(&change);
                let error = whole(&network.check(&pod.id).await.unwrap_err());
                assert!(error.ends_with(message), "{error}");
                ip(&back);
                network.check(&pod.id).await.unwrap();
            }
            for (change, message) in [
                ("route del default", "eth0 has no route to 0.0.0.0/0"),
                (
                    "addr flush dev eth0",
                    "eth0 does not have the address 10.88.7.2/24",
                ),
                ("link del eth0", "the link"),
            ] {
                inside(&pod, move || ip(change)).join().unwrap();
                let error = whole(&network.check(&pod.id).await.unwrap_err());
                assert!(error.contains(message), "{change}: {error}");
            }
            network.del(&pod.id).await.unwrap();
            nothing_left(&host);
        })
    });
}

fn ip(args: &str) {
    let out = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(out.status.success(), "{args}: {out:?}");
}
