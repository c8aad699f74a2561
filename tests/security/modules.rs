//! AppArmor and SELinux: what they do where the kernel has them, and what is said where it has not.

use std::path::Path;

use corten::cri::api::{ContainerConfig, Mount, SeLinuxOption, security_profile::ProfileType};
use tonic::Code;

use crate::support::{
    Node, Options, busybox, container, image_spec, node, node_with, pod, pod_linux, profile, run,
    security, until,
};

fn has_apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.trim() == "Y")
}

fn has_selinux() -> bool {
    let own = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    Path::new("/sys/fs/selinux/enforce").exists() && own.trim_end_matches('\0') != "kernel"
}

fn idle(name: &str) -> ContainerConfig {
    container(name, &["sleep", "1000000"])
}

fn with_profile(name: &str, kind: ProfileType, reference: &str) -> ContainerConfig {
    let mut main = idle(name);
    security(&mut main).apparmor = profile(kind, reference);
    main
}

#[expect(deprecated)]
fn with_old_profile(name: &str, text: &str) -> ContainerConfig {
    let mut main = idle(name);
    security(&mut main).apparmor_profile = text.into();
    main
}

/// What confines a container's first process.
async fn label_of(node: &Node, id: &str) -> String {
    let process = format!("/proc/{}", node.init_pid(id).await);
    // A runtime says that it has started a container a moment before its init runs the program, which has the label.
    until("it runs its program", async || {
        let words = std::fs::read(format!("{process}/cmdline")).unwrap_or_default();
        words.starts_with(b"sleep\0")
    })
    .await;
    let label = std::fs::read_to_string(format!("{process}/attr/current")).unwrap_or_default();
    label.trim_end_matches(['\0', '\n']).to_owned()
}

#[tokio::test]
async fn apparmor_profiles_hold_or_are_refused() {
    node(async |node| {
        let config = pod("apparmor");
        let pod = node.pod(&config).await;
        let here = has_apparmor();
        // These ask for nothing that a node has to have.
        for (number, (main, confined)) in [
            (idle("0"), "corten-default (enforce)"),
            (
                with_profile("1", ProfileType::RuntimeDefault, ""),
                "corten-default (enforce)",
            ),
            (
                with_old_profile("2", "runtime/default"),
                "corten-default (enforce)",
            ),
            (with_profile("3", ProfileType::Unconfined, ""), "unconfined"),
            (with_old_profile("4", "unconfined"), "unconfined"),
        ]
        .into_iter()
        .enumerate()
        {
            let id = node.launch(&pod, &config, &main).await;
            if !here {
                continue;
            }
            assert_eq!(label_of(node, &id).await, confined, "{number}");
            // A further process is confined like the first one.
            let label = node.exec(&id, &["cat", "/proc/self/attr/current"]).await;
            assert_eq!(label, confined, "{number}");
            let reads = node
                .try_exec(&id, &["cat", "/sys/kernel/security/lsm"], 0)
                .await;
            assert!(reads.unwrap().exit_code != 0 || confined == "unconfined");
        }
        let missing = node.scratch.token().to_owned();
        for main in [
            with_profile("5", ProfileType::Localhost, &missing),
            with_old_profile("6", &format!("localhost/{missing}")),
        ] {
            let error = node.try_create(&pod, &config, &main).await.unwrap_err();
            assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
            assert!(error.message().contains(&missing), "{error}");
            let why = if here { "not loaded" } else { "not enabled" };
            assert!(error.message().contains(why), "{error}");
        }
        for (number, text) in ["elsewhere", "localhost/"].into_iter().enumerate() {
            let main = with_old_profile(&format!("bad-{number}"), text);
            let error = node.try_create(&pod, &config, &main).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains("apparmor_profile"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_apparmor_profile_of_the_nodes_own_holds() {
    if !has_apparmor() {
        return;
    }
    node(async |node| {
        let name = format!("corten-test-{}", node.scratch.token());
        let text = format!(
            "profile {name} flags=(attach_disconnected) {{ file, network, capability, signal, ptrace, unix, deny /denied w, }}"
        );
        let file = node.scratch.file("profile", text);
        let file = file.to_str().unwrap().to_owned();
        run(&["apparmor_parser", "-Kr", &file]).await.ok();
        let mut config = pod("own");
        pod_linux(&mut config).security_context.get_or_insert_default().privileged = true;
        let pod = node.pod(&config).await;
        let mut privileged = with_profile("2", ProfileType::Localhost, &name);
        security(&mut privileged).privileged = true;
        for main in [
            with_profile("0", ProfileType::Localhost, &name),
            with_old_profile("1", &format!("localhost/{name}")),
            privileged,
        ] {
            let id = node.launch(&pod, &config, &main).await;
            assert_eq!(label_of(node, &id).await, format!("{name} (enforce)"));
            node.sh(&id, "touch /allowed && ! touch /denied").await;
        }
        let mut privileged = idle("3");
        security(&mut privileged).privileged = true;
        let id = node.launch(&pod, &config, &privileged).await;
        assert_eq!(label_of(node, &id).await, "unconfined");
        node.remove_all().await;
        run(&["apparmor_parser", "-R", &file]).await.ok();
    })
    .await;
}

#[tokio::test]
async fn selinux_options_are_passed_over_without_selinux() {
    let (args, off) = if has_selinux() {
        (vec!["--selinux=false".to_owned()], true)
    } else {
        (Vec::new(), false)
    };
    let options = Options {
        args,
        ..Options::default()
    };
    node_with(options, async |node| {
        let dir = node.scratch.dir("volume");
        let mut config = pod("no-selinux");
        pod_linux(&mut config)
            .security_context
            .get_or_insert_default()
            .selinux_options = Some(option("spc_t", "s0:c1,c2"));
        let pod = node.pod(&config).await;
        let mut main = idle("main");
        security(&mut main).selinux_options = Some(option("container_t", "s0:c3,c4"));
        main.mounts.push(Mount {
            host_path: dir.to_str().unwrap().into(),
            container_path: "/volume".into(),
            selinux_relabel: true,
            ..Mount::default()
        });
        let id = node.launch(&pod, &config, &main).await;
        node.sh(&id, "touch /volume/file").await;
        assert!(node.status(&id).await.mounts[0].selinux_relabel);
        if !off {
            assert_eq!(file_label(&dir), None);
        }
        let mut bad = idle("bad");
        security(&mut bad).selinux_options = Some(option("a:b", ""));
        let error = node.try_create(&pod, &config, &bad).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains("selinux_options.type"), "{error}");
        assert!(error.message().contains("a:b"), "{error}");
    })
    .await;
}

fn option(kind: &str, level: &str) -> SeLinuxOption {
    SeLinuxOption {
        r#type: kind.into(),
        level: level.into(),
        ..SeLinuxOption::default()
    }
}

fn file_label(path: &Path) -> Option<String> {
    let mut value = [0u8; 512];
    let length = rustix::fs::lgetxattr(path, "security.selinux", &mut value[..]).ok()?;
    let text = String::from_utf8_lossy(&value[..length]).into_owned();
    Some(text.trim_end_matches('\0').to_owned())
}

/// The level of a label.
fn level(label: &str) -> &str {
    label.splitn(4, ':').nth(3).unwrap_or_default()
}

#[tokio::test]
async fn selinux_labels_processes_and_files() {
    if !has_selinux() {
        return;
    }
    node(async |node| {
        let volume = node.scratch.dir("volume");
        let host = node.scratch.dir("host");
        std::fs::create_dir(volume.join("below")).unwrap();
        for file in [
            volume.join("file"),
            volume.join("below/file"),
            host.join("file"),
        ] {
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(&host, volume.join("out")).unwrap();
        let host_label = file_label(&host.join("file"));
        let mut levels = Vec::new();
        for name in ["one", "two"] {
            let config = pod(name);
            let pod = node.pod(&config).await;
            let mut main = idle("main");
            main.mounts.push(Mount {
                host_path: volume.to_str().unwrap().into(),
                container_path: "/volume".into(),
                selinux_relabel: true,
                ..Mount::default()
            });
            let id = node.launch(&pod, &config, &main).await;
            let label = label_of(node, &id).await;
            assert!(
                label.starts_with("system_u:system_r:container_t:s0:c"),
                "{label}"
            );
            let exec = node.exec(&id, &["cat", "/proc/self/attr/current"]).await;
            assert_eq!(exec.trim_end_matches('\0'), label);
            let own = format!("system_u:object_r:container_file_t:{}", level(&label));
            for path in ["", "file", "below", "below/file"] {
                assert_eq!(
                    file_label(&volume.join(path)).as_deref(),
                    Some(own.as_str()),
                    "{path}"
                );
            }
            assert_eq!(file_label(&host.join("file")), host_label);
            let inside = |path: &str| format!("/proc/self/root{path}");
            for path in ["/bin/busybox", "/etc/hosts", "/dev/shm", "/tmp"] {
                let pid = node.init_pid(&id).await;
                let path = inside(path).replace("self", &pid.to_string());
                let found = std::fs::metadata(&path).ok().and_then(|_| {
                    let mut value = [0u8; 512];
                    let length =
                        rustix::fs::getxattr(&path, "security.selinux", &mut value[..]).ok()?;
                    Some(String::from_utf8_lossy(&value[..length]).into_owned())
                });
                if let Some(found) = found {
                    assert_eq!(found.trim_end_matches('\0'), own, "{path}");
                }
            }
            // The second container of a pod is at its level, whatever its type.
            let mut second = idle("second");
            security(&mut second).selinux_options = Some(option("spc_t", ""));
            let second = node.launch(&pod, &config, &second).await;
            let second = label_of(node, &second).await;
            assert_eq!(second, format!("system_u:system_r:spc_t:{}", level(&label)));
            levels.push(level(&label).to_owned());
        }
        assert_ne!(levels[0], levels[1]);

        // A new daemon knows whose level is whose, and what is asked for is given.
        node.kill();
        node.start().await;
        let mut config = pod("asked");
        pod_linux(&mut config)
            .security_context
            .get_or_insert_default()
            .selinux_options = Some(option("", "s0:c1,c2"));
        let pod_id = node.pod(&config).await;
        let id = node.launch(&pod_id, &config, &idle("main")).await;
        let label = label_of(node, &id).await;
        assert_eq!(label, "system_u:system_r:container_t:s0:c1,c2");

        // Privileged containers are not confined.
        let mut config = pod("privileged");
        pod_linux(&mut config)
            .security_context
            .get_or_insert_default()
            .privileged = true;
        let pod_id = node.pod(&config).await;
        let mut main = idle("main");
        security(&mut main).privileged = true;
        let id = node.launch(&pod_id, &config, &main).await;
        let label = label_of(node, &id).await;
        assert!(!label.contains("container_t"), "{label}");
        let beside = node.launch(&pod_id, &config, &idle("beside")).await;
        let label = label_of(node, &beside).await;
        assert!(
            label.starts_with("system_u:system_r:container_t:s0:c"),
            "{label}"
        );

        // The system's own directories keep their labels.
        let config = pod("system");
        let pod_id = node.pod(&config).await;
        let mut main = idle("main");
        main.mounts.push(Mount {
            host_path: "/etc".into(),
            container_path: "/host-etc".into(),
            selinux_relabel: true,
            ..Mount::default()
        });
        let error = node.try_create(&pod_id, &config, &main).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains("selinux_relabel"), "{error}");
        assert!(error.message().contains("\"/etc\""), "{error}");

        // Files of an image appear with the container's label.
        node.load(&busybox(), "localhost/volume:1").await;
        let mut main = idle("image");
        main.mounts.push(Mount {
            container_path: "/image".into(),
            image: Some(image_spec("localhost/volume:1")),
            selinux_relabel: true,
            ..Mount::default()
        });
        let id = node.launch(&pod_id, &config, &main).await;
        let pid = node.init_pid(&id).await;
        let path = format!("/proc/{pid}/root/image");
        let mut value = [0u8; 512];
        let length = rustix::fs::getxattr(&path, "security.selinux", &mut value[..]).unwrap();
        let found = String::from_utf8_lossy(&value[..length]).into_owned();
        let label = label_of(node, &id).await;
        assert_eq!(level(found.trim_end_matches('\0')), level(&label));
    })
    .await;
}
