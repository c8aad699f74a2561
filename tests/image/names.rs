//! By what names images are known, and what removing one takes away.

use corten::cri::api::{self, ImageFilter};
use serde_json::json;

use crate::support::{Options, Packing, busybox, container, image_spec, node, node_with, pod};

#[tokio::test]
async fn an_image_answers_to_every_kind_of_name() {
    node(async |node| {
        let image = busybox().with("User", json!("1000:50"));
        node.load(&image, "docker.io/library/known:1.0").await;
        let id = image.id();
        for name in [
            "docker.io/library/known:1.0",
            "docker.io/known:1.0",
            "known:1.0",
            "library/known:1.0",
            id,
            &id[7..],
            &id[7..19],
        ] {
            let found = node.image_status(name).await.unwrap();
            assert_eq!(found.as_ref().map(|i| i.id.as_str()), Some(id), "{name}");
        }
        for name in [
            "known:2.0",
            "known",
            "other.example/known:1.0",
            "docker.io/library/unknown:1.0",
            &"0".repeat(64),
        ] {
            assert_eq!(node.image_status(name).await.unwrap(), None, "{name}");
        }
        let found = node.image_status(id).await.unwrap().unwrap();
        assert_eq!(found.uid.map(|uid| uid.value), Some(1000));
        assert_eq!(found.username, "");
        assert_eq!(found.repo_tags, ["docker.io/library/known:1.0"]);
        assert!(!found.pinned);
    })
    .await;
}

#[tokio::test]
async fn users_of_images_are_told_by_number_or_name() {
    node(async |node| {
        for (user, uid, name) in [
            ("", Some(0), ""),
            ("1000", Some(1000), ""),
            ("1000:1", Some(1000), ""),
            ("tester", None, "tester"),
            ("tester:staff", None, "tester"),
        ] {
            let image = busybox().with("User", json!(user));
            node.load(&image, "localhost/user:1").await;
            let found = node
                .image_status("localhost/user:1")
                .await
                .unwrap()
                .unwrap();
            assert_eq!(found.username, name, "{user}");
            let seen = found.uid.map(|uid| uid.value);
            assert!(
                seen == uid || user.is_empty() && seen.is_none(),
                "{user}: {seen:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn several_tags_are_one_image() {
    let options = Options {
        no_image: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        let image = busybox();
        for tag in ["1", "2", "3"] {
            node.load(&image, &format!("localhost/tags:{tag}")).await;
        }
        let listed = node.image_list().await;
        assert_eq!(listed.len(), 1);
        let mut tags = listed[0].repo_tags.clone();
        tags.sort();
        assert_eq!(
            tags,
            ["localhost/tags:1", "localhost/tags:2", "localhost/tags:3"]
        );
        let filter = ImageFilter {
            image: Some(image_spec("localhost/tags:2")),
        };
        let request = api::ListImagesRequest {
            filter: Some(filter),
        };
        let found = node
            .images()
            .list_images(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(found.images.len(), 1);
        let filter = ImageFilter {
            image: Some(image_spec("localhost/none:2")),
        };
        let request = api::ListImagesRequest {
            filter: Some(filter),
        };
        let found = node
            .images()
            .list_images(request)
            .await
            .unwrap()
            .into_inner();
        assert!(found.images.is_empty());
        // A tag moves on with the image it is given to.
        let next = busybox().layer(&[], Packing::Gzip);
        node.load(&next, "localhost/tags:3").await;
        let found = node
            .image_status("localhost/tags:3")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.id, next.id());
        let found = node
            .image_status("localhost/tags:1")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.repo_tags.len(), 2, "{found:?}");
        // Removing by one name removes the image.
        node.remove_image("localhost/tags:1").await.unwrap();
        assert_eq!(node.image_status("localhost/tags:2").await.unwrap(), None);
        assert_eq!(node.image_list().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn removing_an_image_frees_its_layers_but_not_those_of_others() {
    node(async |node| {
        let filler = crate::support::Entry::file("filler", vec![7; 4 << 20], 0o644);
        let image = busybox().layer(&[filler], Packing::Plain);
        let used = async || {
            let reply = node
                .images()
                .image_fs_info(api::ImageFsInfoRequest::default())
                .await;
            let usage = reply.unwrap().into_inner().image_filesystems.remove(0);
            assert!(usage.timestamp > 0);
            let mountpoint = usage.fs_id.unwrap().mountpoint;
            assert!(
                mountpoint.starts_with(node.root().to_str().unwrap()),
                "{mountpoint}"
            );
            (
                usage.used_bytes.unwrap().value,
                usage.inodes_used.unwrap().value,
            )
        };
        let before = used().await;
        assert!(before.0 > 1 << 20 && before.1 > 10, "{before:?}");
        node.load(&image, "localhost/large:1").await;
        let with = used().await;
        assert!(with.0 >= before.0 + (4 << 20), "{before:?} {with:?}");
        node.remove_image("localhost/large:1").await.unwrap();
        crate::support::until("its room is free again", async || {
            used().await.0 <= before.0 + 4096 * 16
        })
        .await;
        let output = node.prints("others", "echo runs", |_| ()).await;
        assert_eq!(output, "runs");
    })
    .await;
}

#[tokio::test]
async fn an_image_in_use_is_not_pulled_from_under_its_container() {
    node(async |node| {
        let image = busybox().layer(
            &[crate::support::Entry::file("mark", "here", 0o644)],
            Packing::Gzip,
        );
        node.load(&image, "localhost/used:1").await;
        let config = pod("used");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        main.image = Some(image_spec("localhost/used:1"));
        let id = node.launch(&pod, &config, &main).await;
        // Refused, or done in a way that the container does not notice.
        let _ = node.remove_image("localhost/used:1").await;
        assert_eq!(node.exec(&id, &["cat", "/mark"]).await, "here");
        node.remove_all().await;
        let _ = node.remove_image("localhost/used:1").await;
        assert_eq!(node.image_status("localhost/used:1").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn images_survive_a_restart() {
    node(async |node| {
        let before = node.image_list().await;
        node.restart().await;
        assert_eq!(node.image_list().await, before);
        let output = node.prints("after", "echo runs", |_| ()).await;
        assert_eq!(output, "runs");
    })
    .await;
}

#[tokio::test]
async fn pinned_images_say_so() {
    let options = Options {
        args: vec!["--pinned-image=localhost/busybox*".into()],
        ..Options::default()
    };
    node_with(options, async |node| {
        let found = node
            .image_status(crate::support::IMAGE)
            .await
            .unwrap()
            .unwrap();
        assert!(found.pinned);
    })
    .await;
}
