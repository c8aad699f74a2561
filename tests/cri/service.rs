//! The daemon as such: version, conditions, readiness, its socket, its end.

use std::{os::unix::fs::MetadataExt, os::unix::net::UnixDatagram, process::Stdio, time::Duration};

use corten::cri::api::{self, CgroupDriver};

use crate::support::{Options, node, node_with, until};

#[tokio::test]
async fn it_tells_its_version_and_conditions() {
    node(async |node| {
        let request = api::VersionRequest {
            version: "v1".into(),
        };
        let version = node.runtime().version(request).await.unwrap().into_inner();
        assert_eq!(version.runtime_name, "corten");
        assert_eq!(version.runtime_version, env!("CARGO_PKG_VERSION"));
        assert_eq!(version.runtime_api_version, "v1");
        assert!(node.condition("RuntimeReady").await.status);
        let reply = node
            .runtime()
            .status(api::StatusRequest { verbose: true })
            .await;
        let reply = reply.unwrap().into_inner();
        let names: Vec<&str> = reply
            .runtime_handlers
            .iter()
            .map(|h| h.name.as_str())
            .collect();
        assert!(names.contains(&"") && names.contains(&"runc"), "{names:?}");
        assert!(reply.features.unwrap().supplemental_groups_policy);
        assert!(!reply.info.is_empty());
        let config = node
            .runtime()
            .runtime_config(api::RuntimeConfigRequest::default())
            .await;
        let driver = config.unwrap().into_inner().linux.unwrap().cgroup_driver();
        assert_eq!(driver, CgroupDriver::Cgroupfs);
    })
    .await;
}

#[tokio::test]
async fn its_socket_is_for_its_group_alone() {
    node(async |node| {
        let mode = std::fs::metadata(node.socket()).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o660, "{mode:o}");
    })
    .await;
}

#[tokio::test]
async fn without_pods_it_leaves_no_mount_at_its_end() {
    node(async |node| {
        node.idle("gone").await;
        node.remove_all().await;
        assert!(node.terminate().await.success());
        let left = node.scratch.mounts();
        assert!(left.is_empty(), "{left:?}");
        assert!(!node.socket().exists());
    })
    .await;
}

#[tokio::test]
async fn a_second_daemon_on_its_socket_is_refused() {
    node(async |node| {
        let mut command = node.serve_command();
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            text.contains(node.scratch.path().to_str().unwrap()),
            "{text}"
        );
        // The first one is none the worse for it.
        assert!(node.condition("RuntimeReady").await.status);
    })
    .await;
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    node(async |node| {
        node.kill();
        assert!(node.socket().exists());
        node.start().await;
        assert!(node.condition("RuntimeReady").await.status);
    })
    .await;
}

#[tokio::test]
async fn it_tells_systemd_when_it_is_ready() {
    let options = Options {
        leftovers_allowed: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        node.kill();
        let path = node.scratch.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut child = node
            .serve_command()
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut buffer = [0; 4096];
        let mut said = String::new();
        while !said.contains("READY=1") {
            let length = match socket.recv(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                received => received.unwrap(),
            };
            said.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        // Ready means that it answers.
        let connected = std::os::unix::net::UnixStream::connect(node.socket());
        assert!(connected.is_ok(), "{connected:?}");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(child.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        assert!(child.wait().unwrap().success());
    })
    .await;
}

#[tokio::test]
async fn asked_to_end_it_finishes_what_it_does() {
    node(async |node| {
        let (_, _, id) = node.idle("draining").await;
        let words = ["sh", "-c", "echo >/begun; sleep 2; echo done"];
        let work = node.try_exec(&id, &words, 0);
        let begun = format!("/proc/{}/root/begun", node.init_pid(&id).await);
        let end = async {
            until("it is under way", async || {
                std::path::Path::new(&begun).exists()
            })
            .await;
            node.terminate().await
        };
        let (done, status) = tokio::join!(work, end);
        assert_eq!(done.unwrap().stdout, b"done\n");
        assert!(status.success(), "{status}");
        node.start().await;
        assert_eq!(node.exec(&id, &["echo", "still"]).await, "still");
    })
    .await;
}

#[tokio::test]
async fn many_clients_are_served_at_once() {
    node(async |node| {
        let (_, _, id) = node.idle("busy").await;
        let calls = (0..200).map(|_| node.status(&id));
        let all = futures_util::future::join_all(calls).await;
        assert!(all.iter().all(|status| status.id == id));
        until("all is well", async || {
            node.condition("RuntimeReady").await.status
        })
        .await;
    })
    .await;
}
