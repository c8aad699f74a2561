//! What a container's status and the lists tell of it.

use corten::cri::api::{self, Mount};

use crate::support::{IMAGE, busybox, linux, node, pod, shell, until};

#[tokio::test]
async fn status_tells_what_was_asked_for() {
    node(async |node| {
        let config = pod("asked");
        let pod = node.pod(&config).await;
        let mut main = shell("main", "sleep 1000000");
        main.metadata.as_mut().unwrap().attempt = 3;
        main.labels.insert("app".into(), "übung".into());
        main.annotations.insert("a/b".into(), "one\ntwo=\"".into());
        main.image.as_mut().unwrap().user_specified_image = "busybox:as-written".into();
        main.image
            .as_mut()
            .unwrap()
            .annotations
            .insert("image".into(), "annotation".into());
        let dir = node.scratch.dir("source");
        main.mounts.push(Mount {
            container_path: "/inside".into(),
            host_path: dir.to_str().unwrap().into(),
            readonly: true,
            ..Mount::default()
        });
        linux(&mut main).resources = Some(api::LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            ..Default::default()
        });
        let id = node.launch(&pod, &config, &main).await;
        let status = node.status(&id).await;
        assert_eq!(status.id, id);
        assert_eq!(status.metadata, main.metadata);
        assert_eq!(status.labels, main.labels);
        assert_eq!(status.annotations, main.annotations);
        let image = status.image.unwrap();
        // The name that the user wrote, where there is one, is what people are shown.
        assert!([IMAGE, "busybox:as-written"].contains(&image.image.as_str()));
        assert_eq!(image.user_specified_image, "busybox:as-written");
        assert_eq!(status.image_id, busybox().id());
        assert!(!status.image_ref.is_empty());
        let log = node.log_path(&config, &main);
        assert_eq!(status.log_path, log.to_str().unwrap());
        let mount = &status.mounts[0];
        assert_eq!(mount.container_path, "/inside");
        assert_eq!(mount.host_path, dir.to_str().unwrap());
        assert!(mount.readonly);
        let resources = status.resources.unwrap().linux.unwrap();
        assert_eq!(resources.memory_limit_in_bytes, 64 << 20);
        assert_eq!(resources.cpu_shares, 512);
        assert_eq!(resources.cpu_quota, 50_000);
        assert_eq!(resources.cpu_period, 100_000);
        let user = status.user.unwrap().linux.unwrap();
        assert_eq!((user.uid, user.gid), (0, 0));
        let listed = node.containers(None).await.remove(0);
        assert_eq!(listed.id, id);
        assert_eq!(listed.pod_sandbox_id, pod);
        assert_eq!(listed.metadata, main.metadata);
        assert_eq!(listed.labels, main.labels);
        assert_eq!(listed.annotations, main.annotations);
        assert_eq!(listed.created_at, status.created_at);
        assert_eq!(listed.image_id, busybox().id());
    })
    .await;
}

#[tokio::test]
async fn verbose_status_tells_more() {
    node(async |node| {
        let (_, _, id) = node.idle("verbose").await;
        let pid = node.init_pid(&id).await;
        // A runtime may return a moment before init has become the command.
        until("init is the command", async || {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
            command == "sleep\u{0}1000000\u{0}"
        })
        .await;
    })
    .await;
}
