//! Pods with a user namespace of their own.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use corten::cri::api::{
    IdMapping, Int64Value, Mount, NamespaceMode, PodSandboxConfig, RuntimeFeatures,
    RuntimeHandlerFeatures, StatusRequest, UserNamespace,
};
use serde_json::json;
use tonic::Code;

use crate::support::{
    Entry, Mounted, Node, Options, Packing, Scratch, busybox, container, image_spec, namespaces,
    node, node_with, old_runtime, pod, pod_linux, pod_net, run, security, shell,
};

/// First ID of the host that the tests' pods have, and how many.
const FIRST: u32 = 200_000;
const LENGTH: u32 = 65_536;

fn mapping(container_id: u32, host_id: u32, length: u32) -> IdMapping {
    IdMapping {
        host_id,
        container_id,
        length,
    }
}

fn users(first: u32) -> UserNamespace {
    let map = vec![mapping(0, first, LENGTH)];
    UserNamespace {
        mode: NamespaceMode::Pod as i32,
        uids: map.clone(),
        gids: map,
    }
}

/// A pod of a user namespace, on a network of its own.
fn mapped(name: &str) -> PodSandboxConfig {
    let mut config = pod_net(name);
    namespaces(&mut config).userns_options = Some(users(FIRST));
    config
}

/// A mount of `host` whose IDs are those of the tests' pods.
fn mapped_mount(host: &std::path::Path, inside: &str) -> Mount {
    Mount {
        host_path: host.to_str().unwrap().into(),
        container_path: inside.into(),
        uid_mappings: vec![mapping(0, FIRST, LENGTH)],
        gid_mappings: vec![mapping(0, FIRST, LENGTH)],
        ..Mount::default()
    }
}

/// A pod of a user namespace and a container in it that sleeps.
async fn idle(node: &Node, config: &PodSandboxConfig) -> (String, String) {
    let pod = node.pod(config).await;
    let id = node
        .launch(&pod, config, &container("idle", &["sleep", "1000000"]))
        .await;
    (pod, id)
}

#[tokio::test]
async fn the_namespace_has_the_mappings_and_is_the_pods() {
    node(async |node| {
        let config = mapped("shared");
        let (pod, one) = idle(node, &config).await;
        let two = node
            .launch(&pod, &config, &container("two", &["sleep", "1000000"]))
            .await;
        for file in ["uid_map", "gid_map"] {
            let text = node
                .exec(&one, &["cat", &format!("/proc/self/{file}")])
                .await;
            assert_eq!(
                text.split_whitespace().collect::<Vec<_>>(),
                ["0", "200000", "65536"]
            );
        }
        let link = ["readlink", "/proc/self/ns/user"];
        let namespace = node.exec(&one, &link).await;
        assert_eq!(namespace, node.exec(&two, &link).await);
        let host = std::fs::read_link("/proc/self/ns/user").unwrap();
        assert_ne!(namespace, host.to_string_lossy());
        // Root inside, and nobody of importance outside.
        assert_eq!(node.exec(&one, &["id", "-u"]).await, "0");
        let init = std::fs::metadata(format!("/proc/{}", node.init_pid(&one).await)).unwrap();
        assert_eq!((init.uid(), init.gid()), (FIRST, FIRST));

        let status = node.pod_status(&pod).await;
        let options = status.linux.unwrap().namespaces.unwrap().options.unwrap();
        assert_eq!(options.userns_options, Some(users(FIRST)));
    })
    .await;
}

#[tokio::test]
async fn the_root_file_system_belongs_to_the_users_inside() {
    node(async |node| {
        let image = busybox().layer(
            &[
                Entry::dir("data", 0o755).owner(1000, 1000),
                Entry::file("data/theirs", "old\n", 0o644).owner(1000, 50),
            ],
            Packing::Gzip,
        );
        let image = image.with("Volumes", json!({"/data/volume": {}, "/made/here": {}}));
        node.load(&image, "localhost/owners:1").await;
        let config = mapped("owners");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        main.image = Some(image_spec("localhost/owners:1"));
        let id = node.launch(&pod, &config, &main).await;

        let owners = "stat -c '%u:%g %n' / /bin/busybox /home/tester /data/theirs /data/volume \
                      /made /made/here /etc/mtab";
        assert_eq!(
            node.sh(&id, owners).await,
            "0:0 /\n0:0 /bin/busybox\n1000:1000 /home/tester\n1000:50 /data/theirs\n\
             0:0 /data/volume\n0:0 /made\n0:0 /made/here\n0:0 /etc/mtab"
        );
        node.sh(
            &id,
            "echo new >/root/new; echo more >>/data/theirs; touch /tmp/given; \
             chown 1000:33 /tmp/given; mkdir /data/volume/deep; rm /etc/group; ln /tmp/given /tmp/again",
        )
        .await;
        assert_eq!(
            node.sh(&id, "cat /data/theirs; stat -c %u:%g /data/theirs /tmp/given").await,
            "old\nmore\n1000:50\n1000:33"
        );
        // What it wrote is the host's to see, with the host's IDs.
        let upper = node.root().join("storage/containers").join(&id).join("upper");
        for (path, uid, gid) in [
            ("", 0, 0),
            ("root/new", 0, 0),
            ("data/theirs", 1000, 50),
            ("tmp/given", 1000, 33),
            ("made/here", 0, 0),
        ] {
            let data = upper.join(path).symlink_metadata().unwrap();
            assert_eq!((data.uid(), data.gid()), (FIRST + uid, FIRST + gid), "{path}");
        }
        // And the layer is as it was, for containers without a user namespace.
        let mut plain = shell("plain", "stat -c %u:%g /data/theirs /home/tester; cat /data/theirs");
        plain.image = Some(image_spec("localhost/owners:1"));
        let (_, seen) = node.run_once(&crate::support::pod("plain"), &plain).await;
        assert_eq!(seen, "1000:50\n1000:1000\nold\n");
    })
    .await;
}

#[tokio::test]
async fn processes_are_who_the_image_and_the_request_say() {
    node(async |node| {
        let image = busybox().with("User", json!("tester"));
        node.load(&image, "localhost/user:1").await;
        let config = mapped("identity");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        main.image = Some(image_spec("localhost/user:1"));
        main.working_dir = "/made/by/the/runtime".into();
        security(&mut main).supplemental_groups = vec![4000];
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(
            node.sh(&id, "id -u; id -g; id -G; pwd").await,
            "1000\n1000\n1000 44 50 4000\n/made/by/the/runtime"
        );
        let init = std::fs::metadata(format!("/proc/{}", node.init_pid(&id).await)).unwrap();
        assert_eq!(init.uid(), FIRST + 1000);
        let status = node.status(&id).await;
        assert_eq!(status.user.unwrap().linux.unwrap().uid, 1000);

        // Someone who does not exist inside.
        let mut nobody = container("nobody", &["true"]);
        security(&mut nobody).run_as_user = Some(Int64Value { value: 70_000 });
        let error = node.try_create(&pod, &config, &nobody).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains("70000"), "{error}");
        // The largest number must not become root.
        let mut largest = container("largest", &["true"]);
        security(&mut largest).run_as_user = Some(Int64Value {
            value: 4_294_967_296,
        });
        let error = node.try_create(&pod, &config, &largest).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    })
    .await;
}

#[tokio::test]
async fn the_kernels_file_systems_can_be_used() {
    node(async |node| {
        let mut config = mapped("kernel");
        config.hostname = "mapped-host".into();
        pod_linux(&mut config).sysctls.extend([
            ("net.ipv4.ip_unprivileged_port_start".into(), "80".into()),
            ("kernel.shm_rmid_forced".into(), "1".into()),
            ("kernel.msgmax".into(), "4096".into()),
        ]);
        let (_, id) = idle(node, &config).await;
        assert_eq!(
            node.sh(
                &id,
                "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/shm_rmid_forced \
                 kernel/msgmax; hostname; cat /etc/hostname"
            )
            .await,
            "80\n1\n4096\nmapped-host\nmapped-host"
        );
        // Files of the sandbox are the container's to change.
        let script = "for f in /etc/hosts /etc/resolv.conf /etc/hostname; do \
                      stat -c %u:%g $f; echo '# x' >>$f; done";
        assert_eq!(node.sh(&id, script).await, "0:0\n0:0\n0:0");
        node.sh(
            &id,
            "echo x >/dev/shm/file && echo x >/dev/null && head -c 4 /dev/urandom >/dev/null && \
             test -d /dev/mqueue && test -d /sys/class/net/eth0 && test -d /sys/fs/cgroup && \
             test -c /dev/pts/ptmx && ip link set lo up",
        )
        .await;
        assert_eq!(node.sh(&id, "stat -c %u:%g:%a /dev/shm").await, "0:0:1777");
        let address = node.sh(&id, "ip -o addr show eth0").await;
        assert!(address.contains("inet "), "{address}");
    })
    .await;
}

#[tokio::test]
async fn capabilities_count_inside_only() {
    node(async |node| {
        let config = mapped("capabilities");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        let caps = security(&mut main).capabilities.get_or_insert_default();
        caps.add_capabilities = vec!["SYS_ADMIN".into(), "NET_ADMIN".into(), "MKNOD".into()];
        let id = node.launch(&pod, &config, &main).await;
        // Within the mapping and the namespaces, yes.
        node.sh(
            &id,
            "touch /tmp/f && chown 65535:65535 /tmp/f && chown 0:0 /tmp/f && \
             mkdir /tmp/m && mount -t tmpfs tmpfs /tmp/m && umount /tmp/m && \
             ip addr add 192.0.2.1/32 dev lo",
        )
        .await;
        // Beyond them, no.
        for script in [
            "touch /tmp/f && chown 65536 /tmp/f",
            "echo 1 >/proc/sys/kernel/panic",
            "mknod /tmp/null c 1 3",
        ] {
            let done = node.try_exec(&id, &["sh", "-c", script], 0).await.unwrap();
            assert_ne!(done.exit_code, 0, "{script}");
        }
    })
    .await;
}

#[tokio::test]
async fn standard_streams_can_be_opened_anew() {
    node(async |node| {
        let config = mapped("streams");
        let pod = node.pod(&config).await;
        for (name, user) in [("root", 0), ("tester", 1000)] {
            let script =
                "echo out >/proc/self/fd/1; echo err >/proc/self/fd/2; cat </proc/self/fd/0";
            let mut main = shell(name, script);
            security(&mut main).run_as_user = Some(Int64Value { value: user });
            let id = node.launch(&pod, &config, &main).await;
            let status = node.exit(&id).await;
            let lines: Vec<_> = node
                .log(&config, &main)
                .into_iter()
                .map(|line| (line.stream, line.text))
                .collect();
            assert_eq!(status.exit_code, 0, "{lines:?}");
            assert_eq!(
                lines,
                [
                    ("stdout".into(), "out".into()),
                    ("stderr".into(), "err".into())
                ]
            );
            let mut sleeper = container(&format!("{name}-2"), &["sleep", "1000000"]);
            security(&mut sleeper).run_as_user = Some(Int64Value { value: user });
            let id = node.launch(&pod, &config, &sleeper).await;
            assert_eq!(node.sh(&id, "echo out >/proc/self/fd/1").await, "out");
        }
        let mut tty = shell(
            "tty",
            "test -t 0 && stat -c %u:%g $(readlink /proc/self/fd/0)",
        );
        tty.tty = true;
        let id = node.launch(&pod, &config, &tty).await;
        assert_eq!(node.exit(&id).await.exit_code, 0);
        assert_eq!(node.output(&config, &tty).trim(), "0:5");
    })
    .await;
}

#[tokio::test]
async fn volumes_with_mappings_keep_the_hosts_ids_on_disk() {
    node(async |node| {
        let (dir, file) = (
            node.scratch.dir("volume"),
            node.scratch.file("single", "s\n"),
        );
        std::fs::write(dir.join("roots"), "r\n").unwrap();
        std::os::unix::fs::chown(&file, Some(7), Some(8)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let plain = node.scratch.dir("plain");
        let config = mapped("volumes");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        main.mounts = vec![
            mapped_mount(&dir, "/volume"),
            mapped_mount(&file, "/etc/single"),
            Mount {
                readonly: true,
                ..mapped_mount(&dir, "/read-only")
            },
            Mount {
                uid_mappings: vec![],
                gid_mappings: vec![],
                ..mapped_mount(&plain, "/plain")
            },
        ];
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(
            node.sh(
                &id,
                "stat -c %u:%g /volume /volume/roots /etc/single; cat /etc/single"
            )
            .await,
            "0:0\n0:0\n7:8\ns"
        );
        node.sh(
            &id,
            "echo x >/volume/new; touch /volume/t; chown 1000:33 /volume/t",
        )
        .await;
        for (name, uid, gid) in [("new", 0, 0), ("t", 1000, 33), ("roots", 0, 0)] {
            let data = std::fs::metadata(dir.join(name)).unwrap();
            assert_eq!((data.uid(), data.gid()), (uid, gid), "{name}");
        }
        // Without mappings the host's root is nobody inside, and its files are out of reach.
        assert_eq!(node.sh(&id, "stat -c %u:%g /plain").await, "65534:65534");
        for script in ["echo x >/plain/new", "echo x >/read-only/new"] {
            let done = node.try_exec(&id, &["sh", "-c", script], 0).await.unwrap();
            assert_ne!(done.exit_code, 0, "{script}");
        }
        // The mounts were there for the runtime alone, and removal leaves what they showed.
        let left = node.scratch.mounts();
        assert!(
            !left
                .iter()
                .any(|m| m.starts_with(node.runroot().join("mapped"))),
            "{left:?}"
        );
        let status = node.status(&id).await;
        let told = status
            .mounts
            .iter()
            .find(|m| m.container_path == "/volume")
            .unwrap();
        assert_eq!(told.host_path, dir.to_str().unwrap());
        assert_eq!(told.uid_mappings, [mapping(0, FIRST, LENGTH)]);
        node.stop_container(&id, 0).await.unwrap();
        node.remove_container(&id).await.unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("new")).unwrap(), "x\n");
    })
    .await;
}

#[tokio::test]
async fn volumes_are_mapped_without_a_user_namespace_too() {
    node(async |node| {
        let dir = node.scratch.dir("volume");
        let config = pod("host-users");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        main.mounts = vec![mapped_mount(&dir, "/volume")];
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(
            node.sh(&id, "stat -c %u:%g /volume").await,
            format!("{FIRST}:{FIRST}")
        );
    })
    .await;
}

#[tokio::test]
async fn mounts_that_cannot_be_are_refused_and_leave_nothing() {
    node(async |node| {
        let config = mapped("refused");
        let pod = node.pod(&config).await;
        let dir = node.scratch.dir("volume");
        let shared = node.scratch.dir("shared");
        let _mounted = Mounted::shared(&shared).await;
        let overlay = node.scratch.dir("overlay");
        let options = format!("lowerdir={}:{}", dir.display(), shared.display());
        let _overlay = Mounted::new(&["-t", "overlay", "overlay", "-o", &options], &overlay).await;
        let refused = [
            // A file system that cannot map IDs.
            (
                mapped_mount(&overlay, "/volume"),
                Code::FailedPrecondition,
                overlay.to_str().unwrap(),
            ),
            // Mounts made in a user namespace do not leave it.
            (
                Mount {
                    propagation: 2,
                    ..mapped_mount(&shared, "/volume")
                },
                Code::InvalidArgument,
                "/volume",
            ),
            (
                Mount {
                    gid_mappings: vec![],
                    ..mapped_mount(&dir, "/volume")
                },
                Code::InvalidArgument,
                "config.mounts[0]",
            ),
            (
                Mount {
                    uid_mappings: vec![mapping(0, u32::MAX, 2)],
                    ..mapped_mount(&dir, "/volume")
                },
                Code::InvalidArgument,
                "config.mounts[0].uidMappings[0].host_id",
            ),
            (
                Mount {
                    gid_mappings: vec![mapping(0, 5, 10), mapping(9, 100, 1)],
                    ..mapped_mount(&dir, "/volume")
                },
                Code::InvalidArgument,
                "config.mounts[0].gidMappings[1].container_id",
            ),
        ];
        for (mount, code, says) in refused {
            let mut main = container("main", &["true"]);
            main.mounts = vec![mount];
            let error = node.try_create(&pod, &config, &main).await.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.message().contains(says), "{error}");
        }
        assert!(node.containers(None).await.is_empty());
        let left = std::fs::read_dir(node.runroot().join("mapped"));
        assert_eq!(left.map_or(0, Iterator::count), 0);
    })
    .await;
}

#[tokio::test]
async fn capabilities_of_files_count_inside() {
    node(async |node| {
        // NET_BIND_SERVICE, permitted and effective.
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let busybox_binary = std::fs::read("/bin/busybox").unwrap();
        let image = busybox().layer(
            &[Entry::file("bin/busybox-capable", busybox_binary, 0o755)
                .xattr("security.capability", &capability)],
            Packing::Gzip,
        );
        node.load(&image, "localhost/capable:1").await;
        let config = mapped("capable");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        main.image = Some(image_spec("localhost/capable:1"));
        security(&mut main).run_as_user = Some(Int64Value { value: 1000 });
        let id = node.launch(&pod, &config, &main).await;
        let status = ["busybox-capable", "grep", "CapEff", "/proc/self/status"];
        assert_eq!(node.exec(&id, &status).await, "CapEff:\t0000000000000400");
        assert_eq!(
            node.exec(&id, &status[1..]).await,
            "CapEff:\t0000000000000000"
        );
    })
    .await;
}

#[tokio::test]
async fn images_are_mounted_with_the_pods_ids() {
    node(async |node| {
        let image = busybox().layer(
            &[
                Entry::dir("data", 0o755),
                Entry::file("data/file", "of the image\n", 0o600).owner(1000, 50),
            ],
            Packing::Gzip,
        );
        node.load(&image, "localhost/volume:1").await;
        let config = mapped("image-volume");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        for (path, sub_path) in [("/whole", ""), ("/part", "data")] {
            main.mounts.push(Mount {
                host_path: String::new(),
                image: Some(image_spec("localhost/volume:1")),
                image_sub_path: sub_path.into(),
                readonly: true,
                // A kubelet may send them with every mount of the pod.
                ..mapped_mount(std::path::Path::new("/"), path)
            });
        }
        let id = node.launch(&pod, &config, &main).await;
        let script = "stat -c %u:%g /whole /whole/data/file /part /part/file; cat /part/file";
        assert_eq!(
            node.sh(&id, script).await,
            "0:0\n1000:50\n0:0\n1000:50\nof the image"
        );
        let done = node
            .try_exec(&id, &["touch", "/part/new"], 0)
            .await
            .unwrap();
        assert_ne!(done.exit_code, 0);
    })
    .await;
}

#[tokio::test]
async fn processes_can_be_shared() {
    node(async |node| {
        let mut config = mapped("processes");
        namespaces(&mut config).pid = NamespaceMode::Pod as i32;
        let (pod, one) = idle(node, &config).await;
        let two = node
            .launch(&pod, &config, &container("two", &["sleep", "1000000"]))
            .await;
        let link = ["readlink", "/proc/self/ns/pid"];
        assert_eq!(node.exec(&one, &link).await, node.exec(&two, &link).await);
        assert_eq!(
            node.sh(&one, "readlink /proc/1/ns/user").await,
            node.sh(&one, "readlink /proc/self/ns/user").await
        );
        // One may do to the other what root may.
        node.sh(
            &two,
            "for p in /proc/[0-9]*; do readlink $p/exe >/dev/null || exit 1; done",
        )
        .await;

        let mut debugger = container("debugger", &["sleep", "2000000"]);
        let options = security(&mut debugger)
            .namespace_options
            .get_or_insert_default();
        options.pid = NamespaceMode::Target as i32;
        options.target_id = one.clone();
        let id = node.launch(&pod, &config, &debugger).await;
        assert_eq!(node.exec(&id, &link).await, node.exec(&one, &link).await);
    })
    .await;
}

#[tokio::test]
async fn the_hosts_network_can_be_used() {
    node(async |node| {
        let mut config = pod("host-network");
        namespaces(&mut config).userns_options = Some(users(FIRST));
        let (_, id) = idle(node, &config).await;
        let net = std::fs::read_link("/proc/self/ns/net").unwrap();
        let inside = node.exec(&id, &["readlink", "/proc/self/ns/net"]).await;
        assert_eq!(inside, net.to_string_lossy());
        node.sh(&id, "test -d /sys/class/net/lo && test -d /sys/fs/cgroup")
            .await;
        let done = node
            .try_exec(&id, &["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"], 0)
            .await
            .unwrap();
        assert_ne!(done.exit_code, 0);
    })
    .await;
}

#[tokio::test]
async fn a_privileged_container_is_so_inside_only() {
    node(async |node| {
        let mut config = mapped("privileged");
        pod_linux(&mut config)
            .security_context
            .get_or_insert_default()
            .privileged = true;
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        security(&mut main).privileged = true;
        let id = node.launch(&pod, &config, &main).await;
        node.sh(&id, "mkdir /tmp/m && mount -t tmpfs tmpfs /tmp/m")
            .await;
        let done = node
            .try_exec(&id, &["sh", "-c", "echo 1 >/proc/sys/kernel/panic"], 0)
            .await
            .unwrap();
        assert_ne!(done.exit_code, 0);
    })
    .await;
}

#[tokio::test]
async fn bad_options_are_refused() {
    node(async |node| {
        let of = |mode: NamespaceMode| UserNamespace {
            mode: mode as i32,
            ..UserNamespace::default()
        };
        let with = |uids: Vec<IdMapping>, gids: Vec<IdMapping>| UserNamespace {
            mode: NamespaceMode::Pod as i32,
            uids,
            gids,
        };
        let good = vec![mapping(0, FIRST, LENGTH)];
        let two = vec![mapping(0, FIRST, 10), mapping(10, 300_000, 10)];
        for (options, field) in [
            (of(NamespaceMode::Container), ".mode"),
            (of(NamespaceMode::Target), ".mode"),
            (of(NamespaceMode::Pod), ".uids"),
            (with(two.clone(), good.clone()), ".uids"),
            (with(good.clone(), two), ".gids"),
            (with(good.clone(), vec![]), ".gids"),
            (with(vec![mapping(1, FIRST, 10)], good.clone()), ".uids"),
            (
                with(good.clone(), vec![mapping(0, FIRST, 0)]),
                ".gids[0].length",
            ),
            (
                with(vec![mapping(0, 1, u32::MAX)], good.clone()),
                ".uids[0].host_id",
            ),
            (
                UserNamespace {
                    mode: NamespaceMode::Node as i32,
                    ..with(good.clone(), good.clone())
                },
                "",
            ),
        ] {
            let mut config = pod_net("bad");
            namespaces(&mut config).userns_options = Some(options);
            let error = node.try_pod(&config).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            let field =
                format!("config.linux.security_context.namespace_options.userns_options{field}: ");
            assert!(error.message().contains(&field), "{error} lacks {field}");
        }
        for field in ["pid", "ipc"] {
            let mut config = mapped("bad");
            let options = namespaces(&mut config);
            match field {
                "pid" => options.pid = NamespaceMode::Node as i32,
                _ => options.ipc = NamespaceMode::Node as i32,
            }
            let error = node.try_pod(&config).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(
                error
                    .message()
                    .contains(&format!("namespace_options.{field}")),
                "{error}"
            );
        }
        assert!(node.pods(None).await.is_empty());

        // NODE is the same as nothing.
        let mut config = pod("host");
        namespaces(&mut config).userns_options = Some(of(NamespaceMode::Node));
        let (_, id) = idle(node, &config).await;
        let map = node.exec(&id, &["cat", "/proc/self/uid_map"]).await;
        assert_eq!(map.split_whitespace().last(), Some("4294967295"));
    })
    .await;
}

#[tokio::test]
async fn a_container_does_not_get_another_namespace_than_its_pod() {
    node(async |node| {
        let config = mapped("mapped");
        let mapped_pod = node.pod(&config).await;
        let host_config = pod("host");
        let host_pod = node.pod(&host_config).await;
        for (pod, config, options) in [
            (&mapped_pod, &config, users(FIRST + 1)),
            (
                &mapped_pod,
                &config,
                UserNamespace {
                    mode: NamespaceMode::Node as i32,
                    ..UserNamespace::default()
                },
            ),
            (&host_pod, &host_config, users(FIRST)),
        ] {
            let mut main = container("main", &["true"]);
            let context = security(&mut main)
                .namespace_options
                .get_or_insert_default();
            context.pid = NamespaceMode::Container as i32;
            context.userns_options = Some(options);
            let error = node.try_create(pod, config, &main).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains("userns_options"), "{error}");
        }
        // One that says nothing has its pod's.
        let bare = container("bare", &["sleep", "1000000"]);
        let id = node
            .try_create_bare(&mapped_pod, &config, bare)
            .await
            .unwrap();
        node.start_container(&id).await.unwrap();
        let map = node.exec(&id, &["cat", "/proc/self/uid_map"]).await;
        assert!(map.contains("200000"), "{map}");
    })
    .await;
}

#[tokio::test]
async fn handlers_say_that_they_can() {
    node(async |node| {
        let reply = node
            .runtime()
            .status(StatusRequest::default())
            .await
            .unwrap();
        let reply = reply.into_inner();
        for handler in &reply.runtime_handlers {
            let features = handler.features.unwrap();
            assert!(
                matches!(
                    features,
                    RuntimeHandlerFeatures {
                        user_namespaces: true,
                        ..
                    }
                ),
                "{handler:?}"
            );
        }
        assert!(matches!(
            reply.features,
            Some(RuntimeFeatures {
                user_namespaces_host_network: true,
                ..
            })
        ));
    })
    .await;
}

/// Which of the two depends on the machine: the file system of its temporary directory, and its kernel.
#[tokio::test]
async fn a_pod_is_made_or_refused_as_the_status_says() {
    node(async |node| {
        let reply = node
            .runtime()
            .status(StatusRequest::default())
            .await
            .unwrap();
        let handlers = reply.into_inner().runtime_handlers;
        let default = handlers.iter().find(|h| h.name.is_empty()).unwrap();
        let mut config = pod("as-said");
        namespaces(&mut config).userns_options = Some(users(FIRST));
        if default.features.unwrap().user_namespaces {
            let (_, id) = idle(node, &config).await;
            let map = node.exec(&id, &["cat", "/proc/self/uid_map"]).await;
            assert!(map.contains("200000"), "{map}");
        } else {
            let error = node.try_pod(&config).await.unwrap_err();
            assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
            let root = node.root();
            for words in [
                "userns_options",
                "this node",
                "cannot map IDs",
                root.to_str().unwrap(),
            ] {
                assert!(error.message().contains(words), "{error}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_runtime_without_them_is_told_apart() {
    let scratch = Scratch::new();
    let old = old_runtime(&scratch);
    let options = Options {
        args: vec![format!("--runtime=old={}", old.display())],
        ..Options::default()
    };
    node_with(options, async |node| {
        let reply = node
            .runtime()
            .status(StatusRequest::default())
            .await
            .unwrap();
        for handler in reply.into_inner().runtime_handlers {
            let features = handler.features.unwrap();
            assert_eq!(
                features.user_namespaces,
                handler.name != "old",
                "{handler:?}"
            );
        }
        let config = mapped("old");
        let error = node.try_pod_by("old", &config).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains("userns_options"), "{error}");
        assert!(error.message().contains("\"old\""), "{error}");
        assert!(node.pods(None).await.is_empty());
        node.try_pod(&config).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn everything_is_found_again_after_a_restart_and_nothing_is_left() {
    node(async |node| {
        let config = mapped("restart");
        let (pod, id) = idle(node, &config).await;
        let link = ["readlink", "/proc/self/ns/user"];
        let before = node.exec(&id, &link).await;
        node.restart().await;
        assert_eq!(node.exec(&id, &link).await, before);
        let later = node
            .launch(&pod, &config, &container("later", &["sleep", "1000000"]))
            .await;
        assert_eq!(node.exec(&later, &link).await, before);
        let second = mapped("second");
        let (second, _) = idle(node, &second).await;
        node.stop_pod(&second).await.unwrap();
        node.remove_pod(&second).await.unwrap();

        // Without its user namespace a pod is not ready, as after a reboot.
        let pinned = node.runroot().join("ns").join(&pod).join("user");
        node.kill();
        run(&["umount", pinned.to_str().unwrap()]).await.ok();
        node.start().await;
        crate::support::until("the pod is not ready", async || {
            node.pod_status(&pod).await.state == 1
        })
        .await;
        node.remove_all().await;
        node.nothing_left().await;
    })
    .await;
}
