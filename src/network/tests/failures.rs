//! Plugins that do not do as they should.

use super::*;
use crate::causes::whole;

const FAIL_ADD: &str = "if [ $CNI_COMMAND = ADD ]; then\n\
    echo '{\"cniVersion\":\"1.0.0\",\"code\":117,\"msg\":\"no luck\",\"details\":\"at all\"}'; exit 1\nfi";

#[test]
fn a_failed_add_is_undone() {
    on_a_host(|host| {
        Box::pin(async move {
            host.plugin("unlucky", FAIL_ADD);
            host.bridge(r#",{"type":"unlucky"}"#);
            let network = host.network().await;
            let pod = host.pod().await;
            let error = network.add(&pod).await.unwrap_err();
            assert_eq!(
                whole(&error),
                "network \"pods\": plugin unlucky: ADD: no luck (code 117): at all"
            );
            let netns = format!("netns={}", pod.netns.display());
            assert_eq!(
                host.calls(),
                [
                    format!("unlucky ADD {netns}"),
                    format!("unlucky DEL {netns}")
                ]
            );
            let add = host.input("unlucky.ADD");
            assert_eq!(add["name"], "pods");
            assert_eq!(add["cniVersion"], "1.0.0");
            assert_eq!(add["prevResult"]["interfaces"][2]["name"], "eth0");
            assert!(host.input("unlucky.DEL").get("prevResult").is_none());
            assert!(host.reserved().is_empty());
            assert_eq!(links(), ["lo", "tbr0"]);
            assert!(network.cached().await.unwrap().is_empty());
        })
    });
}

#[test]
fn a_failed_undo_is_retried() {
    on_a_host(|host| {
        Box::pin(async move {
            host.plugin("stuck", "exit 1");
            host.bridge(r#",{"type":"stuck"}"#);
            let network = host.network().await;
            let pod = host.pod().await;
            network.add(&pod).await.unwrap_err();
            assert_eq!(network.cached().await.unwrap().len(), 1);
            assert_eq!(host.reserved().len(), 2);
            let error = network.del(&pod.id).await.unwrap_err();
            assert!(
                whole(&error)
                    .starts_with("network \"pods\": plugin stuck: DEL: ended with exit status: 1"),
                "{}",
                whole(&error)
            );
            host.plugin("stuck", "exit 0");
            network.del(&pod.id).await.unwrap();
            assert!(host.reserved().is_empty());
            assert!(network.cached().await.unwrap().is_empty());
        })
    });
}

#[test]
fn a_plugin_that_hangs_is_killed() {
    on_a_host(|host| {
        Box::pin(async move {
            host.plugin(
                "slow",
                "if [ $CNI_COMMAND = ADD ]; then echo still here >&2; sleep 1000; fi",
            );
            host.bridge(r#",{"type":"slow"}"#);
            let network = Network::open(NetworkConfig {
                plugin_timeout: Duration::from_secs(2),
                ..host.config()
            })
            .await
            .unwrap();
            let pod = host.pod().await;
            let error = whole(&network.add(&pod).await.unwrap_err());
            assert!(error.contains("plugin slow: ADD: "), "{error}");
            assert!(
                error.ends_with("did not end within 2 s and was killed: still here"),
                "{error}"
            );
            assert!(host.reserved().is_empty());
        })
    });
}

#[test]
fn garbage_is_no_result() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge(r#",{"type":"babbler"}"#);
            for (body, message) in [
                (
                    "echo hello",
                    "plugin babbler: ADD: answered \"hello\": not a CNI result: ",
                ),
                ("", "plugin babbler: ADD: answered \"\": not a CNI result: "),
                (
                    "echo '{\"ips\":[{\"address\":\"x\"}]}'",
                    "is not an address with a prefix length",
                ),
                (
                    "echo oops >&2; echo out; exit 7",
                    "ended with exit status: 7 and no CNI error: oops out",
                ),
                ("kill -9 $$", "ended with signal: 9"),
                ("cat /dev/zero", "printed more than 1048576 bytes"),
            ] {
                host.plugin(
                    "babbler",
                    &format!("if [ $CNI_COMMAND = DEL ]; then exit 0; fi\n{body}"),
                );
                let network = host.network().await;
                let pod = host.pod().await;
                let error = whole(&network.add(&pod).await.unwrap_err());
                assert!(error.contains(message), "{message}: {error}");
                assert!(host.reserved().is_empty());
                assert!(network.cached().await.unwrap().is_empty());
            }
        })
    });
}

#[test]
fn an_add_cut_short_is_found_again() {
    on_a_host(|host| {
        Box::pin(async move {
            host.plugin("slow", "[ $CNI_COMMAND = ADD ] && sleep 1000\nexit 0");
            host.bridge(r#",{"type":"slow"}"#);
            let pod = host.pod().await;
            let network = host.network().await;
            tokio::select! {
                done = network.add(&pod) => panic!("{done:?}"),
                () = async { while host.calls().is_empty() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
            }
            drop(network);
            assert_eq!(host.reserved().len(), 2);
            // The configuration of today is another one.
            fs::remove_file(host.path("conf/10-bridge.conflist")).unwrap();
            let network = host.network().await;
            assert_eq!(network.attachment(&pod.id).await.unwrap(), None);
            assert!(matches!(
                network.check(&pod.id).await,
                Err(NetworkError::Incomplete(_))
            ));
            let report = network.gc(&BTreeSet::new()).await.unwrap();
            assert_eq!(report.removed, std::slice::from_ref(&pod.id));
            assert!(host.reserved().is_empty());
        })
    });
}

#[test]
fn a_record_that_is_no_good_stops_nothing() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge("");
            let network = host.network().await;
            let pod = host.pod().await;
            network.add(&pod).await.unwrap();
            drop(network);
            let record = host.path("cache").join(format!("{}.intent", pod.id));
            fs::write(&record, "{").unwrap();
            let network = host.network().await;
            assert_eq!(network.unreadable(), std::slice::from_ref(&pod.id));
            assert!(record.with_extension("intent.bad").exists());
            drop(network);
            // The next daemon knows of it, too.
            let network = host.network().await;
            assert_eq!(network.unreadable(), std::slice::from_ref(&pod.id));
            assert!(!host.reserved().is_empty());
            // Detached all the same, with the configuration of today.
            network.gc(&BTreeSet::new()).await.unwrap();
            assert!(host.reserved().is_empty());
            assert!(network.cached().await.unwrap().is_empty());
            assert!(!record.with_extension("intent.bad").exists());
        })
    });
}

#[test]
fn names_that_plugins_could_misread_are_refused() {
    on_a_host(|host| {
        Box::pin(async move {
            host.bridge("");
            let network = host.network().await;
            let mut pod = host.pod().await;
            pod.name = "x;K8S_POD_NAMESPACE=kube-system".into();
            let error = network.add(&pod).await.unwrap_err();
            assert!(matches!(error, NetworkError::Args(_)), "{error}");
            assert!(network.cached().await.unwrap().is_empty());
        })
    });
}
