//! What is mounted into containers, and how.

use std::os::unix::fs::MetadataExt;

use corten::cri::api::{self, ContainerConfig, Mount, MountPropagation};
use serde_json::json;
use tonic::Code;

use crate::support::{
    Entry, Mounted, Node, Options, Packing, busybox, container, image_spec, node, node_with, pod,
    run, shell, until,
};

fn mount(host: &std::path::Path, inside: &str) -> Mount {
    Mount {
        host_path: host.to_str().unwrap().into(),
        container_path: inside.into(),
        ..Mount::default()
    }
}

fn with(mounts: Vec<Mount>) -> ContainerConfig {
    let mut main = container("main", &["sleep", "1000000"]);
    main.mounts = mounts;
    main
}

async fn launch(node: &Node, mounts: Vec<Mount>) -> String {
    let config = pod("mounts");
    let pod = node.pod(&config).await;
    node.launch(&pod, &config, &with(mounts)).await
}

#[tokio::test]
async fn directories_and_files_are_shared_with_the_host() {
    node(async |node| {
        let dir = node.scratch.dir("shared");
        let file = node.scratch.file("single", "from the host\n");
        let link = node.scratch.join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        let id = launch(
            node,
            vec![
                mount(&dir, "/deep/inside"),
                mount(&file, "/etc/single"),
                mount(&link, "/linked"),
            ],
        )
        .await;
        node.sh(&id, "echo inside >/deep/inside/file").await;
        assert_eq!(
            std::fs::read_to_string(dir.join("file")).unwrap(),
            "inside\n"
        );
        assert_eq!(
            node.exec(&id, &["cat", "/etc/single"]).await,
            "from the host"
        );
        assert_eq!(node.exec(&id, &["cat", "/linked/file"]).await, "inside");
    })
    .await;
}

#[tokio::test]
async fn later_mounts_lie_over_earlier_ones() {
    node(async |node| {
        let outer = node.scratch.dir("outer");
        let inner = node.scratch.dir("inner");
        std::fs::create_dir(outer.join("below")).unwrap();
        std::fs::write(inner.join("mark"), "inner").unwrap();
        for mounts in [
            vec![mount(&outer, "/m"), mount(&inner, "/m/below")],
            // A kubelet does not sort them.
            vec![mount(&inner, "/m/below"), mount(&outer, "/m")],
        ] {
            let id = launch(node, mounts).await;
            assert_eq!(node.exec(&id, &["cat", "/m/below/mark"]).await, "inner");
            node.remove_all().await;
        }
    })
    .await;
}

#[tokio::test]
async fn read_only_holds_for_the_mount_or_all_below() {
    node(async |node| {
        let dir = node.scratch.dir("ro");
        std::fs::create_dir(dir.join("below")).unwrap();
        let _below = Mounted::new(&["-t", "tmpfs", "tmpfs"], &dir.join("below")).await;
        let mut read_only = mount(&dir, "/ro");
        read_only.readonly = true;
        let mut recursive = mount(&dir, "/rro");
        recursive.readonly = true;
        recursive.recursive_read_only = true;
        let id = launch(node, vec![read_only, recursive, mount(&dir, "/rw")]).await;
        let writes = async |path: &str| {
            let done = node.try_exec(&id, &["touch", path], 0).await.unwrap();
            done.exit_code == 0
        };
        assert!(writes("/rw/file").await);
        assert!(!writes("/ro/file").await);
        assert!(writes("/ro/below/file").await);
        assert!(!writes("/rro/file").await);
        assert!(!writes("/rro/below/file").await);
    })
    .await;
}

#[tokio::test]
async fn recursive_read_only_has_its_conditions() {
    node(async |node| {
        let dir = node.scratch.dir("rro");
        let config = pod("rro");
        let pod = node.pod(&config).await;
        for (readonly, propagation) in [
            (false, MountPropagation::PropagationPrivate),
            (true, MountPropagation::PropagationHostToContainer),
            (true, MountPropagation::PropagationBidirectional),
        ] {
            let mut recursive = mount(&dir, "/rro");
            recursive.readonly = readonly;
            recursive.recursive_read_only = true;
            recursive.propagation = propagation as i32;
            let error = node
                .try_create(&pod, &config, &with(vec![recursive]))
                .await
                .unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains("recursive_read_only"), "{error}");
            assert!(error.message().contains("mounts[0]"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn propagation_goes_as_far_as_asked() {
    node(async |node| {
        let dir = node.scratch.dir("propagated");
        let _shared = Mounted::shared(&dir).await;
        for (propagation, in_container, on_host) in [
            (MountPropagation::PropagationPrivate, false, false),
            (MountPropagation::PropagationHostToContainer, true, false),
            (MountPropagation::PropagationBidirectional, true, true),
        ] {
            let name = format!("{propagation:?}");
            for side in ["host", "container"] {
                std::fs::create_dir(dir.join(format!("{name}-{side}"))).unwrap();
            }
            let config = pod(&name);
            let pod = node.pod(&config).await;
            let mut propagated = mount(&dir, "/mnt");
            propagated.propagation = propagation as i32;
            let mut main = with(vec![propagated]);
            crate::support::security(&mut main).privileged = true;
            let id = node.launch(&pod, &config, &main).await;
            let below = dir.join(format!("{name}-host"));
            let _mounted = Mounted::new(&["-t", "tmpfs", "tmpfs"], &below).await;
            std::fs::write(below.join("mark"), "").unwrap();
            let path = format!("/mnt/{name}-host/mark");
            let done = node.try_exec(&id, &["test", "-e", &path], 0).await.unwrap();
            assert_eq!(done.exit_code == 0, in_container, "{name}");
            let path = format!("/mnt/{name}-container");
            let script = format!("mount -t tmpfs tmpfs {path} && touch {path}/mark");
            node.sh(&id, &script).await;
            let mark = dir.join(format!("{name}-container/mark"));
            assert_eq!(mark.exists(), on_host, "{name}");
            node.remove_pod(&pod).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn propagation_from_a_private_source_is_refused() {
    node(async |node| {
        let dir = node.scratch.dir("private");
        let _private = Mounted::new(&["--bind", dir.to_str().unwrap()], &dir).await;
        run(&["mount", "--make-private", dir.to_str().unwrap()])
            .await
            .ok();
        let config = pod("private");
        let pod = node.pod(&config).await;
        let mut bidirectional = mount(&dir, "/mnt");
        bidirectional.propagation = MountPropagation::PropagationBidirectional as i32;
        let mut main = with(vec![bidirectional]);
        crate::support::security(&mut main).privileged = true;
        let error = node.try_create(&pod, &config, &main).await.unwrap_err();
        assert!(error.message().contains(dir.to_str().unwrap()), "{error}");
        assert!(error.message().contains("shared"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_missing_source_is_made() {
    node(async |node| {
        let dir = node.scratch.dir("there");
        std::os::unix::fs::symlink(&dir, node.scratch.join("link")).unwrap();
        let missing = node.scratch.join("link/a/b");
        let mut read_only = mount(&node.scratch.join("other"), "/other");
        read_only.readonly = true;
        let id = launch(node, vec![mount(&missing, "/mnt"), read_only]).await;
        node.sh(&id, "echo inside >/mnt/file").await;
        let content = std::fs::read_to_string(dir.join("a/b/file")).unwrap();
        assert_eq!(content, "inside\n");
        for made in [dir.join("a"), dir.join("a/b"), node.scratch.join("other")] {
            let made = made.symlink_metadata().unwrap();
            assert!(made.is_dir());
            assert_eq!(
                (made.mode() & 0o7777, made.uid(), made.gid()),
                (0o755, 0, 0)
            );
        }
        // What the user has made of it stays.
        node.remove_all().await;
        assert!(dir.join("a/b/file").exists());
    })
    .await;
}

#[tokio::test]
async fn a_missing_source_is_not_made_through_a_link_to_nothing() {
    node(async |node| {
        let nowhere = node.scratch.join("nowhere");
        let link = node.scratch.join("link");
        std::os::unix::fs::symlink(&nowhere, &link).unwrap();
        std::os::unix::fs::symlink("link", node.scratch.join("chain")).unwrap();
        let file = node.scratch.file("file", "");
        let config = pod("dangling");
        let pod = node.pod(&config).await;
        for source in [
            link.clone(),
            link.join("below"),
            node.scratch.join("chain"),
            node.scratch.join("chain/below"),
            file.join("below"),
        ] {
            let error = node
                .try_create(&pod, &config, &with(vec![mount(&source, "/mnt")]))
                .await
                .expect_err(source.to_str().unwrap());
            assert!(
                error.message().contains(source.to_str().unwrap()),
                "{error}"
            );
        }
        assert!(!nowhere.exists());
    })
    .await;
}

#[tokio::test]
async fn a_missing_source_can_be_refused() {
    let options = Options {
        args: vec!["--absent-mount-source-to-reject=/".into()],
        ..Options::default()
    };
    node_with(options, async |node| {
        let missing = node.scratch.join("missing");
        let config = pod("missing");
        let pod = node.pod(&config).await;
        let error = node
            .try_create(&pod, &config, &with(vec![mount(&missing, "/mnt")]))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        for part in [missing.to_str().unwrap(), "absent_mount_sources_to_reject"] {
            assert!(error.message().contains(part), "{error}");
        }
        assert!(!missing.exists());
    })
    .await;
}

#[tokio::test]
async fn options_reach_the_kernel() {
    node(async |node| {
        let dir = node.scratch.dir("options");
        node.scratch
            .program("options/program", "#!/bin/sh\necho it runs\n");
        let optioned = |path: &str, options: &[&str], readonly| Mount {
            mount_options: options.iter().map(|o| (*o).to_owned()).collect(),
            readonly,
            ..mount(&dir, path)
        };
        let id = launch(
            node,
            vec![
                optioned("/plain", &[], false),
                optioned("/all", &["noexec", "nosuid", "nodev", "noexec"], false),
                optioned("/ro", &["nosuid", "noatime"], true),
                optioned("/plus", &["exec", "suid", "dev", "relatime"], false),
            ],
        )
        .await;
        for (path, there, not_there) in [
            (
                "/plain",
                &["rw"][..],
                &["noexec", "nosuid", "nodev", "ro"][..],
            ),
            ("/all", &["rw", "noexec", "nosuid", "nodev"], &["ro"]),
            (
                "/ro",
                &["ro", "nosuid", "noatime"],
                &["rw", "noexec", "nodev"],
            ),
            ("/plus", &["rw", "relatime"], &["noexec", "nosuid", "nodev"]),
        ] {
            let options = super::volumes::options_of(node, &id, path).await;
            let has = |option: &&str| options.iter().any(|o| o == option);
            assert!(there.iter().all(has), "{path}: {options:?}");
            assert!(!not_there.iter().any(has), "{path}: {options:?}");
        }
        assert_eq!(node.exec(&id, &["/plain/program"]).await, "it runs");
        let denied = node.try_exec(&id, &["/all/program"], 0).await;
        assert!(denied.is_err() || denied.unwrap().exit_code != 0);
        let status = node.status(&id).await;
        assert_eq!(
            status.mounts[1].mount_options,
            ["noexec", "nosuid", "nodev"]
        );
    })
    .await;
}

#[tokio::test]
async fn options_are_on_a_list() {
    node(async |node| {
        let dir = node.scratch.dir("options");
        let config = pod("options");
        let pod = node.pod(&config).await;
        for (options, at) in [
            (&["bind"][..], 0),
            (&["noexec", "rw"], 1),
            (&["noexec", "exec"], 1),
            (&["idmap"], 0),
            (&["tmpcopyup"], 0),
            (&["uid=0"], 0),
            (&["noexec,suid"], 0),
            (&[""], 0),
        ] {
            let mut bad = mount(&dir, "/mnt");
            bad.mount_options = options.iter().map(|o| (*o).to_owned()).collect();
            let error = node
                .try_create(&pod, &config, &with(vec![bad]))
                .await
                .expect_err(&options.join(" "));
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            let place = format!("mounts[0].mount_options[{at}]: {:?}", options[at]);
            assert!(error.message().contains(&place), "{error}");
        }
        let features = node
            .runtime()
            .status(api::StatusRequest::default())
            .await
            .unwrap()
            .into_inner()
            .features
            .unwrap();
        assert!(features.mount_options);
    })
    .await;
}

#[tokio::test]
async fn a_mount_needs_paths_that_are_absolute() {
    node(async |node| {
        let dir = node.scratch.dir("source");
        let config = pod("paths");
        let pod = node.pod(&config).await;
        for (host, inside, field, value) in [
            (dir.to_str().unwrap(), "", "container_path", ""),
            (
                dir.to_str().unwrap(),
                "../../mnt",
                "container_path",
                "../../mnt",
            ),
            ("relative/source", "/mnt", "host_path", "relative/source"),
            ("", "/mnt", "host_path", ""),
        ] {
            let bad = Mount {
                host_path: host.into(),
                container_path: inside.into(),
                ..Mount::default()
            };
            let error = node
                .try_create(&pod, &config, &with(vec![bad]))
                .await
                .expect_err(&format!("{host:?} on {inside:?} was taken"));
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(field), "{error}");
            assert!(error.message().contains(value), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_volume_of_the_image_is_there_to_write_to() {
    node(async |node| {
        let image = busybox()
            .layer(
                &[
                    Entry::dir("vol", 0o755),
                    Entry::file("vol/kept", "kept", 0o644),
                ],
                Packing::Gzip,
            )
            .with("Volumes", json!({"/vol": {}, "/new/one": {}}));
        node.load(&image, "localhost/volumes:1").await;
        let output = node
            .prints(
                "volumes",
                "touch /vol/file /new/one/file && cat /vol/kept",
                |main| {
                    main.image = Some(image_spec("localhost/volumes:1"));
                },
            )
            .await;
        assert_eq!(output, "kept");
    })
    .await;
}

#[tokio::test]
async fn the_root_is_read_only_where_asked_for() {
    node(async |node| {
        let script = "touch /file 2>/dev/null && echo root; touch /dev/shm/file && echo shm; touch /etc/hosts && echo hosts";
        let output = node
            .prints("read-only", &format!("{script}; true"), |main| {
                crate::support::security(main).readonly_rootfs = true;
            })
            .await;
        assert!(!output.contains("root"), "{output}");
        assert!(output.contains("shm"), "{output}");
    })
    .await;
}

#[tokio::test]
async fn the_usual_file_systems_are_there() {
    node(async |node| {
        let config = pod("usual");
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &shell("main", "sleep 1000000"))
            .await;
        let mounts = node.exec(&id, &["cat", "/proc/mounts"]).await;
        let on = |path: &str| {
            mounts
                .lines()
                .find(|line| line.split(' ').nth(1) == Some(path))
                .unwrap_or_else(|| panic!("{path} not in {mounts}"))
        };
        assert!(on("/").starts_with("overlay "));
        assert!(on("/proc").contains(" proc "));
        assert!(on("/dev").contains(" tmpfs "));
        assert!(on("/dev/pts").contains("devpts"));
        assert!(on("/dev/mqueue").contains("mqueue"));
        assert!(on("/sys").contains(" ro"));
        for name in ["null", "zero", "full", "random", "urandom", "tty"] {
            node.exec(&id, &["test", "-c", &format!("/dev/{name}")])
                .await;
        }
        until("files written stay in the container", async || {
            node.sh(&id, "echo x >/file; cat /file").await == "x"
        })
        .await;
    })
    .await;
}
