//! Requests that make no sense get the right code, and a message that names the field and its value.

use corten::cri::api::{self, ContainerConfig, PodSandboxConfig};
use tonic::{Code, Status};

use crate::support::{
    Node, container, image_spec, namespaces, node, pod, pod_linux, pod_net, userless,
};

#[track_caller]
fn check(error: &Status, code: Code, words: &[&str]) {
    assert_eq!(error.code(), code, "{error}");
    for word in words {
        assert!(
            error.message().contains(word),
            "{word:?} is not in: {error}"
        );
    }
}

/// IDs that are none, and what a message about each has to say.
const NO_IDS: [&str; 6] = ["", "not an id", "../../etc", "UPPER", "0g", "a\nb"];

#[tokio::test]
async fn ids_that_are_none() {
    node(async |node| {
        let long = "a".repeat(65);
        for id in NO_IDS.into_iter().chain([long.as_str()]) {
            let pod_field = ["pod_sandbox_id"];
            let field = ["container_id"];
            let invalid = Code::InvalidArgument;
            check(
                &node.try_pod_status(id, false).await.unwrap_err(),
                invalid,
                &pod_field,
            );
            check(&node.try_status(id).await.unwrap_err(), invalid, &field);
            check(
                &node.start_container(id).await.unwrap_err(),
                invalid,
                &field,
            );
            check(
                &node.try_exec(id, &["true"], 0).await.unwrap_err(),
                invalid,
                &field,
            );
            let request = api::ReopenContainerLogRequest {
                container_id: id.into(),
            };
            check(
                &node
                    .runtime()
                    .reopen_container_log(request)
                    .await
                    .unwrap_err(),
                invalid,
                &field,
            );
            let request = api::UpdateContainerResourcesRequest {
                container_id: id.into(),
                linux: Some(api::LinuxContainerResources::default()),
                ..Default::default()
            };
            check(
                &node
                    .runtime()
                    .update_container_resources(request)
                    .await
                    .unwrap_err(),
                invalid,
                &field,
            );
            let error = node
                .try_create(id, &pod("x"), &container("main", &["true"]))
                .await
                .unwrap_err();
            check(&error, invalid, &pod_field);
        }
    })
    .await;
}

#[tokio::test]
async fn empty_ids_of_what_to_stop_or_remove() {
    node(async |node| {
        check(
            &node.stop_pod("").await.unwrap_err(),
            Code::InvalidArgument,
            &["pod_sandbox_id"],
        );
        check(
            &node.remove_pod("").await.unwrap_err(),
            Code::InvalidArgument,
            &["pod_sandbox_id"],
        );
        check(
            &node.stop_container("", 0).await.unwrap_err(),
            Code::InvalidArgument,
            &["container_id"],
        );
        check(
            &node.remove_container("").await.unwrap_err(),
            Code::InvalidArgument,
            &["container_id"],
        );
        check(
            &node.remove_image("").await.unwrap_err(),
            Code::InvalidArgument,
            &["image"],
        );
    })
    .await;
}

#[tokio::test]
async fn ids_of_nothing() {
    node(async |node| {
        let id = "feedfacefeedface";
        check(
            &node.try_pod_status(id, false).await.unwrap_err(),
            Code::NotFound,
            &[id],
        );
        check(
            &node.try_status(id).await.unwrap_err(),
            Code::NotFound,
            &[id],
        );
        check(
            &node.start_container(id).await.unwrap_err(),
            Code::NotFound,
            &[id],
        );
        check(
            &node.try_exec(id, &["true"], 0).await.unwrap_err(),
            Code::NotFound,
            &[id],
        );
        let error = node
            .try_create(id, &pod("x"), &container("main", &["true"]))
            .await
            .unwrap_err();
        check(&error, Code::NotFound, &[id]);
    })
    .await;
}

#[tokio::test]
async fn a_prefix_of_several_ids() {
    node(async |node| {
        // Seventeen pods: two of them begin with the same digit.
        let mut ids: Vec<String> = Vec::new();
        for n in 0..17 {
            ids.push(node.pod(&pod(&format!("pod-{n}"))).await);
        }
        let double = ids
            .iter()
            .map(|id| &id[..1])
            .find(|first| ids.iter().filter(|id| id.starts_with(first)).count() > 1)
            .unwrap();
        let error = node.try_pod_status(double, false).await.unwrap_err();
        assert!(
            [
                Code::InvalidArgument,
                Code::FailedPrecondition,
                Code::NotFound
            ]
            .contains(&error.code()),
            "{error}"
        );
        assert!(error.message().contains(double), "{error}");
    })
    .await;
}

async fn refused_pod(node: &Node, config: Option<PodSandboxConfig>, words: &[&str]) {
    let request = api::RunPodSandboxRequest {
        config,
        runtime_handler: String::new(),
    };
    let error = match node.runtime().run_pod_sandbox(request).await {
        Ok(reply) => panic!("made a pod in spite of {words:?}: {reply:?}"),
        Err(error) => error,
    };
    check(&error, Code::InvalidArgument, words);
}

#[tokio::test]
async fn pods_without_or_with_impossible_parts() {
    node(async |node| {
        refused_pod(node, None, &["config"]).await;
        let mut config = pod("x");
        config.metadata = None;
        refused_pod(node, Some(config), &["metadata"]).await;
        for field in ["name", "uid", "namespace"] {
            let mut config = pod("x");
            let metadata = config.metadata.as_mut().unwrap();
            match field {
                "name" => metadata.name.clear(),
                "uid" => metadata.uid.clear(),
                _ => metadata.namespace.clear(),
            }
            refused_pod(node, Some(config), &["metadata", field]).await;
        }
        let mut config = pod("x");
        config.log_directory = "relative/logs".into();
        refused_pod(node, Some(config), &["log_directory", "relative/logs"]).await;
        let mut config = pod_net("x");
        config.hostname = "a".repeat(65);
        refused_pod(node, Some(config), &["hostname"]).await;
        let mut config = pod_net("x");
        config.hostname = "new\nline".into();
        refused_pod(node, Some(config), &["hostname"]).await;
        let mut config = pod("x");
        config.dns_config = Some(api::DnsConfig {
            servers: vec!["10.0.0.1\nnameserver 6.6.6.6".into()],
            ..Default::default()
        });
        refused_pod(node, Some(config), &["dns_config", "servers"]).await;
        let mut config = pod("x");
        namespaces(&mut config).network = 77;
        refused_pod(node, Some(config), &["network", "77"]).await;
        let mut config = pod("x");
        namespaces(&mut config).network = api::NamespaceMode::Target as i32;
        refused_pod(node, Some(config), &["network"]).await;
        let mut config = pod("x");
        pod_linux(&mut config).cgroup_parent = "../../escape".into();
        refused_pod(node, Some(config), &["cgroup_parent", "../../escape"]).await;
        assert!(node.pods(None).await.is_empty());
    })
    .await;
}

async fn refused(
    node: &Node,
    pod_id: &str,
    config: &PodSandboxConfig,
    container: Option<ContainerConfig>,
    code: Code,
    words: &[&str],
) {
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod_id.into(),
        config: container,
        sandbox_config: Some(node.completed(config)),
    };
    let error = match node.runtime().create_container(request).await {
        Ok(reply) => panic!("made a container in spite of {words:?}: {reply:?}"),
        Err(error) => error,
    };
    check(&error, code, words);
}

#[tokio::test]
async fn containers_without_or_with_impossible_parts() {
    node(async |node| {
        let config = pod("holder");
        let id = node.pod(&config).await;
        let invalid = Code::InvalidArgument;
        refused(node, &id, &config, None, invalid, &["config"]).await;
        let good = || container("main", &["true"]);
        let bad = ContainerConfig {
            metadata: None,
            ..good()
        };
        refused(node, &id, &config, Some(bad), invalid, &["metadata"]).await;
        let mut bad = good();
        bad.metadata.as_mut().unwrap().name.clear();
        refused(
            node,
            &id,
            &config,
            Some(bad),
            invalid,
            &["metadata", "name"],
        )
        .await;
        let bad = ContainerConfig {
            image: None,
            ..good()
        };
        refused(node, &id, &config, Some(bad), invalid, &["image"]).await;
        let bad = ContainerConfig {
            image: Some(image_spec("localhost/not/there:1")),
            ..good()
        };
        refused(
            node,
            &id,
            &config,
            Some(bad),
            Code::NotFound,
            &["localhost/not/there:1"],
        )
        .await;
        for path in ["../escape.log", "/absolute.log", "a/../../b.log"] {
            let bad = ContainerConfig {
                log_path: path.into(),
                ..good()
            };
            refused(node, &id, &config, Some(bad), invalid, &["log_path", path]).await;
        }
        let bad = ContainerConfig {
            working_dir: "relative".into(),
            ..good()
        };
        refused(
            node,
            &id,
            &config,
            Some(bad),
            invalid,
            &["working_dir", "relative"],
        )
        .await;
        let mut bad = good();
        bad.envs.push(api::KeyValue {
            key: "A=B".into(),
            value: b"c".to_vec(),
        });
        refused(node, &id, &config, Some(bad), invalid, &["envs", "A=B"]).await;
        let mut bad = good();
        bad.envs.push(api::KeyValue {
            key: String::new(),
            value: b"c".to_vec(),
        });
        refused(node, &id, &config, Some(bad), invalid, &["envs"]).await;
        let bad = ContainerConfig {
            stop_signal: 999,
            ..good()
        };
        refused(
            node,
            &id,
            &config,
            Some(bad),
            invalid,
            &["stop_signal", "999"],
        )
        .await;
        let mut bad = good();
        bad.command = vec!["with\0zero".into()];
        refused(node, &id, &config, Some(bad), invalid, &["command"]).await;
        let mut bad = good();
        crate::support::security(&mut bad).capabilities = Some(api::Capability {
            add_capabilities: vec!["NO_SUCH_ONE".into()],
            ..Default::default()
        });
        refused(node, &id, &config, Some(bad), invalid, &["NO_SUCH_ONE"]).await;
        assert!(node.containers(None).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_image_with_nothing_to_run() {
    node(async |node| {
        let image = crate::support::busybox().with("Cmd", serde_json::json!(null));
        node.load(&image, "localhost/no-command:1").await;
        let config = pod("holder");
        let id = node.pod(&config).await;
        let empty = userless("main", "localhost/no-command:1");
        refused(
            node,
            &id,
            &config,
            Some(empty),
            Code::InvalidArgument,
            &["command"],
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn references_that_are_none() {
    node(async |node| {
        for reference in [
            "",
            "lower/UPPER:tag",
            "a b",
            "name:tag:tag",
            "name@sha256:short",
            "name@md5:00",
            ":tag",
            "a//b",
        ] {
            let error = node.try_pull(reference, None).await.unwrap_err();
            check(&error, Code::InvalidArgument, &["image", reference]);
        }
        let request = api::PullImageRequest::default();
        let error = node.images().pull_image(request).await.unwrap_err();
        check(&error, Code::InvalidArgument, &["image"]);
    })
    .await;
}

#[tokio::test]
async fn a_negative_grace_period() {
    node(async |node| {
        let (_, _, id) = node.idle("grace").await;
        let error = node.stop_container(&id, -1).await.unwrap_err();
        check(&error, Code::InvalidArgument, &["timeout", "-1"]);
    })
    .await;
}
