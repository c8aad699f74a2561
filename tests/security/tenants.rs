//! Images and requests of people who mean harm.

use corten::cri::api::KeyValue;
use serde_json::json;

use crate::support::{
    Entry, Image, Packing, busybox, busybox_entries, image_spec, node, pod, pod_linux, pod_net,
    runtime, security, shell, userless,
};

/// An image whose layer has these entries after the usual ones.
fn hostile(entries: &[Entry]) -> Image {
    busybox().layer(entries, Packing::Gzip)
}

#[tokio::test]
async fn layers_cannot_write_outside_their_root() {
    node(async |node| {
        let target = node.scratch.dir("outside");
        let inside = target.to_str().unwrap().to_owned();
        let up = format!("../../../../../../../../../..{inside}/dots");
        let images = [
            vec![Entry::file(&up, "bad", 0o644)],
            vec![Entry::file(&format!("{inside}/absolute"), "bad", 0o644)],
            vec![
                Entry::symlink("link", &inside),
                Entry::file("link/through", "bad", 0o644),
            ],
            vec![
                Entry::symlink("link", "../../../../../../../../../.."),
                Entry::file(&format!("link{inside}/up"), "bad", 0o644),
            ],
            vec![Entry::hardlink("hard", "/etc/shadow")],
            vec![Entry::hardlink(
                "hard",
                "../../../../../../../../etc/shadow",
            )],
            vec![
                Entry::symlink("etc2", "/etc"),
                Entry::hardlink("hard", "etc2/shadow"),
            ],
            vec![Entry::file(".wh...", "", 0o644)],
            vec![
                Entry::symlink("link", &inside),
                Entry::file("link/.wh.kept", "", 0o644),
            ],
        ];
        std::fs::write(target.join("kept"), "kept").unwrap();
        let shadow = std::fs::read("/etc/shadow").unwrap();
        for (number, entries) in images.iter().enumerate() {
            let name = format!("localhost/hostile:{number}");
            let archive = hostile(entries).docker_archive(&[&name]);
            // Refused, or kept inside: either is well.
            let done = node.cli_fed(&["load"], Some(archive)).await;
            if done.code == Some(0) {
                let mut main = shell("main", "cat /hard 2>/dev/null; true");
                main.image = Some(image_spec(&name));
                let (_, output) = node.run_once(&pod("hostile"), &main).await;
                assert!(!output.contains("root:"), "image {number}");
            }
            let left: Vec<_> = std::fs::read_dir(&target)
                .unwrap()
                .flatten()
                .map(|e| e.file_name())
                .collect();
            assert_eq!(left, ["kept"], "image {number}");
        }
        assert_eq!(std::fs::read("/etc/shadow").unwrap(), shadow);
        assert!(std::fs::read_to_string("/etc/hostname").is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_root_of_links_leads_nowhere() {
    node(async |node| {
        let outside = node.scratch.dir("outside");
        let path = outside.to_str().unwrap();
        let mut entries: Vec<Entry> = vec![Entry::dir("bin", 0o755)];
        entries.push(Entry::file(
            "bin/busybox",
            std::fs::read("/bin/busybox").unwrap(),
            0o755,
        ));
        entries.push(Entry::hardlink("bin/sh", "bin/busybox"));
        for dir in ["etc", "dev", "proc", "sys"] {
            entries.push(Entry::symlink(dir, path));
        }
        let image = Image::new(&[(entries, Packing::Gzip)]);
        node.load(&image, "localhost/links:1").await;
        let config = pod("links");
        let pod = node.pod(&config).await;
        // Whether it runs is the runtime's choice; what is outside stays as it was.
        let main = userless("main", "localhost/links:1");
        if let Ok(id) = node.try_create(&pod, &config, &main).await {
            let _ = node.start_container(&id).await;
        }
        let left: Vec<_> = std::fs::read_dir(&outside)
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    })
    .await;
}

#[tokio::test]
async fn users_files_that_are_links_or_huge_do_no_harm() {
    node(async |node| {
        let secret = node.scratch.file("secret", "tester:x:0:0::/:/bin/sh\n");
        let linked = hostile(&[Entry::file("etc/.wh.passwd", "", 0o644)])
            .layer(
                &[Entry::symlink("etc/passwd", secret.to_str().unwrap())],
                Packing::Gzip,
            )
            .with("User", json!("tester"));
        node.load(&linked, "localhost/linked:1").await;
        let huge = "x".repeat(63) + ":x:5:5::/:/bin/sh\n";
        let huge = hostile(&[Entry::file("etc/passwd", huge.repeat(1_000_000), 0o644)])
            .with("User", json!("tester"));
        node.load(&huge, "localhost/huge:1").await;
        let config = pod("users");
        let pod = node.pod(&config).await;
        for image in ["localhost/linked:1", "localhost/huge:1"] {
            let error = node
                .try_create(&pod, &config, &userless("main", image))
                .await
                .expect_err(image);
            assert!(
                error.message().contains("passwd") || error.message().contains("tester"),
                "{error}"
            );
        }
        let peak = super::peak_memory(node.pid());
        assert!(peak < 400 << 10, "{peak} KiB");
    })
    .await;
}

#[tokio::test]
async fn a_user_id_beyond_all_numbers_is_not_root() {
    node(async |node| {
        let config = pod("overflow");
        let pod = node.pod(&config).await;
        for (number, user) in [
            "4294967296",
            "2147483648000",
            "-1",
            "0x0",
            "1000:4294967296",
        ]
        .iter()
        .enumerate()
        {
            let name = format!("localhost/overflow:{number}");
            node.load(
                &busybox()
                    .layer(&[], Packing::Gzip)
                    .with("User", json!(user)),
                &name,
            )
            .await;
            let error = node
                .try_create(&pod, &config, &userless("main", &name))
                .await
                .expect_err(user);
            let number = user.rsplit(':').next().unwrap();
            assert!(error.message().contains(number), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn log_paths_do_not_follow_links() {
    node(async |node| {
        let outside = node.scratch.file("outside", "kept");
        let config = node.completed(&pod("links"));
        std::fs::create_dir_all(&config.log_directory).unwrap();
        let main = shell("main", "echo bad");
        std::os::unix::fs::symlink(&outside, node.log_path(&config, &main)).unwrap();
        let pod = node.pod(&config).await;
        if let Ok(id) = node.try_create(&pod, &config, &main).await
            && node.start_container(&id).await.is_ok()
        {
            node.exit(&id).await;
        }
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "kept");
    })
    .await;
}

#[tokio::test]
async fn a_working_directory_does_not_lead_out() {
    node(async |node| {
        let outside = node.scratch.dir("outside");
        let image = hostile(&[Entry::symlink("out", outside.to_str().unwrap())]);
        node.load(&image, "localhost/out:1").await;
        let config = pod("out");
        let pod = node.pod(&config).await;
        let mut main = shell("main", "touch file");
        main.image = Some(image_spec("localhost/out:1"));
        main.working_dir = "/out/below".into();
        if let Ok(id) = node.try_create(&pod, &config, &main).await
            && node.start_container(&id).await.is_ok()
        {
            node.exit(&id).await;
        }
        assert!(std::fs::read_dir(&outside).unwrap().next().is_none());
        // A descriptor left open in the runtime must be no way out either.
        for number in 3..12 {
            let mut main = shell("main", "ls; ls ../../.. ; cat ../../../etc/shadow");
            main.metadata.as_mut().unwrap().name = format!("fd-{number}");
            main.log_path = format!("fd-{number}.log");
            main.working_dir = format!("/proc/self/fd/{number}");
            if let Ok(id) = node.try_create(&pod, &config, &main).await
                && node.start_container(&id).await.is_ok()
            {
                node.exit(&id).await;
                let output = node.output(&config, &main);
                assert!(!output.contains("root:"), "{output}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn text_of_tenants_stays_text() {
    node(async |node| {
        let config = pod("text");
        let pod = node.pod(&config).await;
        let mut main = shell(
            "main",
            "grep -c . /etc/passwd; grep evil /etc/passwd; echo \"$HOME\"; true",
        );
        main.envs.push(KeyValue {
            key: "HOME".into(),
            value: b"/\nevil:x:0:0::/:/bin/sh".to_vec(),
        });
        for (name, value) in [
            ("io.kubernetes.cri-o.userns-mode", "auto"),
            (
                "org.systemd.property.ExecStartPost",
                "'/bin/touch /tmp/evil'",
            ),
            ("run.oci.hooks.stderr", "/tmp/evil"),
            ("module.wasm.image/variant", "compat"),
        ] {
            main.annotations.insert(name.into(), value.into());
        }
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(node.exit(&id).await.exit_code, 0);
        let output = node.output(&config, &main);
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines, ["4", "/", "evil:x:0:0::/:/bin/sh"]);
        let bundle = node
            .runroot()
            .join("containers")
            .join(&id)
            .join("config.json");
        let spec: serde_json::Value =
            serde_json::from_slice(&std::fs::read(bundle).unwrap()).unwrap();
        let passed = &spec["annotations"];
        for name in [
            "org.systemd.property.ExecStartPost",
            "run.oci.hooks.stderr",
            "module.wasm.image/variant",
        ] {
            assert!(
                passed.get(name).is_none(),
                "{name} reaches the runtime: {passed}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn setuid_and_owners_of_layers_are_kept() {
    node(async |node| {
        let mut entries = busybox_entries();
        entries.push(Entry::file("suid", "x", 0o4755).owner(1000, 50));
        let image = Image::new(&[(entries, Packing::Plain)]);
        node.load(&image, "localhost/suid:1").await;
        let output = node
            .prints("suid", "stat -c '%a %u %g' /suid /tmp", |main| {
                main.image = Some(image_spec("localhost/suid:1"));
            })
            .await;
        assert_eq!(output, "4755 1000 50\n1777 0 0");
    })
    .await;
}

#[tokio::test]
async fn kernel_parameters_are_one_each() {
    node(async |node| {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        for (name, value) in [
            (
                "net.ipv4.ip_unprivileged_port_start",
                "1+kernel.core_pattern=|/bin/evil",
            ),
            (
                "net.ipv4.ip_unprivileged_port_start",
                "1\nkernel.core_pattern=|/bin/evil",
            ),
            ("net.ipv4.x+kernel.core_pattern", "|/bin/evil"),
            ("net/../kernel/core_pattern", "|/bin/evil"),
            ("kernel.shm_rmid_forced=1 kernel.core_pattern", "|/bin/evil"),
            ("kernel.core_pattern", "|/bin/evil"),
        ] {
            let mut config = pod_net("parameters");
            pod_linux(&mut config)
                .sysctls
                .insert(name.into(), value.into());
            let error = node.try_pod(&config).await.expect_err(name);
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
        }
        let after = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        assert_eq!(after, pattern);
    })
    .await;
}

#[tokio::test]
async fn a_user_name_is_no_line_of_a_file() {
    node(async |node| {
        let config = pod("names");
        let pod = node.pod(&config).await;
        let name = "tester\nevil:x:0:0::/:/bin/sh";
        let mut main = shell("main", "true");
        security(&mut main).run_as_username = name.into();
        let error = node.try_create(&pod, &config, &main).await.unwrap_err();
        assert!(error.message().contains("tester"), "{error}");
        let image = busybox().with("User", json!(name));
        let archive = image.docker_archive(&["localhost/name:1"]);
        let said = node.cli_fed(&["load"], Some(archive)).await.failed();
        assert!(said.contains("config.User"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn only_annotations_that_are_named_reach_the_runtime() {
    node(async |node| {
        let allowed = format!(
            "[runtimes.{}]\nallowed_annotations = [\"io.example.mode\", \"io.kata.*\"]\n",
            runtime()
        );
        node.scratch.file("config.d/50-annotations.toml", allowed);
        node.restart().await;
        let config = pod("annotated");
        let pod = node.pod(&config).await;
        let mut main = shell("main", "true");
        let (named, others) = (
            ["io.example.mode", "io.kata.hypervisor"],
            [
                "io.example.mode-override",
                "io.example.mode.x",
                "io.katana",
                "IO.EXAMPLE.MODE",
                "io.kubernetes.cri.x",
            ],
        );
        for name in named.iter().chain(&others) {
            main.annotations.insert((*name).into(), "x".into());
        }
        let id = node.create(&pod, &config, &main).await;
        let bundle = node.runroot().join("containers").join(&id);
        let spec = std::fs::read(bundle.join("config.json")).unwrap();
        let spec: serde_json::Value = serde_json::from_slice(&spec).unwrap();
        for name in named {
            assert_eq!(spec["annotations"][name], "x", "{name}");
        }
        for name in others {
            assert!(
                spec["annotations"].get(name).is_none(),
                "{name} reaches the runtime"
            );
        }
    })
    .await;
}
