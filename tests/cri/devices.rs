//! Devices given to containers.

use corten::cri::api::{ContainerConfig, Device};
use tonic::Code;

use crate::support::{container, node, pod, run, security};

fn device(host: &str, inside: &str, permissions: &str) -> Device {
    Device {
        host_path: host.into(),
        container_path: inside.into(),
        permissions: permissions.into(),
    }
}

/// The device these tests use is the kernel's log: without this capability it would be closed in any case.
fn may_read_kernel_messages(main: &mut ContainerConfig) {
    let capabilities = security(main).capabilities.get_or_insert_default();
    capabilities.add_capabilities.push("SYSLOG".into());
}

#[tokio::test]
async fn a_device_has_the_permissions_given() {
    node(async |node| {
        // Numbers that no other device of the container has.
        let path = node.scratch.join("full");
        run(&["mknod", path.to_str().unwrap(), "c", "1", "11"])
            .await
            .ok();
        let config = pod("devices");
        let pod = node.pod(&config).await;
        for (permissions, readable, writable) in [("r", true, false), ("rwm", true, true)] {
            let mut main = container(permissions, &["sleep", "1000000"]);
            main.devices = vec![device(path.to_str().unwrap(), "/dev/mine", permissions)];
            may_read_kernel_messages(&mut main);
            let id = node.launch(&pod, &config, &main).await;
            let shown = node
                .exec(&id, &["stat", "-c", "%F %t:%T", "/dev/mine"])
                .await;
            assert_eq!(shown, "character special file 1:b");
            let works = async |script: &str| {
                let done = node.try_exec(&id, &["sh", "-c", script], 0).await.unwrap();
                done.exit_code == 0
            };
            assert_eq!(works("exec 3</dev/mine").await, readable, "{permissions}");
            assert_eq!(works("exec 3>>/dev/mine").await, writable, "{permissions}");
        }
    })
    .await;
}

#[tokio::test]
async fn other_devices_are_out_of_reach() {
    node(async |node| {
        let config = pod("none");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sleep", "1000000"]);
        security(&mut main)
            .capabilities
            .get_or_insert_default()
            .add_capabilities
            .push("MKNOD".into());
        may_read_kernel_messages(&mut main);
        let id = node.launch(&pod, &config, &main).await;
        node.exec(&id, &["mknod", "/kmsg", "c", "1", "11"]).await;
        let done = node
            .try_exec(&id, &["sh", "-c", "exec 3</kmsg"], 0)
            .await
            .unwrap();
        assert_ne!(done.exit_code, 0);
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(text.contains("not permitted"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_directory_of_devices_is_given_whole() {
    node(async |node| {
        let dir = node.scratch.dir("devices");
        for (name, minor) in [("one", "3"), ("two", "5")] {
            let path = dir.join(name);
            run(&["mknod", path.to_str().unwrap(), "c", "1", minor])
                .await
                .ok();
        }
        let output = node
            .prints(
                "directory",
                "ls /dev/set && head -c 1 /dev/set/two | wc -c",
                |main| {
                    main.devices = vec![device(dir.to_str().unwrap(), "/dev/set", "rw")];
                },
            )
            .await;
        assert_eq!(output, "one\ntwo\n1");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_device_is_refused() {
    node(async |node| {
        let file = node.scratch.file("file", "");
        let config = pod("bad");
        let pod = node.pod(&config).await;
        for (bad, field, value) in [
            (
                device("/dev/not-there", "/dev/x", "rwm"),
                "device",
                "/dev/not-there",
            ),
            (
                device(file.to_str().unwrap(), "/dev/x", "rwm"),
                "device",
                file.to_str().unwrap(),
            ),
            (device("/dev/null", "/dev/x", "rwx"), "permissions", "rwx"),
            (
                device("/dev/null", "dev/x", "rwm"),
                "container_path",
                "dev/x",
            ),
        ] {
            let mut main = container("main", &["true"]);
            main.devices = vec![bad];
            let error = node
                .try_create(&pod, &config, &main)
                .await
                .expect_err(&format!("{field} {value} was taken"));
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(field), "{error}");
            assert!(error.message().contains(value), "{error}");
        }
    })
    .await;
}
