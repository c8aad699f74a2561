//! What an image says about itself, and what must not follow from it.

use serde_json::json;

use super::field;
use crate::support::{Entry, Image, Packing, busybox, image_spec, node, pod, shell, userless};

#[tokio::test]
async fn labels_and_annotations_of_an_image_steer_nothing() {
    node(async |node| {
        let marker = node.scratch.join("marker");
        let at = marker.to_str().unwrap();
        let labels = json!({
            "io.containerd.runtime.log-uri": format!("binary:///bin/touch?{at}"),
            "containerd.io/restart.loguri": format!("binary:///bin/touch?{at}"),
            "io.kubernetes.container.logpath": at,
            "org.opencontainers.image.ref.name": "../../outside",
            "io.kubernetes.cri-o.annotations.checkpoint.name": "main",
            "org.criu.checkpoint.container.name": "main",
            "org.systemd.property.ExecStartPost": format!("'/bin/touch {at}'"),
            "run.oci.hooks.stdout": at,
        });
        let image = busybox().with("Labels", labels);
        node.load(&image, "localhost/labels:1").await;
        let mut main = shell("main", "echo well; grep CapEff /proc/self/status | cut -f2");
        main.image = Some(image_spec("localhost/labels:1"));
        let config = pod("labels");
        let pod = node.pod(&config).await;
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(node.exit(&id).await.exit_code, 0);
        // The request's command with the request's rights, whatever the image says it is.
        let output = node.output(&config, &main);
        assert_eq!(
            output.lines().collect::<Vec<_>>(),
            ["well", "00000000000005fb"]
        );
        assert!(!marker.exists());
        let spec = std::fs::read(
            node.runroot()
                .join("containers")
                .join(&id)
                .join("config.json"),
        )
        .unwrap();
        let spec = String::from_utf8(spec).unwrap();
        for name in [
            "log-uri",
            "restart.loguri",
            "ExecStartPost",
            "run.oci.hooks",
            "checkpoint",
        ] {
            assert!(!spec.contains(name), "{name} reaches the runtime");
        }
    })
    .await;
}

#[tokio::test]
async fn an_archive_on_the_host_is_no_image() {
    node(async |node| {
        // What a checkpoint would bring: a specification of its own, more rights, the host's files.
        let layer = [
            Entry::dir("checkpoint", 0o700),
            Entry::file("config.dump", r#"{"id":"x","runtime":"runc"}"#, 0o600),
            Entry::file("spec.dump", r#"{"process":{"user":{"uid":0}}}"#, 0o600),
        ];
        let archive = busybox()
            .layer(&layer, Packing::Plain)
            .docker_archive(&["localhost/x:1"]);
        let path = node.scratch.file("checkpoint.tar", archive);
        let config = pod("archive");
        let pod = node.pod(&config).await;
        let path = path.to_str().unwrap();
        for name in [
            path.to_owned(),
            format!("file://{path}"),
            format!("docker-archive:{path}"),
        ] {
            let error = node
                .try_create(&pod, &config, &userless("main", &name))
                .await
                .expect_err(&name);
            let code = error.code();
            assert!(
                matches!(code, tonic::Code::InvalidArgument | tonic::Code::NotFound),
                "{error}"
            );
            node.try_pull(&name, None).await.expect_err(&name);
        }
    })
    .await;
}

#[tokio::test]
async fn digests_are_no_paths() {
    node(async |node| {
        let outside = node.scratch.file("outside", "kept");
        let up = format!("../../../../../../../../../..{}", outside.display());
        let image = busybox();
        let blob = |digest: &str| format!("blobs/sha256/{}", &digest[7..]);
        for digest in [format!("sha256:{up}"), format!("{up}:abc"), "sha256:".into(), "sha512:00".into()] {
            let index = json!({"schemaVersion": 2, "manifests": [{
                "mediaType": image.manifest.media_type, "digest": digest, "size": image.manifest.bytes.len(),
                "annotations": {"org.opencontainers.image.ref.name": "localhost/up:1"}}]});
            let archive = Image::archive_of(&[
                ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
                ("index.json", index.to_string().as_bytes()),
                (&blob(&image.manifest.digest), &image.manifest.bytes),
            ]);
            let said = node.cli_fed(&["load"], Some(archive)).await.failed();
            assert!(said.contains("digest"), "{digest}: {said}");
        }
        // In a docker archive the parts are named by path.
        let manifest = json!([{"Config": up, "RepoTags": ["localhost/up:1"], "Layers": [up]}]);
        let archive = Image::archive_of(&[("manifest.json", manifest.to_string().as_bytes())]);
        node.cli_fed(&["load"], Some(archive)).await.failed();
        for name in [
            format!("localhost/x@sha256:{up}"),
            "localhost/../x:1".into(),
            format!("localhost/x:{up}"),
        ] {
            let error = node.try_pull(&name, None).await.expect_err(&name);
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
        }
        assert_eq!(std::fs::read_to_string(outside).unwrap(), "kept");
    })
    .await;
}

#[tokio::test]
async fn the_groups_of_a_process_hold_its_own() {
    node(async |node| {
        // A file closed to a group is closed to its members by name and by number alike.
        let (_, _, id) = node.idle("groups").await;
        let pid = node.init_pid(&id).await;
        let groups = field(pid, "Groups:");
        assert!(
            groups.split_whitespace().any(|group| group == "0"),
            "{groups:?}"
        );
        let mut main = shell("main", "id -G");
        let context = crate::support::security(&mut main);
        context.run_as_user = Some(corten::cri::api::Int64Value { value: 1000 });
        context.run_as_group = Some(corten::cri::api::Int64Value { value: 50 });
        let (_, output) = node.run_once(&pod("own"), &main).await;
        let groups: Vec<&str> = output.split_whitespace().collect();
        assert!(groups.contains(&"50"), "{output}");
    })
    .await;
}
