//! The other verbs.

use crate::support::{
    IMAGE, Options, Registry, RegistryOptions, busybox, insecure, node, node_with, run, until,
};

#[tokio::test]
async fn a_detached_pod_is_listed_entered_read_stopped_and_removed() {
    node(async |node| {
        let script = "echo one; echo two; trap 'exit 0' TERM; while :; do sleep 0.1; done";
        node.cli(&["run", "-d", "--name", "web", IMAGE, "sh", "-c", script])
            .await
            .ok();
        let listed = node.cli(&["ps"]).await.ok();
        assert!(
            listed.contains("web") && listed.to_lowercase().contains("running"),
            "{listed}"
        );
        let json = node.cli(&["ps", "--json"]).await.ok();
        let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{json}");
        let pods = node.cli(&["ps", "--pods"]).await.ok();
        assert!(pods.contains("web") && pods.contains("10."), "{pods}");
        let done = node
            .cli(&["exec", "web", "sh", "-c", "echo in; echo err >&2; exit 3"])
            .await;
        assert_eq!(
            (done.code, done.stdout.as_str(), done.stderr.as_str()),
            (Some(3), "in\n", "err\n")
        );
        until("it has printed", async || {
            node.cli(&["logs", "web"]).await.stdout == "one\ntwo\n"
        })
        .await;
        assert_eq!(node.cli(&["logs", "-n", "1", "web"]).await.ok(), "two\n");
        let stamped = node.cli(&["logs", "-t", "web"]).await.ok();
        assert!(
            stamped
                .lines()
                .all(|line| line.contains('T') && line.starts_with("20")),
            "{stamped}"
        );
        let follow = node.cli(&["logs", "-f", "web"]);
        let stop = async {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            node.cli(&["stop", "web"]).await
        };
        let (followed, stopped) = tokio::join!(follow, stop);
        stopped.ok();
        assert_eq!(followed.ok(), "one\ntwo\n");
        let all = node.cli(&["ps", "-a"]).await.ok();
        assert!(all.contains("web"), "{all}");
        assert!(!node.cli(&["ps"]).await.ok().contains("web"));
        node.cli(&["rm", "web"]).await.ok();
        assert!(node.pods(None).await.is_empty());
        let said = node.cli(&["rm", "web"]).await.failed();
        assert!(said.contains("web"), "{said}");
        node.cli(&["rm", "-f", "web"]).await.ok();
        let said = node.cli(&["exec", "web", "true"]).await;
        assert_eq!(said.code, Some(125));
        assert!(said.stderr.contains("web"), "{said:?}");
    })
    .await;
}

#[tokio::test]
async fn images_are_pulled_and_listed() {
    let registry = Registry::start(RegistryOptions {
        basic: true,
        tls: false,
    })
    .await;
    let name = registry.push("private", "1", &busybox()).await;
    let options = Options {
        registries: insecure(&registry.host()),
        no_image: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        let said = node.cli(&["pull", &name]).await.failed();
        assert!(said.contains(&name), "{said}");
        node.cli_fed(
            &["pull", "--username", "tester", "--password-stdin", &name],
            Some(b"secret word\n".to_vec()),
        )
        .await
        .ok();
        let listed = node.cli(&["images"]).await.ok();
        assert!(
            listed.contains(&format!("{}/private", registry.host())),
            "{listed}"
        );
        let ids = node.cli(&["images", "-q"]).await.ok();
        assert_eq!(ids.trim(), busybox().id());
        let json = node.cli(&["images", "--json"]).await.ok();
        let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(rows[0]["id"], busybox().id());
    })
    .await;
}

#[tokio::test]
async fn versions_and_configuration_are_shown() {
    node(async |node| {
        let said = node.cli(&["version"]).await.ok();
        assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
        let config = node.cli(&["config"]).await.ok();
        for key in [
            "listen",
            "runroot",
            "cni_conf_dir",
            "registries_conf",
            "default_runtime",
        ] {
            assert!(config.contains(key), "{key}");
        }
        // The defaults, printed, are a configuration that can be read again.
        let file = node.scratch.file("printed.toml", &config);
        let current = node
            .cli(&["--config", file.to_str().unwrap(), "config", "--current"])
            .await
            .ok();
        assert!(current.contains("listen"), "{current}");
        for verb in [
            "", "serve", "run", "ps", "images", "pull", "load", "exec", "logs", "stop", "rm",
            "version", "config",
        ] {
            let words: Vec<&str> = [verb, "--help"]
                .into_iter()
                .filter(|w| !w.is_empty())
                .collect();
            let said = node.cli(&words).await.ok();
            assert!(said.contains("Usage"), "{verb}: {said}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_daemon_it_says_where_it_looked() {
    let mut words = vec![env!("CARGO_BIN_EXE_corten")];
    words.extend(["--listen", "/tmp/corten-test-no-such.sock", "ps"]);
    let said = run(&words).await.failed();
    assert!(said.contains("/tmp/corten-test-no-such.sock"), "{said}");
    assert!(
        said.contains("corten serve") || said.contains("running"),
        "{said}"
    );
}

#[tokio::test]
async fn a_configuration_that_is_wrong_is_refused_by_name() {
    node(async |node| {
        let file = node.scratch.file("wrong.toml", "shm_size = \"much\"\n");
        let path = file.to_str().unwrap();
        let said = node.cli(&["--config", path, "serve"]).await.failed();
        for word in ["shm_size", "much", path] {
            assert!(said.contains(word), "{word}: {said}");
        }
        let file = node.scratch.file("unknown.toml", "no_such_option = 1\n");
        let said = node
            .cli(&["--config", file.to_str().unwrap(), "serve"])
            .await
            .failed();
        assert!(said.contains("no_such_option"), "{said}");
    })
    .await;
}
