//! Records that are damaged, cut, or of a version that is not known: they are set aside and reported, and the daemon
//! serves.

use std::path::{Path, PathBuf};

use corten::cri::api::PodSandboxState;

use super::others_work;
use crate::support::{IMAGE, Node, busybox, container, node, pod_net, until};

/// Ways for a file to be of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Emptied,
    Cut,
    Garbled,
    OfAnotherVersion,
}

const ALL: [Damage; 4] = [
    Damage::Emptied,
    Damage::Cut,
    Damage::Garbled,
    Damage::OfAnotherVersion,
];

impl Damage {
    fn to(self, path: &Path) {
        let text = std::fs::read_to_string(path).unwrap();
        let spoilt = match self {
            Self::Emptied => String::new(),
            Self::Cut => text[..text.len() / 2].to_owned(),
            // A letter in its middle is another one.
            Self::Garbled => {
                let mut bytes = text.clone().into_bytes();
                let middle = bytes.len() / 2;
                bytes[middle] = if bytes[middle] == b'~' { b'!' } else { b'~' };
                bytes.insert(middle, b'"');
                String::from_utf8(bytes).unwrap()
            }
            Self::OfAnotherVersion => {
                let header = text.starts_with("corten-record ");
                let other = if header {
                    let mut words: Vec<&str> = text.splitn(4, ' ').collect();
                    words[2] = "4711";
                    words.join(" ")
                } else {
                    text.replacen("\"version\":1", "\"version\":4711", 1)
                };
                assert_ne!(other, text, "no version found in {}", path.display());
                other
            }
        };
        std::fs::write(path, spoilt).unwrap();
    }
}

/// Files below a directory whose path has a text in it.
fn files(dir: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path, part)),
            Ok(kind) if kind.is_file() && path.to_string_lossy().contains(part) => found.push(path),
            _ => {}
        }
    }
    found
}

/// Damages records while no daemon is there; what the next one says of it has all the words.
async fn spoil(node: &Node, damage: Damage, records: &[PathBuf], words: &[&str]) {
    assert!(!records.is_empty(), "there are no such records");
    node.kill();
    for record in records {
        damage.to(record);
    }
    node.start().await;
    let condition = node.condition("RuntimeReady").await;
    assert!(condition.status, "{condition:?}");
    for word in words {
        assert!(
            condition.message.contains(word),
            "{damage:?}: no {word:?} in {condition:?}"
        );
    }
}

/// What is kept for whoever wants to know is not left behind.
fn clear(node: &Node) {
    for dir in ["records/set-aside", "storage/set-aside"] {
        let _ = std::fs::remove_dir_all(node.root().join(dir));
    }
}

#[tokio::test]
async fn of_a_sandbox() {
    node(async |node| {
        let (_, _, kept) = node.idle("kept").await;
        let config = pod_net("lost");
        for damage in ALL {
            let lost = node.pod(&config).await;
            let main = container("main", &["sleep", "1000000"]);
            node.launch(&lost, &config, &main).await;
            let records = files(&node.root().join("records/sandboxes"), &lost);
            spoil(node, damage, &records, &[&lost, "set-aside"]).await;
            assert_eq!(node.exec(&kept, &["echo", "well"]).await, "well");
            assert!(node.pods(None).await.iter().all(|pod| pod.id != lost));
            clear(node);
            until("all that it had is gone", async || {
                let left = node.leftovers().await;
                !left
                    .iter()
                    .any(|line| line.contains(&lost) || line.starts_with("address"))
            })
            .await;
            // Its name is free.
            let again = node.pod(&config).await;
            assert_ne!(again, lost);
            node.remove_pod(&again).await.unwrap();
        }
        others_work(node, "after").await;
    })
    .await;
}

#[tokio::test]
async fn of_a_container() {
    node(async |node| {
        let config = pod_net("home");
        let pod = node.pod(&config).await;
        let main = container("main", &["sleep", "1000000"]);
        let kept = node
            .launch(&pod, &config, &container("kept", &["sleep", "1000000"]))
            .await;
        for damage in ALL {
            let lost = node.launch(&pod, &config, &main).await;
            let records = files(&node.root().join("records/containers"), &lost);
            spoil(node, damage, &records, &[&lost, "set-aside"]).await;
            assert_eq!(node.exec(&kept, &["echo", "well"]).await, "well");
            assert_eq!(
                node.pod_status(&pod).await.state(),
                PodSandboxState::SandboxReady
            );
            assert!(node.containers(None).await.iter().all(|one| one.id != lost));
            clear(node);
            until("all that it had is gone", async || {
                let left = node.leftovers().await;
                !left.iter().any(|line| line.contains(&lost))
            })
            .await;
            // Its name is free.
            let again = node.launch(&pod, &config, &main).await;
            assert_eq!(node.exec(&again, &["echo", "well"]).await, "well");
            node.remove_container(&again).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn of_an_image_and_of_a_layer() {
    node(async |node| {
        let (_, _, running) = node.idle("running").await;
        for damage in ALL {
            for (dir, part) in [("records/images", "."), ("storage/layers", "layer.json")] {
                let records = files(&node.root().join(dir), part);
                spoil(node, damage, &records, &["image"]).await;
                assert_eq!(node.exec(&running, &["echo", "well"]).await, "well");
                assert!(node.image_list().await.is_empty());
                let error = node.try_pod(&crate::support::pod("none")).await;
                let pod = error.unwrap();
                let config = crate::support::pod("none");
                let main = container("main", &["true"]);
                let error = node.try_create(&pod, &config, &main).await.unwrap_err();
                assert_eq!(error.code(), tonic::Code::NotFound, "{error}");
                node.remove_pod(&pod).await.unwrap();
                node.load(&busybox(), IMAGE).await;
                others_work(node, "after").await;
                clear(node);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn of_a_root_file_system() {
    node(async |node| {
        let (_, _, kept) = node.idle("kept").await;
        for damage in ALL {
            let (_, pod, lost) = node.idle("lost").await;
            let dir = node.root().join("storage/containers");
            let records: Vec<_> = files(&dir, "rootfs.json");
            let records: Vec<_> = records
                .into_iter()
                .filter(|path| path.to_string_lossy().contains(&lost))
                .collect();
            // One that is empty was never written, as a killed daemon leaves it: nothing was mounted then.
            let words: &[&str] = match damage {
                Damage::Emptied => &[""],
                _ => &["storage", "set-aside"],
            };
            spoil(node, damage, &records, words).await;
            assert_eq!(node.exec(&kept, &["echo", "well"]).await, "well");
            others_work(node, "others").await;
            node.remove_pod(&pod).await.unwrap();
            clear(node);
            until("all that it had is gone", async || {
                let left = node.leftovers().await;
                !left.iter().any(|line| line.contains(&lost))
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn of_an_attachment_to_the_network() {
    node(async |node| {
        let (_, _, kept) = node.idle("kept").await;
        for damage in ALL {
            let pod = node.pod(&pod_net("attached")).await;
            let records = files(&node.root().join("cni"), &format!("{pod}.intent"));
            spoil(node, damage, &records, &[&pod, "network record"]).await;
            assert_eq!(node.exec(&kept, &["echo", "well"]).await, "well");
            let other = node.pod(&pod_net("other")).await;
            node.remove_pod(&other).await.unwrap();
            // It is detached all the same: its address is another's then.
            node.remove_pod(&pod).await.unwrap();
            let left = node.leftovers().await;
            assert!(
                !left.iter().any(|line| line.starts_with("address")),
                "{damage:?}: {left:?}"
            );
        }
    })
    .await;
}
