//! Pods on the plugins that everyone has.

use super::*;

#[test]
fn pods_reach_each_other_and_leave_nothing() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge(
                r#",{"type":"tuning","sysctl":{"net.core.somaxconn":"500"}},{"type":"firewall"},
                {"type":"bandwidth","capabilities":{"bandwidth":true}},
                {"type":"portmap","capabilities":{"portMappings":true}}"#,
            );
            let network = host.network().await;
            assert!(network.status().ready, "{:?}", network.status());
            assert_eq!(network.network_name().as_deref(), Some("pods"));
            let (mut a, b) = (host.pod().await, host.pod().await);
            a.ports = vec![published()];
            a.bandwidth.ingress = Some(1_000_000_000);
            let at = network.add(&a).await.unwrap();
            let bt = network.add(&b).await.unwrap();
            assert_eq!(at.addresses().len(), 2, "{at:?}");
            assert_eq!(at.interface, "eth0");
            assert!(at.addresses()[0].is_ipv4() && at.addresses()[1].is_ipv6());
            assert_ne!(at.addresses(), bt.addresses());
            assert_eq!(network.attachment(&a.id).await.unwrap(), Some(at.clone()));

            serve(&a, "[::]:80");
            for ip in at.addresses() {
                assert_eq!(ask_from(&b, (ip, 80).into()).unwrap(), a.id.as_str());
                assert_eq!(ask((ip, 80).into()).unwrap(), a.id.as_str());
            }
            // The plugin publishes the port.
            assert!(!ruleset().contains("corten_"));
            let published = ask(([127, 0, 0, 1], 18080).into());
            assert_eq!(published.unwrap(), a.id.as_str());
            let error = network
                .add(&PodNetwork {
                    ports: a.ports.clone(),
                    ..pod("/nowhere")
                })
                .await
                .unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("host port 18080/tcp is taken by pod space/pod (sandbox "),
                "{error}"
            );

            assert_eq!(host.reserved().len(), 4);
            for pod in [&a, &b] {
                network.del(&pod.id).await.unwrap();
                network.del(&pod.id).await.unwrap();
                host.unpin(pod).await;
            }
            assert!(host.reserved().is_empty());
            assert_eq!(links(), ["lo", "tbr0"]);
            assert!(network.cached().await.unwrap().is_empty());
            assert_eq!(fs::read_dir(host.path("cache")).unwrap().count(), 0);
            let rules = ruleset();
            for ip in at.addresses().iter().chain(&bt.addresses()) {
                assert!(!rules.contains(&ip.to_string()), "{ip}: {rules}");
            }
            assert!(!rules.contains("18080"), "{rules}");
        })
    });
}

#[test]
fn del_works_without_namespace_and_configuration() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge(r#",{"type":"portmap","capabilities":{"portMappings":true}}"#);
            let pod = host.pod().await;
            host.network().await.add(&pod).await.unwrap();
            assert_eq!(host.reserved().len(), 2);
            host.unpin(&pod).await;
            fs::remove_file(host.path("conf/10-bridge.conflist")).unwrap();

            let network = host.network().await;
            assert!(!network.status().ready);
            assert_eq!(
                network.cached().await.unwrap(),
                std::slice::from_ref(&pod.id)
            );
            assert!(network.check(&pod.id).await.is_err());
            network.del(&pod.id).await.unwrap();
            assert!(host.reserved().is_empty());
        })
    });
}

#[test]
fn many_come_and_go_at_once() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge("");
            let network = host.network().await;
            let mut pods = Vec::new();
            for _ in 0..12 {
                pods.push(host.pod().await);
            }
            let adds = pods.iter().map(|pod| network.add(pod));
            let mut ips = BTreeSet::new();
            for attachment in futures_util::future::join_all(adds).await {
                ips.extend(attachment.unwrap().addresses());
            }
            assert_eq!(ips.len(), 24);
            network.check(&pods[0].id).await.unwrap();
            let dels = pods.iter().map(|pod| network.del(&pod.id));
            for done in futures_util::future::join_all(dels).await {
                done.unwrap();
            }
            assert!(host.reserved().is_empty());
            assert_eq!(links(), ["lo", "tbr0"]);
        })
    });
}

#[test]
fn after_a_start_only_the_living_stay() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge("");
            let (dead, live) = (host.pod().await, host.pod().await);
            let first = host.network().await;
            first.add(&dead).await.unwrap();
            let attachment = first.add(&live).await.unwrap();
            drop(first);

            let network = host.network().await;
            let new = host.pod().await;
            network.add(&new).await.unwrap();
            let report = network
                .gc(&BTreeSet::from([live.id.clone()]))
                .await
                .unwrap();
            assert_eq!(report.removed, [dead.id]);
            assert!(report.failed.is_empty() && report.plugins.is_empty());
            let mut left = network.cached().await.unwrap();
            left.sort();
            let mut want = vec![live.id.clone(), new.id.clone()];
            want.sort();
            assert_eq!(left, want, "what came since is left alone");
            serve(&live, "[::]:80");
            let ip = attachment.addresses()[0];
            assert_eq!(ask((ip, 80).into()).unwrap(), live.id.as_str());
        })
    });
}

#[test]
fn old_versions_and_single_plugins_work() {
    on_a_host(|host| {
        Box::pin(async move {
            for version in ["0.2.0", "0.3.1", "0.4.0"] {
                let data = host.path("ipam");
                host.conf(
                    "10-ptp.conf",
                    &format!(
                        r#"{{"cniVersion":"{version}","name":"pods","type":"ptp","ipam":{{"type":"host-local","dataDir":"{}",
                        "subnet":"10.88.8.0/24"}}}}"#,
                        data.display()
                    ),
                );
                let network = host.network().await;
                let pod = host.pod().await;
                let attachment = network.add(&pod).await.unwrap();
                assert_eq!(attachment.addresses().len(), 1, "{version}");
                network.check(&pod.id).await.unwrap();
                network.del(&pod.id).await.unwrap();
                assert!(host.reserved().is_empty(), "{version}");
                assert_eq!(links(), ["lo"]);
            }
        })
    });
}
