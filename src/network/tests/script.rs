//! What plugins of version 1.1 are asked, seen by plugins of our own.

use super::*;

const ECHO: &str =
    "[ $CNI_COMMAND = ADD ] && echo '{\"ips\":[{\"address\":\"10.9.0.2/24\"}]}'\nexit 0";

fn list(kinds: &[&str], more: &str) -> String {
    let plugins: Vec<_> = kinds
        .iter()
        .map(|k| format!(r#"{{"type":"{k}"}}"#))
        .collect();
    format!(
        r#"{{"cniVersion":"1.0.0","cniVersions":["0.4.0","1.1.0"],"name":"own"{more},"plugins":[{}]}}"#,
        plugins.join(",")
    )
}

#[test]
fn verbs_go_through_the_chain_in_order() {
    on_a_host(|host| {
        Box::pin(async move {
            for name in ["one", "two"] {
                host.plugin(name, ECHO);
            }
            host.conf("1.conflist", &list(&["one", "two"], ""));
            let network = host.network().await;
            network.wait_ready(Duration::from_secs(60)).await.unwrap();
            let pod = host.pod().await;
            network.add(&pod).await.unwrap();
            network.check(&pod.id).await.unwrap();
            let report = network.gc(&BTreeSet::from([pod.id.clone()])).await.unwrap();
            assert!(report.plugins.is_empty(), "{report:?}");
            network.del(&pod.id).await.unwrap();
            let netns = pod.netns.display();
            assert_eq!(
                host.calls(),
                [
                    "one STATUS netns=".to_owned(),
                    "two STATUS netns=".to_owned(),
                    format!("one ADD netns={netns}"),
                    format!("two ADD netns={netns}"),
                    format!("one CHECK netns={netns}"),
                    format!("two CHECK netns={netns}"),
                    "one GC netns=".to_owned(),
                    "two GC netns=".to_owned(),
                    format!("two DEL netns={netns}"),
                    format!("one DEL netns={netns}"),
                ]
            );
            assert_eq!(host.input("one.ADD")["cniVersion"], "1.1.0");
            assert!(host.input("one.ADD").get("prevResult").is_none());
            for call in ["two.ADD", "one.CHECK", "two.DEL"] {
                let input = host.input(call);
                assert_eq!(
                    input["prevResult"]["ips"][0]["address"], "10.9.0.2/24",
                    "{call}"
                );
                assert_eq!(input["prevResult"]["cniVersion"], "1.1.0");
            }
            assert_eq!(
                host.input("one.GC")["cni.dev/valid-attachments"],
                serde_json::json!([{"containerID": pod.id.as_str(), "ifname": "eth0"}])
            );
        })
    });
}

#[test]
fn what_the_list_switches_off_is_not_asked() {
    on_a_host(|host| {
        Box::pin(async move {
            host.plugin("one", ECHO);
            let off = r#","disableCheck":true,"disableGC":true"#;
            host.conf("1.conflist", &list(&["one"], off));
            let network = host.network().await;
            network.wait_ready(Duration::from_secs(60)).await.unwrap();
            let pod = host.pod().await;
            network.add(&pod).await.unwrap();
            network.check(&pod.id).await.unwrap();
            network.gc(&BTreeSet::new()).await.unwrap();
            let calls = host.calls();
            assert_eq!(calls.len(), 2, "{calls:?}");
        })
    });
}

#[test]
fn a_plugin_of_an_older_version_is_spoken_to_in_it() {
    on_a_host(|host| {
        Box::pin(async move {
            host.plugin("one", ECHO);
            // Debian's are of version 1.0.0.
            host.conf("1.conflist", &list(&["one", "tuning"], ""));
            let network = host.network().await;
            network.wait_ready(Duration::from_secs(60)).await.unwrap();
            let pod = host.pod().await;
            network.add(&pod).await.unwrap();
            assert_eq!(host.input("one.ADD")["cniVersion"], "1.0.0");
            assert_eq!(host.calls().len(), 1, "no STATUS before 1.1");
            network.del(&pod.id).await.unwrap();
        })
    });
}

#[test]
fn a_plugin_says_when_it_is_not_ready() {
    on_a_host(|host| {
        Box::pin(async move {
            let flag = host.path("ready");
            host.plugin(
                "one",
                &format!(
                    "if [ $CNI_COMMAND = STATUS ] && [ ! -e {} ]; then\n\
                     echo '{{\"code\":50,\"msg\":\"agent is down\"}}'; exit 1\nfi\n{ECHO}",
                    flag.display()
                ),
            );
            host.conf("1.conflist", &list(&["one"], ""));
            let network = host.network().await;
            assert_eq!(network.status().reason, "NetworkPluginNotReady");
            let mut current = network.inner.current.clone();
            let now = current.wait_for(|now| now.conf.is_some()).await.unwrap();
            assert_eq!(
                now.status.message,
                "network \"own\": plugin one: STATUS: agent is down (code 50)"
            );
            drop(now);
            fs::write(&flag, "").unwrap();
            // Asked again at its own pace, or when something changes.
            host.conf("1.conflist", &list(&["one"], " "));
            network.wait_ready(Duration::from_secs(60)).await.unwrap();
            assert_eq!(network.status(), NetworkStatus::ready());
        })
    });
}

#[test]
fn plugins_run_a_bounded_number_at_a_time() {
    on_a_host(|host| {
        Box::pin(async move {
            host.plugin(
                "one",
                "d=$(dirname $0)/../calls; mkdir $d/busy || echo overlap >> $d/log; sleep 0.05; rmdir $d/busy\n\
                 [ $CNI_COMMAND = ADD ] && echo '{}'\nexit 0",
            );
            host.conf(
                "1.conf",
                r#"{"cniVersion":"1.0.0","name":"own","type":"one"}"#,
            );
            let network = Network::open(NetworkConfig {
                plugins_at_once: 1,
                ..host.config()
            })
            .await
            .unwrap();
            let pods = [host.pod().await, host.pod().await, host.pod().await];
            let adds = pods.iter().map(|pod| network.add(pod));
            for added in futures_util::future::join_all(adds).await {
                added.unwrap();
            }
            let calls = host.calls();
            assert_eq!(calls.len(), 3);
            assert!(!counts(&calls).contains_key("overlap"), "{calls:?}");
        })
    });
}
