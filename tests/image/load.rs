//! `corten load`, from every form an image may be saved in.

use crate::support::{ImageFormat, Options, busybox, node_with, run};

fn empty() -> Options {
    Options {
        no_image: true,
        ..Options::default()
    }
}

#[tokio::test]
async fn archives_and_layouts_are_loaded() {
    node_with(empty(), async |node| {
        let image = busybox();
        let layout = node.scratch.dir("layout");
        image.write_layout(&layout, "localhost/layout:1");
        let tar = node.scratch.join("layout.tar");
        let (dir, file) = (layout.to_str().unwrap(), tar.to_str().unwrap());
        run(&["tar", "-C", dir, "-cf", file, "."]).await.ok();
        node.cli(&["load", file]).await.ok();
        let found = node
            .image_status("localhost/layout:1")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.id, image.id());
        node.remove_image("localhost/layout:1").await.unwrap();
        node.cli_fed(&["load"], Some(std::fs::read(&tar).unwrap()))
            .await
            .ok();
        assert!(
            node.image_status("localhost/layout:1")
                .await
                .unwrap()
                .is_some()
        );
        node.remove_image("localhost/layout:1").await.unwrap();
        let zipped = format!("{file}.gz");
        run(&["gzip", "-1", file]).await.ok();
        node.cli(&["load", &zipped]).await.ok();
        assert!(
            node.image_status("localhost/layout:1")
                .await
                .unwrap()
                .is_some()
        );
        node.remove_image("localhost/layout:1").await.unwrap();
        let said = node.cli(&["load", dir]).await.failed();
        assert!(said.contains(&format!("tar -C {dir}")), "{said}");

        let docker = busybox().format(ImageFormat::Docker);
        let names = ["localhost/docker:1", "localhost/docker:2"];
        let file = node
            .scratch
            .file("docker.tar", docker.docker_archive(&names));
        let said = node.cli(&["load", file.to_str().unwrap()]).await.ok();
        for name in names {
            assert!(said.contains(name), "{said}");
            assert!(node.image_status(name).await.unwrap().is_some());
        }
        let quiet = node.cli(&["load", "-q", file.to_str().unwrap()]).await.ok();
        assert_eq!(quiet.trim(), node.image_list().await[0].id);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    node_with(empty(), async |node| {
        let text = node.scratch.file("text", "this is no archive".repeat(100));
        let missing = node.scratch.join("missing.tar");
        for path in [&text, &missing] {
            let said = node.cli(&["load", path.to_str().unwrap()]).await.failed();
            assert!(said.contains(path.to_str().unwrap()), "{said}");
        }
        let image = busybox();
        let layout = node.scratch.dir("layout");
        image.write_layout(&layout, "localhost/layout:1");
        let blob = layout
            .join("blobs/sha256")
            .join(&image.layers[0].digest[7..]);
        std::fs::write(&blob, "not what its digest says").unwrap();
        let tar = node.scratch.join("layout.tar");
        let (dir, file) = (layout.to_str().unwrap(), tar.to_str().unwrap());
        run(&["tar", "-C", dir, "-cf", file, "."]).await.ok();
        let said = node.cli(&["load", file]).await.failed();
        assert!(said.contains("sha256:"), "{said}");
        std::fs::remove_file(&blob).unwrap();
        run(&["tar", "-C", dir, "-cf", file, "."]).await.ok();
        let said = node.cli(&["load", file]).await.failed();
        assert!(said.contains(&image.layers[0].digest[7..]), "{said}");
        assert!(node.image_list().await.is_empty());
        // Standard input that ends at once.
        let said = node.cli_fed(&["load"], Some(Vec::new())).await.failed();
        assert!(!said.is_empty());
    })
    .await;
}
