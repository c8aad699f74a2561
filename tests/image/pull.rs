//! Pulling from a real registry.

use corten::cri::api::AuthConfig;
use tonic::Code;

use crate::support::{
    Image, ImageFormat, Options, Packing, Registry, RegistryOptions, busybox, busybox_entries,
    image_spec, insecure, node_with,
};

fn trusting(registry: &Registry) -> Options {
    Options {
        registries: insecure(&registry.host()),
        no_image: true,
        ..Options::default()
    }
}

#[tokio::test]
async fn images_come_by_tag_and_by_digest() {
    let registry = Registry::start(RegistryOptions::default()).await;
    let image = busybox();
    let tagged = registry.push("some/image", "v1", &image).await;
    node_with(trusting(&registry), async |node| {
        let id = node.pull(&tagged).await;
        assert_eq!(id, image.id());
        let found = node.image_status(&tagged).await.unwrap().unwrap();
        assert_eq!(found.id, image.id());
        assert_eq!(found.repo_tags, std::slice::from_ref(&tagged));
        let by_digest = format!("{}/some/image@{}", registry.host(), image.manifest.digest);
        assert_eq!(found.repo_digests, std::slice::from_ref(&by_digest));
        assert!(found.size >= image.layers[0].bytes.len() as u64);
        assert_eq!(node.pull(&by_digest).await, image.id());
        let found = node.image_list().await;
        assert_eq!(found.len(), 1);
        node.remove_image(&tagged).await.unwrap();
        assert!(node.image_list().await.is_empty());
        // By digest alone it has no tag.
        node.pull(&by_digest).await;
        let found = node.image_status(&by_digest).await.unwrap().unwrap();
        assert!(found.repo_tags.is_empty(), "{found:?}");
        let main = crate::support::shell("main", "echo runs");
        let mut main = main;
        main.image = Some(image_spec(&by_digest));
        let (_, output) = node.run_once(&crate::support::pod("pulled"), &main).await;
        assert_eq!(output, "runs\n");
    })
    .await;
}

#[tokio::test]
async fn every_format_and_packing_is_understood() {
    let registry = Registry::start(RegistryOptions::default()).await;
    node_with(trusting(&registry), async |node| {
        for format in [ImageFormat::Oci, ImageFormat::Docker] {
            for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
                if (format, packing) == (ImageFormat::Docker, Packing::Zstd) {
                    continue;
                }
                let image = Image::new(&[(busybox_entries(), packing)]).format(format);
                let tag = format!("{format:?}-{packing:?}").to_lowercase();
                let name = registry.push("formats", &tag, &image).await;
                assert_eq!(node.pull(&name).await, image.id(), "{tag}");
                let output = node
                    .prints(&tag, "echo runs", |main| {
                        main.image = Some(image_spec(&name))
                    })
                    .await;
                assert_eq!(output, "runs", "{tag}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_index_leads_to_this_machines_image() {
    let registry = Registry::start(RegistryOptions::default()).await;
    let ours = busybox();
    let other = busybox()
        .with("Cmd", serde_json::json!(["other"]))
        .architecture("s390x");
    node_with(trusting(&registry), async |node| {
        for format in [ImageFormat::Oci, ImageFormat::Docker] {
            let (ours, other) = (ours.clone().format(format), other.clone().format(format));
            let repository = format!("index-{format:?}").to_lowercase();
            for (tag, image) in [("ours", &ours), ("other", &other)] {
                registry.push(&repository, tag, image).await;
            }
            let index = Image::index(&[&other, &ours], format);
            registry.push_manifest(&repository, "all", &index).await;
            let name = format!("{}/{repository}:all", registry.host());
            assert_eq!(node.pull(&name).await, ours.id());
            let found = node.image_status(&name).await.unwrap().unwrap();
            // The digest it was asked for under is the index's.
            let digest = format!("{}/{repository}@{}", registry.host(), index.digest);
            assert!(found.repo_digests.contains(&digest), "{found:?}");
            assert_eq!(node.pull(&digest).await, ours.id());
            let foreign = Image::index(&[&other], format);
            registry
                .push_manifest(&repository, "foreign", &foreign)
                .await;
            let name = format!("{}/{repository}:foreign", registry.host());
            let error = node.try_pull(&name, None).await.unwrap_err();
            assert!(
                [Code::NotFound, Code::FailedPrecondition].contains(&error.code()),
                "{error}"
            );
            for word in ["amd64", "s390x", name.as_str()] {
                assert!(error.message().contains(word), "{error}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn certificates_are_checked() {
    let registry = Registry::start(RegistryOptions {
        tls: true,
        basic: false,
    })
    .await;
    let image = busybox();
    let name = registry.push("secure", "1", &image).await;
    let options = Options {
        args: vec![format!("--certs-dir={}", registry.certs_dir().display())],
        no_image: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        assert_eq!(node.pull(&name).await, image.id());
    })
    .await;
    let distrusting = Options {
        no_image: true,
        ..Options::default()
    };
    node_with(distrusting, async |node| {
        let error = node.try_pull(&name, None).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.message().contains("certificate"), "{error}");
        assert!(error.message().contains(&registry.host()), "{error}");
    })
    .await;
}

fn password(password: &str) -> Option<AuthConfig> {
    Some(AuthConfig {
        username: "tester".into(),
        password: password.into(),
        ..AuthConfig::default()
    })
}

#[tokio::test]
async fn credentials_of_the_request_are_used() {
    let registry = Registry::start(RegistryOptions {
        basic: true,
        tls: false,
    })
    .await;
    let image = busybox();
    let name = registry.push("private", "1", &image).await;
    node_with(trusting(&registry), async |node| {
        for (auth, what) in [(None, "none"), (password("wr0ng-pass"), "a wrong one")] {
            let error = node.try_pull(&name, auth).await.unwrap_err();
            assert!(
                [Code::Unauthenticated, Code::PermissionDenied].contains(&error.code()),
                "{what}: {error}"
            );
            assert!(error.message().contains(&name), "{error}");
            assert!(!error.message().contains("wr0ng-pass"), "{error}");
        }
        assert_eq!(
            node.try_pull(&name, password("secret word")).await.unwrap(),
            image.id()
        );
        // Who has no credentials is not let in by those of another.
        node.remove_image(&name).await.unwrap();
        assert!(node.try_pull(&name, None).await.is_err());
        let encoded = AuthConfig {
            auth: "dGVzdGVyOnNlY3JldCB3b3Jk".into(),
            ..AuthConfig::default()
        };
        assert_eq!(
            node.try_pull(&name, Some(encoded)).await.unwrap(),
            image.id()
        );
        let log = std::fs::read_to_string(node.scratch.join("daemon.log")).unwrap();
        for secret in ["secret word", "wr0ng-pass", "dGVzdGVyOnNlY3JldCB3b3Jk"] {
            assert!(!log.contains(secret), "the log has {secret:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn mirrors_and_locations_are_followed() {
    let registry = Registry::start(RegistryOptions::default()).await;
    let image = busybox();
    registry.push("mirrored/app", "1", &image).await;
    let host = registry.host();
    let options = Options {
        registries: format!(
            "unqualified-search-registries = [\"short.example\"]\n\
             [[registry]]\nprefix = \"mirror.example\"\nlocation = \"mirror.example\"\n\
             [[registry.mirror]]\nlocation = \"127.0.0.1:1/dead\"\ninsecure = true\n\
             [[registry.mirror]]\nlocation = \"{host}/mirrored\"\ninsecure = true\n\
             [[registry]]\nprefix = \"moved.example/team\"\nlocation = \"{host}/mirrored\"\ninsecure = true\n\
             [[registry]]\nprefix = \"short.example\"\nlocation = \"{host}/mirrored\"\ninsecure = true\n\
             [[registry]]\nprefix = \"blocked.example\"\nblocked = true\n"
        ),
        no_image: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        for name in [
            "mirror.example/app:1",
            "moved.example/team/app:1",
            "short.example/app:1",
            "app:1",
        ] {
            assert_eq!(node.pull(name).await, image.id(), "{name}");
            // It goes by the name it was asked for.
            let found = node.image_status(name).await.unwrap().unwrap();
            assert!(
                found.repo_tags.iter().any(|tag| tag.ends_with(name)),
                "{name}: {:?}",
                found.repo_tags
            );
            assert!(
                !found.repo_tags.iter().any(|tag| tag.contains(&host)),
                "{found:?}"
            );
        }
        let error = node
            .try_pull("blocked.example/app:1", None)
            .await
            .unwrap_err();
        assert!(error.message().contains("block"), "{error}");
        let error = node
            .try_pull("mirror.example/none:1", None)
            .await
            .unwrap_err();
        assert!(error.message().contains("mirror.example/none:1"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let registry = Registry::start(RegistryOptions::default()).await;
    let name = registry.push("some/image", "v1", &busybox()).await;
    node_with(trusting(&registry), async |node| {
        for name in [
            format!("{}/some/image:v2", registry.host()),
            format!("{}/other/image:v1", registry.host()),
            format!("{}/some/image@sha256:{}", registry.host(), "0".repeat(64)),
        ] {
            let error = node.try_pull(&name, None).await.unwrap_err();
            assert_eq!(error.code(), Code::NotFound, "{error}");
            assert!(error.message().contains(&name), "{error}");
        }
        assert!(node.image_status(&name).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_is_down_is_named() {
    let options = Options {
        registries: insecure("127.0.0.1:1"),
        no_image: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        let error = node
            .try_pull("127.0.0.1:1/some/image:1", None)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.message().contains("127.0.0.1:1"), "{error}");
        assert!(
            error.message().to_lowercase().contains("refused"),
            "{error}"
        );
        assert!(
            error.message().starts_with("RegistryUnavailable"),
            "{error}"
        );
    })
    .await;
}
