//! Registries that break off, lie, ask for tokens, or let one wait.

use corten::cri::api::AuthConfig;
use tonic::Code;

use crate::support::{
    Behaviour, FakeRegistry, Options, busybox, image_spec, insecure, node_with, until,
};

fn trusting(registry: &FakeRegistry) -> Options {
    Options {
        registries: insecure(registry.host()),
        no_image: true,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let image = busybox();
    let behaviour = Behaviour {
        break_first: true,
        ..Behaviour::default()
    };
    let registry = FakeRegistry::start(&image, behaviour).await;
    node_with(trusting(&registry), async |node| {
        let name = registry.reference();
        assert_eq!(node.pull(&name).await, image.id());
        assert_eq!(registry.asked_for(&image.layers[0].digest), 2);
        let output = node
            .prints("resumed", "echo runs", |main| {
                main.image = Some(image_spec(&name))
            })
            .await;
        assert_eq!(output, "runs");
    })
    .await;
}

#[tokio::test]
async fn a_layer_that_is_not_its_digest_is_refused() {
    let image = busybox();
    let behaviour = Behaviour {
        corrupt: true,
        ..Behaviour::default()
    };
    let registry = FakeRegistry::start(&image, behaviour).await;
    node_with(trusting(&registry), async |node| {
        let error = node
            .try_pull(&registry.reference(), None)
            .await
            .unwrap_err();
        assert!(
            [Code::DataLoss, Code::Internal].contains(&error.code()),
            "{error}"
        );
        assert!(error.message().contains(&image.layers[0].digest), "{error}");
        assert!(error.message().contains(&registry.reference()), "{error}");
        assert!(node.image_list().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_layer_that_unpacks_to_something_else_is_refused() {
    let image = busybox().with_false_diff_id();
    let registry = FakeRegistry::start(&image, Behaviour::default()).await;
    node_with(trusting(&registry), async |node| {
        let error = node
            .try_pull(&registry.reference(), None)
            .await
            .unwrap_err();
        assert!(
            [Code::DataLoss, Code::Internal].contains(&error.code()),
            "{error}"
        );
        assert!(error.message().contains("sha256:"), "{error}");
        assert!(node.image_list().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_token_is_fetched_where_one_is_wanted() {
    let image = busybox();
    let behaviour = Behaviour {
        bearer: true,
        ..Behaviour::default()
    };
    let registry = FakeRegistry::start(&image, behaviour).await;
    node_with(trusting(&registry), async |node| {
        let name = registry.reference();
        let error = node.try_pull(&name, None).await.unwrap_err();
        assert!(
            [Code::Unauthenticated, Code::PermissionDenied].contains(&error.code()),
            "{error}"
        );
        let auth = AuthConfig {
            username: "tester".into(),
            password: "secret word".into(),
            ..AuthConfig::default()
        };
        assert_eq!(node.try_pull(&name, Some(auth)).await.unwrap(), image.id());
        node.remove_image(&name).await.unwrap();
        let token = AuthConfig {
            registry_token: "a-token-of-the-tests".into(),
            ..AuthConfig::default()
        };
        assert_eq!(node.try_pull(&name, Some(token)).await.unwrap(), image.id());
    })
    .await;
}

#[tokio::test]
async fn pulls_of_one_image_do_the_work_once() {
    let image = busybox();
    let behaviour = Behaviour {
        hold: true,
        ..Behaviour::default()
    };
    let registry = FakeRegistry::start(&image, behaviour).await;
    node_with(trusting(&registry), async |node| {
        let name = registry.reference();
        let pulls = futures_util::future::join_all((0..8).map(|_| node.pull(&name)));
        let release = async {
            until("a pull has come to the registry", async || {
                registry.asked_for("/manifests/") > 0 || registry.asked_for("/v2/") > 0
            })
            .await;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            registry.release();
        };
        let (ids, ()) = tokio::join!(pulls, release);
        assert!(ids.iter().all(|id| id == image.id()), "{ids:?}");
        assert_eq!(registry.asked_for(&image.layers[0].digest), 1);
    })
    .await;
}

#[tokio::test]
async fn a_pull_given_up_by_its_client_can_be_asked_for_again() {
    let image = busybox();
    let behaviour = Behaviour {
        hold: true,
        ..Behaviour::default()
    };
    let registry = FakeRegistry::start(&image, behaviour).await;
    node_with(trusting(&registry), async |node| {
        let name = registry.reference();
        let first = tokio::time::timeout(std::time::Duration::from_millis(500), node.pull(&name));
        assert!(first.await.is_err());
        registry.release();
        assert_eq!(node.pull(&name).await, image.id());
        assert_eq!(registry.asked_for(&image.layers[0].digest), 1);
    })
    .await;
}

#[tokio::test]
async fn a_failing_registry_is_unavailable() {
    let image = busybox();
    let behaviour = Behaviour {
        status: Some(503),
        ..Behaviour::default()
    };
    let registry = FakeRegistry::start(&image, behaviour).await;
    node_with(trusting(&registry), async |node| {
        let error = node
            .try_pull(&registry.reference(), None)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.message().contains("503"), "{error}");
        assert!(error.message().contains(registry.host()), "{error}");
    })
    .await;
}

#[tokio::test]
async fn an_image_for_another_platform_is_refused() {
    let image = busybox().architecture("riscv64");
    let registry = FakeRegistry::start(&image, Behaviour::default()).await;
    node_with(trusting(&registry), async |node| {
        let error = node
            .try_pull(&registry.reference(), None)
            .await
            .unwrap_err();
        assert!(
            [
                Code::NotFound,
                Code::FailedPrecondition,
                Code::InvalidArgument
            ]
            .contains(&error.code()),
            "{error}"
        );
        for word in ["riscv64", "amd64"] {
            assert!(error.message().contains(word), "{error}");
        }
    })
    .await;
}
