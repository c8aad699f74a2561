//! Paths that a pod's author or an image chooses, and where they must not lead.

use serde_json::json;

use crate::support::{
    Entry, Image, Packing, busybox, busybox_entries, image_spec, node, pod, pod_net, shell,
    userless,
};

#[tokio::test]
async fn volumes_of_an_image_stay_inside_it() {
    node(async |node| {
        let outside = node.scratch.dir("outside");
        let path = outside.to_str().unwrap().to_owned();
        std::fs::write(outside.join("secret"), "of the host").unwrap();
        let volumes = [
            "/../../../../../../../../../../etc".to_owned(),
            format!("/../../../../../../../../../..{path}"),
            "/link".to_owned(),
            "/link/made".to_owned(),
            "relative".to_owned(),
            "/proc/1/root/made".to_owned(),
        ];
        for (number, volume) in volumes.iter().enumerate() {
            let name = format!("localhost/volume:{number}");
            let image = busybox()
                .layer(&[Entry::symlink("link", &path)], Packing::Gzip)
                .with("Volumes", json!({volume: {}}));
            node.load(&image, &name).await;
            let config = pod(&format!("volume-{number}"));
            let pod = node.pod(&config).await;
            let mut main = shell(
                "main",
                &format!("ls -R /link {volume}; cat /link/secret; touch {volume}/x; true"),
            );
            main.image = Some(image_spec(&name));
            // Refused, or run without anything of the host.
            if let Ok(id) = node.try_create(&pod, &config, &main).await
                && node.start_container(&id).await.is_ok()
            {
                node.exit(&id).await;
                let output = node.output(&config, &main);
                assert!(
                    !output.contains("of the host") && !output.contains("shadow"),
                    "{volume}: {output}"
                );
            }
            let left: Vec<_> = std::fs::read_dir(&outside)
                .unwrap()
                .flatten()
                .map(|e| e.file_name())
                .collect();
            assert_eq!(left, ["secret"], "{volume}");
            node.remove_pod(&pod).await.unwrap();
        }
        assert!(!std::path::Path::new("/made").exists());
    })
    .await;
}

#[tokio::test]
async fn files_that_are_laid_over_an_images_links_stay_inside() {
    node(async |node| {
        let outside = node.scratch.dir("outside");
        let names = ["mtab", "hosts", "hostname", "resolv.conf"];
        let mut links = Vec::new();
        for name in names {
            let target = outside.join(name);
            std::fs::write(&target, "kept").unwrap();
            links.push(Entry::symlink(
                &format!("etc/{name}"),
                target.to_str().unwrap(),
            ));
        }
        // A place in a directory that is a link to outside, too.
        links.push(Entry::symlink("run", outside.to_str().unwrap()));
        let image = busybox().layer(&links, Packing::Gzip);
        node.load(&image, "localhost/links:1").await;
        let shared = node.scratch.dir("shared");
        let config = pod_net("links");
        let pod = node.pod(&config).await;
        let mut main = shell(
            "main",
            "echo bad >/etc/hosts; echo bad >/etc/mtab; touch /run/secrets/made; true",
        );
        main.image = Some(image_spec("localhost/links:1"));
        main.mounts.push(corten::cri::api::Mount {
            container_path: "/run/secrets".into(),
            host_path: shared.to_str().unwrap().into(),
            ..Default::default()
        });
        if let Ok(id) = node.try_create(&pod, &config, &main).await
            && node.start_container(&id).await.is_ok()
        {
            node.exit(&id).await;
        }
        for name in names {
            let text = std::fs::read_to_string(outside.join(name)).unwrap();
            assert_eq!(text, "kept", "{name}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), names.len());
    })
    .await;
}

#[tokio::test]
async fn an_etc_that_is_no_directory_harms_nobody() {
    node(async |node| {
        let mut entries = busybox_entries();
        entries.retain(|entry| !entry.path.starts_with("etc"));
        entries.push(Entry::file("etc", "a file", 0o644));
        let image = Image::new(&[(entries, Packing::Gzip)]);
        node.load(&image, "localhost/etc:1").await;
        let config = pod("etc");
        let pod = node.pod(&config).await;
        // Whether it runs is the runtime's choice; the daemon goes on, and so do others.
        if let Ok(id) = node
            .try_create(&pod, &config, &userless("main", "localhost/etc:1"))
            .await
        {
            let _ = node.start_container(&id).await;
        }
        let (_, _, id) = node.idle("others").await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
    })
    .await;
}

#[tokio::test]
async fn log_paths_stay_below_their_directory() {
    node(async |node| {
        let config = node.completed(&pod("logs"));
        let pod = node.pod(&config).await;
        for path in ["../outside.log", "a/../../outside.log", "/outside.log"] {
            let mut main = shell("main", "echo bad");
            main.log_path = path.into();
            let error = node.try_create(&pod, &config, &main).await.expect_err(path);
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
            assert!(error.message().contains("log_path"), "{error}");
        }
        assert!(!node.scratch.join("logs/outside.log").exists());
    })
    .await;
}
