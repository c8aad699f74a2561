//! What a kubelet asks for all the time costs no disk and no process.

use std::path::{Path, PathBuf};

use corten::cri::api;
use inotify::{Inotify, WatchMask};

use crate::support::{IMAGE, Node, node, pod, until};

/// Every directory below, but for what is in layers and in containers' own file systems.
fn directories(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let own = ["layers", "upper", "work", "merged", "rootfs"];
        let own = own.iter().any(|name| entry.file_name() == *name);
        if !own && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(directories(&entry.path()));
        }
    }
    found
}

/// What was opened in the directories watched, since the last time.
fn opened(watch: &mut Inotify) -> Vec<String> {
    let mut buffer = [0; 4096];
    match watch.read_events(&mut buffer) {
        Ok(events) => events.map(|event| format!("{event:?}")).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

/// Page faults of children that the daemon has waited for: none ends without one.
fn of_children(node: &Node) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(8).unwrap().parse().unwrap()
}

async fn ask(node: &Node, pod: &str, container: &str) {
    assert_eq!(node.pods(None).await.len(), 2);
    assert_eq!(node.containers(None).await.len(), 1);
    node.pod_status(pod).await;
    node.status(container).await;
    assert!(!node.image_list().await.is_empty());
    assert!(node.image_status(IMAGE).await.unwrap().is_some());
    let mut runtime = node.runtime();
    let request = api::ListContainerStatsRequest::default();
    let stats = runtime.list_container_stats(request).await.unwrap();
    assert_eq!(stats.into_inner().stats.len(), 1);
    let request = api::ListPodSandboxStatsRequest::default();
    let stats = runtime.list_pod_sandbox_stats(request).await.unwrap();
    assert_eq!(stats.into_inner().stats.len(), 2);
}

#[tokio::test]
async fn lists_and_statuses_touch_no_disk_and_start_no_child() {
    node(async |node| {
        let (_, first, id) = node.idle("read").await;
        let second = node.pod(&pod("stopped")).await;
        node.stop_pod(&second).await.unwrap();
        let mut watch = Inotify::init().unwrap();
        let mut watched = 0;
        for dir in directories(&node.root())
            .into_iter()
            .chain(directories(&node.runroot()))
        {
            let mask = WatchMask::OPEN | WatchMask::CREATE | WatchMask::MODIFY;
            watch.watches().add(&dir, mask).unwrap();
            watched += 1;
        }
        assert!(watched > 10, "only {watched} directories");
        // It works: a directory that is read is seen, and so is a file.
        std::fs::read_dir(node.root().join("records")).unwrap();
        assert!(!opened(&mut watch).is_empty());
        // What was asked for before may still be finished in the background.
        until("nothing is opened for a while", async || {
            ask(node, &first, &id).await;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            opened(&mut watch).is_empty()
        })
        .await;
        let before = of_children(node);
        for _ in 0..20 {
            ask(node, &first, &id).await;
        }
        assert_eq!(opened(&mut watch), Vec::<String>::new());
        assert_eq!(of_children(node), before, "a child was started");
    })
    .await;
}
