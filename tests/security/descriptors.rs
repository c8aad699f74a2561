//! Nothing of the host is open in a container or in what runs inside it.

use crate::support::node;

#[tokio::test]
async fn a_container_and_a_command_hold_three_descriptors() {
    node(async |node| {
        let script = "ls -l /proc/self/fd | grep -o '[0-9]* -> .*'";
        let seen = node.prints("descriptors", script, |_| ()).await;
        let held = |seen: &str| {
            // One more may be the directory that ls reads.
            let lines = seen.lines().filter(|line| !line.contains("-> /proc/"));
            lines.count()
        };
        assert_eq!(held(&seen), 3, "{seen}");
        let (_, _, id) = node.idle("exec").await;
        let seen = node.sh(&id, script).await;
        assert_eq!(held(&seen), 3, "{seen}");
        for word in ["corten", "cgroup", "/run"] {
            assert!(!seen.contains(word), "{seen}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_sees_no_socket_of_the_daemon() {
    node(async |node| {
        let seen = node
            .prints(
                "sockets",
                "cat /proc/net/unix | grep -c @corten; true",
                |_| (),
            )
            .await;
        assert_eq!(seen, "0");
    })
    .await;
}

#[tokio::test]
async fn directories_of_the_daemon_are_closed_to_others() {
    use std::os::unix::fs::MetadataExt;
    node(async |node| {
        let (_, _, _) = node.idle("modes").await;
        for dir in [node.root(), node.runroot()] {
            let mode = std::fs::metadata(&dir).unwrap().mode();
            // Passing through may be needed, for containers whose root is another user.
            assert_eq!(mode & 0o006, 0, "{}: {mode:o}", dir.display());
        }
    })
    .await;
}

#[tokio::test]
async fn the_monitor_is_outside_the_pods_memory_limit() {
    node(async |node| {
        let (_, _, id) = node.idle("monitor").await;
        let pid = node.init_pid(&id).await;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))
            .unwrap()
            .trim();
        let name = std::fs::read_link(format!("/proc/{parent}/exe")).unwrap();
        assert!(
            name.to_str().unwrap().contains("conmon"),
            "{}",
            name.display()
        );
        assert_ne!(parent, node.pid().to_string());
        let groups = |pid: &str| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            let line = text
                .lines()
                .find(|line| line.contains(":memory:") || line.starts_with("0::/c"));
            line.unwrap_or_default().to_owned()
        };
        assert!(
            !groups(parent).contains(&format!("{}/", node.cgroup())),
            "{}",
            groups(parent)
        );
        assert!(groups(&pid.to_string()).contains(&format!("{}/", node.cgroup())));
    })
    .await;
}
