//! Names that move, images that go, and what survives a restart.

use corten::image::{ErrorKind, ImageError};

use super::{
    content::{Content, Family, Image, Packing, file, image, layer, small},
    server::{Server, serve},
    setup::Setup,
};

fn two_layers(top: &str) -> Image {
    let base = layer(Packing::Gzip, &[file("base", "base")]);
    image(
        Family::Oci,
        vec![base, layer(Packing::Gzip, &[file("top", top)])],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_tags_are_one_image_and_go_together() {
    let made = small("tags");
    let content = Content::default()
        .with("a", &made)
        .with("b", &made)
        .with("c", &made);
    let one = Server::holding(content.clone()).await;
    let two = Server::holding(content).await;
    let setup = Setup::new().await;
    for name in [
        one.name("app:a"),
        one.name("app:b"),
        one.name("app:c"),
        two.name("app:a"),
    ] {
        assert_eq!(setup.pull(&name).await.unwrap().id, made.id());
    }
    let listed = setup.images.list();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].repo_tags.len(), 4);
    assert_eq!(listed[0].repo_digests.len(), 2);
    setup.images.remove(&two.name("app:a")).await.unwrap();
    for gone in [one.name("app:a"), one.name("app:c"), made.id()] {
        assert!(setup.images.get(&gone).unwrap().is_none());
        setup.images.remove(&gone).await.unwrap();
    }
    assert_eq!(setup.layers(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_moves_leaves_the_older_image_without() {
    let (old, new) = (two_layers("old"), two_layers("new"));
    let contents = [
        Content::default().with("v1", &old),
        Content::default().with("v1", &new),
    ];
    let moved = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let now = moved.clone();
    let registry = Server::start(move |request, _| {
        serve(
            &contents[now.load(std::sync::atomic::Ordering::SeqCst)],
            request,
        )
    })
    .await;
    let setup = Setup::new().await;
    let name = registry.name("app:v1");
    setup.pull(&name).await.unwrap();
    moved.store(1, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(setup.pull(&name).await.unwrap().id, new.id());
    let older = setup.images.get(&old.id()).unwrap().unwrap();
    assert!(older.repo_tags.is_empty());
    assert_eq!(older.repo_digests.len(), 1);
    assert_eq!(setup.images.get(&name).unwrap().unwrap().id, new.id());
    assert_eq!(setup.layers(), 3);

    let setup = setup.reopened().await;
    assert_eq!(setup.images.list().len(), 2);
    assert_eq!(setup.images.get(&name).unwrap().unwrap().id, new.id());
    // The layer that both have stays with the one that stays.
    setup.images.remove(&old.id()).await.unwrap();
    assert_eq!(setup.layers(), 2);
    setup.images.remove(&new.id()).await.unwrap();
    assert_eq!(setup.layers(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_stay_while_someone_uses_them() {
    let made = two_layers("held");
    let registry = Server::holding(Content::default().with("v1", &made)).await;
    let setup = Setup::new().await;
    let name = registry.name("app:v1");
    let pulled = setup.pull(&name).await.unwrap();
    setup.images.acquire(&name, "container-1").unwrap();
    let hold = setup.images.hold(&name).unwrap();
    setup.images.remove(&name).await.unwrap();
    assert!(setup.images.get(&made.id()).unwrap().is_none());
    assert_eq!(setup.layers(), 2);
    drop(hold);
    assert_eq!(setup.images.collect().await.unwrap(), 0);
    assert!(matches!(
        setup.images.acquire(&name, "container-2"),
        Err(ImageError::Unknown(_))
    ));
    assert_eq!(
        setup.images.hold(&name).unwrap_err().kind(),
        ErrorKind::NotFound
    );

    // After a restart the holders say again what they hold.
    let setup = setup.reopened().await;
    assert_eq!(setup.layers(), 2);
    setup.images.adopt("container-1", &pulled.layers);
    assert_eq!(setup.images.collect().await.unwrap(), 0);
    setup.images.release("container-1");
    setup.images.release("container-1");
    // Whether the release has done it or this does.
    setup.images.collect().await.unwrap();
    assert_eq!(setup.layers(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_can_be_given_away() {
    let made = small("given");
    let registry = Server::holding(Content::default().with("v1", &made)).await;
    let setup = Setup::new().await;
    let pulled = setup.pull(&registry.name("app:v1")).await.unwrap();
    let hold = setup.images.hold(&pulled.id).unwrap();
    assert_eq!(hold.image().id, pulled.id);
    hold.give_to("container-1");
    setup.images.remove(&pulled.id).await.unwrap();
    assert_eq!(setup.layers(), 1);
    setup.images.release("container-1");
    setup.images.collect().await.unwrap();
    assert_eq!(setup.layers(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_survive_a_restart_and_damaged_ones_are_told_of() {
    let (whole, hurt) = (two_layers("whole"), two_layers("hurt"));
    let content = Content::default().with("whole", &whole).with("hurt", &hurt);
    let registry = Server::holding(content).await;
    let setup = Setup::new().await;
    let kept = setup.pull(&registry.name("app:whole")).await.unwrap();
    let lost = setup.pull(&registry.name("app:hurt")).await.unwrap();
    setup.storage.remove_layer(&lost.layers[1]).unwrap();
    std::fs::write(
        setup
            .dir
            .path()
            .join(format!("records/images/sha256:{}.json", "9".repeat(64))),
        "not a record",
    )
    .unwrap();

    let setup = setup.reopened().await;
    assert_eq!(setup.images.list(), std::slice::from_ref(&kept));
    let damaged = setup.images.damaged();
    assert_eq!(damaged.len(), 2);
    assert!(damaged.iter().any(|d| d.id == lost.id
        && d.names.contains(&registry.name("app:hurt"))
        && d.reason.contains("missing")));
    assert!(damaged.iter().any(|d| d.reason.contains("unreadable")));
    assert_eq!(
        setup.pull(&registry.name("app:hurt")).await.unwrap().id,
        lost.id
    );
    let setup = setup.reopened().await;
    assert!(setup.images.damaged().is_empty());
    assert_eq!(setup.images.list().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_and_removals_at_once_leave_nothing_broken() {
    let images: Vec<Image> = (0..4).map(|n| two_layers(&format!("n{n}"))).collect();
    let mut content = Content::default();
    for (n, made) in images.iter().enumerate() {
        content = content.with(&format!("v{n}"), made);
    }
    let registry = Server::holding(content).await;
    let setup = Setup::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..24 {
        let images = setup.images.clone();
        let name = registry.name(&format!("app:v{}", n % 4));
        tasks.spawn(async move {
            let pulled = images
                .pull(super::setup::request(&name))
                .await
                .unwrap_or_else(|e| panic!("{name}: {}", super::setup::text(&e)));
            images.remove(&pulled.id).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for image in setup.images.list() {
        for chain in &image.layers {
            assert!(setup.storage.has_layer(chain));
        }
        setup.images.remove(&image.id).await.unwrap();
    }
    setup.images.collect().await.unwrap();
    assert_eq!(setup.layers(), 0);
}

#[tokio::test]
async fn pins_and_usage_are_shown() {
    let made = small("pinned");
    let registry = Server::holding(Content::default().with("v1", &made)).await;
    let setup = Setup::with(|_, config| config.pinned = vec!["*/none:*".into()]).await;
    assert!(!setup.pull(&registry.name("app:v1")).await.unwrap().pinned);
    setup.images.set_pinned(&["*:v1".into()]).await;
    assert!(setup.images.list()[0].pinned);
    let usage = setup.images.fs_info();
    assert!(usage.used_bytes > 0 && usage.inodes > 0);
    assert!(usage.path.starts_with(setup.dir.path()));
}
