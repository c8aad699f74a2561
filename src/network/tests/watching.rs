//! Following the directory of configurations.

use super::*;

fn one(name: &str) -> String {
    format!(r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"bridge"}}]}}"#)
}

/// Waits until the network has a name, or none.
async fn becomes(network: &Network, name: Option<&str>) {
    let mut current = network.inner.current.clone();
    let wait = current.wait_for(|now| now.conf.as_ref().map(|c| c.name.as_str()) == name);
    let done = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(done.is_ok(), "{name:?}: {:?}", network.status());
    assert_eq!(network.status().ready, name.is_some());
}

#[test]
fn changes_are_seen() {
    on_a_host(|host| {
        Box::pin(async move {
            let network = host.network().await;
            let status = network.status();
            assert_eq!(status.reason, "NetworkPluginNotReady");
            assert!(
                status.message.contains(host.path("conf").to_str().unwrap()),
                "{status:?}"
            );
            let error = network
                .wait_ready(Duration::from_millis(1))
                .await
                .unwrap_err();
            assert!(error.to_string().contains("it has no .conflist"), "{error}");

            host.conf("20.conflist", &one("second"));
            becomes(&network, Some("second")).await;
            host.conf("10.conflist", &one("first"));
            becomes(&network, Some("first")).await;
            fs::write(host.path("staged"), one("renamed")).unwrap();
            fs::rename(host.path("staged"), host.path("conf/10.conflist")).unwrap();
            becomes(&network, Some("renamed")).await;
            host.conf("10.conflist", "broken");
            becomes(&network, Some("second")).await;
            fs::remove_file(host.path("conf/20.conflist")).unwrap();
            becomes(&network, None).await;
            let message = network.status().message;
            assert!(
                message.contains("10.conflist: not a JSON object"),
                "{message}"
            );
        })
    });
}

#[test]
fn the_directory_may_come_later_and_be_replaced() {
    on_a_host(|host| {
        Box::pin(async move {
            fs::remove_dir(host.path("conf")).unwrap();
            let config = NetworkConfig {
                conf_dir: host.path("a/b/conf"),
                ..host.config()
            };
            let network = Network::open(config).await.unwrap();
            assert!(
                network
                    .status()
                    .message
                    .ends_with("there is no such directory")
            );
            fs::create_dir_all(host.path("a/b/conf")).unwrap();
            fs::write(host.path("a/b/conf/1.conflist"), one("late")).unwrap();
            becomes(&network, Some("late")).await;
            fs::create_dir(host.path("a/b/new")).unwrap();
            fs::write(host.path("a/b/new/1.conflist"), one("replaced")).unwrap();
            fs::rename(host.path("a/b/conf"), host.path("a/b/old")).unwrap();
            fs::rename(host.path("a/b/new"), host.path("a/b/conf")).unwrap();
            becomes(&network, Some("replaced")).await;
            fs::write(host.path("a/b/conf/1.conflist"), one("written")).unwrap();
            becomes(&network, Some("written")).await;
            fs::remove_dir_all(host.path("a")).unwrap();
            becomes(&network, None).await;
        })
    });
}

#[test]
fn a_missing_plugin_may_come_later() {
    on_a_host(|host| {
        Box::pin(async move {
            host.conf(
                "1.conf",
                r#"{"cniVersion":"1.0.0","name":"own","type":"late-plugin"}"#,
            );
            let network = host.network().await;
            let message = network.status().message;
            assert!(
                message.contains("1.conf: plugin late-plugin: not found in "),
                "{message}"
            );
            assert!(message.ends_with("/bin, /usr/lib/cni"), "{message}");
            let error = network.add(&host.pod().await).await.unwrap_err();
            assert!(matches!(error, NetworkError::NotReady(_)), "{error}");
            host.plugin("late-plugin", "echo '{}'");
            becomes(&network, Some("own")).await;
        })
    });
}

#[test]
fn a_network_is_chosen_by_name() {
    on_a_host(|host| {
        Box::pin(async move {
            host.conf("10.conflist", &one("first"));
            let network = Network::open(NetworkConfig {
                default_network: Some("mine".into()),
                ..host.config()
            })
            .await
            .unwrap();
            let message = network.status().message;
            assert!(
                message.contains("of the network \"mine\"") && message.contains("it has first"),
                "{message}"
            );
            host.conf("20.conflist", &one("mine"));
            becomes(&network, Some("mine")).await;
        })
    });
}
