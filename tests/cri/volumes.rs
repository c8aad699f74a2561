//! Images that are mounted into containers.

use corten::cri::api::{ContainerConfig, Mount};
use tonic::Code;

use crate::support::{
    Entry, IMAGE, Image, Node, Packing, busybox, container, image_spec, node, pod, run, until,
};

const VOLUME: &str = "localhost/volume:1";

/// An image with data, a program that would gain rights, a device, and links of every kind.
fn volume(links_to: &str) -> Image {
    busybox().layer(
        &[
            Entry::dir("data", 0o755),
            Entry::file("data/file", "of the image", 0o644),
            Entry::file("data/program", "#!/bin/sh\necho it runs\n", 0o4755),
            Entry::dir("data/deep", 0o755),
            Entry::file("data/deep/file", "deeper", 0o644),
            Entry::dir("etc/only-here", 0o755),
            Entry::symlink("relative", "data"),
            Entry::symlink("absolute", "/data"),
            Entry::symlink("data/upward", "../../../../../../data/deep"),
            Entry::symlink("etc-link", "/etc"),
            Entry::symlink("outward", links_to),
            Entry::symlink("data/chain", "../outward"),
            Entry::symlink("magic", "/proc/self/root"),
            Entry::symlink("loop", "loop"),
        ],
        Packing::Gzip,
    )
}

fn of_image(path: &str, sub_path: &str) -> Mount {
    Mount {
        container_path: path.into(),
        image: Some(image_spec(VOLUME)),
        image_sub_path: sub_path.into(),
        readonly: true,
        ..Mount::default()
    }
}

fn with(mounts: Vec<Mount>) -> ContainerConfig {
    let mut main = container("main", &["sleep", "1000000"]);
    main.mounts = mounts;
    main
}

/// Options of the mount at `path` in a container.
pub(super) async fn options_of(node: &Node, id: &str, path: &str) -> Vec<String> {
    let table = node.exec(id, &["cat", "/proc/self/mountinfo"]).await;
    let line = table
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(path))
        .unwrap_or_else(|| panic!("{path} is not in {table}"));
    let options = line.split(' ').nth(5).unwrap();
    options.split(',').map(str::to_owned).collect()
}

async fn fails(node: &Node, id: &str, command: &[&str]) -> bool {
    node.try_exec(id, command, 0).await.unwrap().exit_code != 0
}

#[tokio::test]
async fn an_image_can_be_mounted_whole_or_in_part() {
    node(async |node| {
        node.load(&volume("/data"), VOLUME).await;
        let config = pod("volumes");
        let pod = node.pod(&config).await;
        let main = with(vec![
            of_image("/whole", ""),
            of_image("/part", "data"),
            of_image("/file", "data/file"),
            Mount {
                // The protocol's readonly says nothing: an image is never written to.
                readonly: false,
                mount_options: vec!["noexec".into()],
                ..of_image("/noexec", "./data//deep/")
            },
        ]);
        let id = node.launch(&pod, &config, &main).await;
        for (path, content) in [
            ("/whole/data/file", "of the image"),
            ("/part/file", "of the image"),
            ("/file", "of the image"),
            ("/noexec/file", "deeper"),
        ] {
            assert_eq!(node.exec(&id, &["cat", path]).await, content, "{path}");
        }
        assert_eq!(node.exec(&id, &["/part/program"]).await, "it runs");
        for path in ["/whole", "/part", "/file", "/noexec"] {
            let options = options_of(node, &id, path).await;
            for option in ["ro", "nosuid", "nodev"] {
                assert!(options.contains(&option.to_owned()), "{path}: {options:?}");
            }
            assert_eq!(options.contains(&"noexec".to_owned()), path == "/noexec");
        }
        assert!(fails(node, &id, &["touch", "/part/new"]).await);
        assert!(fails(node, &id, &["touch", "/noexec/new"]).await);
        assert!(fails(node, &id, &["rm", "/whole/data/file"]).await);
        // Nothing but the part is there.
        assert!(fails(node, &id, &["ls", "/part/../part/../data"]).await);

        let status = node.status(&id).await;
        let image = node.image_status(VOLUME).await.unwrap().unwrap();
        let id = image.id;
        for mount in &status.mounts {
            let image = mount.image.as_ref().unwrap();
            assert_eq!(image.image, VOLUME);
            assert_eq!(image.image_ref, id);
            assert!(mount.readonly && mount.host_path.is_empty());
        }
        assert_eq!(status.mounts[1].image_sub_path, "data");
        assert_eq!(status.mounts[3].image_sub_path, "data/deep");
    })
    .await;
}

#[tokio::test]
async fn links_of_an_image_lead_nowhere_else() {
    node(async |node| {
        let secret = node.scratch.dir("secret");
        std::fs::write(secret.join("key"), "of the host").unwrap();
        node.load(&volume(secret.to_str().unwrap()), VOLUME).await;
        let config = pod("links");
        let pod = node.pod(&config).await;
        let mut inside = with(vec![
            of_image("/relative", "relative"),
            of_image("/absolute", "absolute/deep"),
            of_image("/upward", "data/upward"),
            of_image("/etc-of-it", "etc-link"),
        ]);
        inside.metadata.as_mut().unwrap().name = "inside".into();
        let id = node.launch(&pod, &config, &inside).await;
        for path in ["/relative/deep/file", "/absolute/file", "/upward/file"] {
            assert_eq!(node.exec(&id, &["cat", path]).await, "deeper", "{path}");
        }
        // The image's own directory, not the host's.
        node.exec(&id, &["ls", "/etc-of-it/only-here"]).await;
        for sub_path in [
            "outward",
            "outward/key",
            "data/chain",
            "data/chain/key",
            "magic",
            "magic/etc",
            "loop",
            "data/missing",
            "data/file/x",
        ] {
            let error = node
                .try_create(&pod, &config, &with(vec![of_image("/v", sub_path)]))
                .await
                .expect_err(sub_path);
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            let message = error.message();
            assert!(
                message.starts_with("ImageVolumeMountFailed: config.mounts[0].image_sub_path"),
                "{message}"
            );
            assert!(message.contains(&format!("{sub_path:?}")), "{message}");
            assert!(message.contains(VOLUME), "{message}");
        }
        assert_eq!(node.containers(None).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_mounted_of_an_image_is_refused() {
    node(async |node| {
        node.load(&volume("/data"), VOLUME).await;
        let config = pod("bad-volumes");
        let pod = node.pod(&config).await;
        let refused = async |mount: Mount| {
            node.try_create(&pod, &config, &with(vec![of_image("/first", ""), mount]))
                .await
                .unwrap_err()
        };
        for value in ["../../etc", "/etc", "data/../../etc", ".."] {
            let error = refused(of_image("/v", value)).await;
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(
                error.message().contains("mounts[1].image_sub_path"),
                "{error}"
            );
            assert!(error.message().contains(value), "{error}");
        }
        let mut unknown = of_image("/v", "");
        unknown.image = Some(image_spec("localhost/not-there:1"));
        let error = refused(unknown).await;
        assert_eq!(error.code(), Code::NotFound, "{error}");
        assert!(
            error.message().starts_with(
                "ImageVolumeMountFailed: config.mounts[1].image.image: \"localhost/not-there:1\""
            ),
            "{error}"
        );
        let mut both = of_image("/v", "");
        both.host_path = "/etc".into();
        let error = refused(both).await;
        assert!(error.message().contains("mounts[1].host_path"), "{error}");
        for option in ["suid", "dev", "bind", "rw"] {
            let mut trusting = of_image("/v", "");
            trusting.mount_options = vec![option.into()];
            let error = refused(trusting).await;
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(option), "{error}");
            assert!(
                error.message().contains("mounts[1].mount_options[0]"),
                "{error}"
            );
        }
        let nothing = Mount {
            container_path: "/v".into(),
            image_sub_path: "data".into(),
            ..Mount::default()
        };
        let error = refused(nothing).await;
        assert!(error.message().contains("image_sub_path"), "{error}");
        // Nothing stays of the mounts that went well before.
        assert!(mounts_of_views(node).is_empty());
    })
    .await;
}

fn mounts_of_views(node: &Node) -> Vec<std::path::PathBuf> {
    let mut mounts = node.scratch.mounts();
    mounts.retain(|path| path.to_string_lossy().contains("/volumes/"));
    mounts
}

/// Layers on disk.
fn layers(node: &Node) -> usize {
    fn count(dir: &std::path::Path) -> usize {
        std::fs::read_dir(dir).map_or(0, |entries| entries.count())
    }
    count(&node.root().join("storage/layers"))
}

#[tokio::test]
async fn an_image_that_is_mounted_can_lose_its_name_but_not_its_files() {
    node(async |node| {
        let before = layers(node);
        assert!(before > 0);
        node.load(&volume("/data"), VOLUME).await;
        let with_volume = layers(node);
        assert!(with_volume > before);
        let config = pod("held");
        let pod = node.pod(&config).await;
        let main = with(vec![of_image("/v", "data")]);
        let id = node.launch(&pod, &config, &main).await;
        let status = node.status(&id).await;
        node.remove_image(VOLUME).await.unwrap();
        assert!(node.image_status(VOLUME).await.unwrap().is_none());
        let reads = async || node.exec(&id, &["cat", "/v/file"]).await;
        assert_eq!(reads().await, "of the image");
        assert_eq!(layers(node), with_volume);
        // Nor does a new daemon take them away, nor one that was killed.
        node.restart().await;
        assert_eq!(node.status(&id).await, status);
        node.kill();
        node.start().await;
        node.remove_image(IMAGE).await.unwrap();
        assert_eq!(reads().await, "of the image");
        assert_eq!(node.status(&id).await, status);
        // A second container cannot be made of what has no name any more.
        let mut second = with(vec![of_image("/v", "data")]);
        second.metadata.as_mut().unwrap().name = "second".into();
        node.load(&busybox(), IMAGE).await;
        let error = node.try_create(&pod, &config, &second).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        node.stop_container(&id, 0).await.unwrap();
        assert_eq!(layers(node), with_volume);
        node.remove_container(&id).await.unwrap();
        assert!(mounts_of_views(node).is_empty());
        until("its layers are gone", async || layers(node) == before).await;
    })
    .await;
}

#[tokio::test]
async fn a_mounted_image_is_the_containers_alone() {
    node(async |node| {
        node.load(&volume("/data"), VOLUME).await;
        let config = pod("two");
        let pod = node.pod(&config).await;
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            let mut main = with(vec![of_image("/v", "data"), of_image("/w", "data")]);
            main.metadata.as_mut().unwrap().name = name.into();
            ids.push(node.launch(&pod, &config, &main).await);
        }
        assert_eq!(mounts_of_views(node).len(), 4);
        node.stop_container(&ids[0], 0).await.unwrap();
        node.remove_container(&ids[0]).await.unwrap();
        assert_eq!(mounts_of_views(node).len(), 2);
        assert_eq!(
            node.exec(&ids[1], &["cat", "/v/file"]).await,
            "of the image"
        );
        // A view that someone took away on the host does not keep the container from going.
        let view = mounts_of_views(node).remove(0);
        run(&["umount", view.to_str().unwrap()]).await.ok();
        node.remove_pod(&pod).await.unwrap();
        assert!(mounts_of_views(node).is_empty());
    })
    .await;
}
