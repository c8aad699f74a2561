//! A registry that goes away in the middle of a pull, and comes back.

use tonic::Code;

use super::{
    others_work, says,
    wire::{Line, Wire},
};
use crate::support::{
    Behaviour, Entry, FakeRegistry, Image, Options, Packing, busybox, image_spec, insecure,
    node_with, pod, until, userless,
};

/// An image with a layer of two megabytes.
fn large() -> Image {
    let noise = (0..2u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    busybox().layer(
        &[Entry::file("large", noise.collect::<Vec<_>>(), 0o644)],
        Packing::Plain,
    )
}

/// A registry behind a wire, the image's name there, and a daemon that asks it.
async fn behind_a_wire(image: &Image) -> (FakeRegistry, Wire, String, Options) {
    let registry = FakeRegistry::start(image, Behaviour::default()).await;
    let wire = Wire::to(registry.host()).await;
    let name = registry.reference().replace(registry.host(), wire.host());
    let options = Options {
        args: vec!["--pull-progress-timeout=1s".into()],
        registries: insecure(wire.host()),
        ..Options::default()
    };
    (registry, wire, name, options)
}

#[tokio::test]
async fn one_that_is_back_soon_is_only_asked_again() {
    let image = large();
    let (_registry, wire, name, options) = behind_a_wire(&image).await;
    node_with(options, async |node| {
        wire.set(Line::Cut(600_000));
        let back = async {
            // The manifest, the configuration, two layers, and one of those again.
            until("it was asked again", async || wire.connections() > 5).await;
            wire.set(Line::Whole);
        };
        let (pulled, ()) = tokio::join!(node.pull(&name), back);
        assert_eq!(pulled, image.id());
        let config = pod("pulled");
        let id = node.pod(&config).await;
        let mut main = userless("main", &name);
        main.image = Some(image_spec(&name));
        main.command = vec!["wc".into(), "-c".into(), "/large".into()];
        let main_id = node.launch(&id, &config, &main).await;
        assert_eq!(node.exit(&main_id).await.exit_code, 0);
        assert_eq!(node.output(&config, &main), "2097152 /large\n");
    })
    .await;
}

#[tokio::test]
async fn one_that_stays_away_is_named_and_can_be_asked_later() {
    let image = large();
    let (_registry, wire, name, options) = behind_a_wire(&image).await;
    node_with(options, async |node| {
        let before = node.image_list().await;
        for (line, then) in [
            (Line::Cut(600_000), Line::Cut(0)),
            (Line::Stalled(600_000), Line::Stalled(0)),
            (Line::Cut(0), Line::Cut(0)),
        ] {
            wire.set(line);
            let seen = wire.connections();
            let goes_away = async {
                // In the middle of the layers, which are the fourth connection and those that follow.
                until("it is asked", async || {
                    wire.connections() > seen + 3 || line == then
                })
                .await;
                wire.set(then);
                others_work(node, "beside").await;
            };
            let (pulled, ()) = tokio::join!(node.try_pull(&name, None), goes_away);
            let error = pulled.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable, "{line:?}: {error}");
            says(&error, &[&name]);
            assert_eq!(node.image_list().await, before);
        }
        wire.set(Line::Whole);
        assert_eq!(node.pull(&name).await, image.id());
    })
    .await;
}

#[tokio::test]
async fn one_that_is_silent_keeps_no_other_from_being_pulled_from() {
    let image = large();
    let other = FakeRegistry::start(&busybox(), Behaviour::default()).await;
    let (_registry, wire, name, mut options) = behind_a_wire(&image).await;
    options.registries.push_str(&insecure(other.host()));
    // Silence is not what ends these pulls.
    options.args = vec![
        "--pull-progress-timeout=10m".into(),
        "--max-parallel-downloads=1".into(),
        "--drain-timeout=1s".into(),
    ];
    node_with(options, async |node| {
        // Each is a pull of its own, for another name; together they are more than may download at a time.
        wire.set(Line::Stalled(600_000));
        let stuck: Vec<_> = (0..4)
            .map(|n| {
                let (mut images, image) = (node.images(), image_spec(&name));
                let auth = corten::cri::api::AuthConfig {
                    username: format!("user-{n}"),
                    password: "any".into(),
                    ..Default::default()
                };
                tokio::spawn(async move {
                    let request = corten::cri::api::PullImageRequest {
                        image: Some(image),
                        auth: Some(auth),
                        sandbox_config: None,
                    };
                    images.pull_image(request).await
                })
            })
            .collect();
        until("they are under way", async || wire.connections() > 10).await;
        assert_eq!(node.pull(&other.reference()).await, busybox().id());
        others_work(node, "beside").await;
        wire.set(Line::Whole);
        for pull in stuck {
            let pulled = pull.await.unwrap().unwrap().into_inner();
            assert_eq!(pulled.image_ref, image.id());
        }
    })
    .await;
}
