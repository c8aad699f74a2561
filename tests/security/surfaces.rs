//! Who can reach the daemon and its monitors: sockets, directories, credentials of the peer.

use std::{
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
};

use crate::support::{Node, node, run};

/// Somebody who is not root.
const STRANGER: u32 = 65534;

/// Everything below a directory on the same file system, itself included; links are not followed.
fn below(dir: &Path) -> Vec<PathBuf> {
    let device = |path: &Path| std::fs::symlink_metadata(path).map(|m| m.dev()).ok();
    let mut found = vec![dir.to_owned()];
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if device(&path) == device(dir) {
                found.extend(below(&path));
            }
        } else {
            found.push(path);
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::symlink_metadata(path);
    metadata
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .mode()
}

#[tokio::test]
async fn directories_and_files_of_the_daemon_are_closed_to_others() {
    node(async |node| {
        let (_, _, id) = node.idle("modes").await;
        for dir in [node.root(), node.runroot()] {
            // Passing through may be needed, for containers whose root is another user.
            assert_eq!(mode(&dir) & 0o066, 0, "{}: {:o}", dir.display(), mode(&dir));
        }
        // Layers are the image's own business, behind a directory that nobody else gets through.
        let layers = node.root().join("storage");
        assert_eq!(mode(&layers) & 0o077, 0, "{:o}", mode(&layers));
        let own = [node.root(), node.runroot()];
        let all = own.iter().flat_map(|dir| below(dir));
        for path in all.filter(|path| !path.starts_with(&layers)) {
            let shown = path.display();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let (kind, mode) = (metadata.file_type(), metadata.mode());
            if kind.is_symlink() {
                continue;
            }
            let shm = path.ends_with("shm");
            assert!(mode & 0o022 == 0 || shm, "{shown}: {mode:o}");
            assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{shown}");
            if kind.is_socket() && path != node.socket() {
                assert_eq!(mode & 0o777, 0o600, "{shown}: {mode:o}");
            }
        }
        // Who may not list a directory may still know names in it: no record, configuration or exit is readable.
        let bundle = node.runroot().join("containers").join(&id);
        for path in [bundle.join("config.json"), node.root().join("records")] {
            assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
        }
        let sockets: Vec<PathBuf> = below(&bundle)
            .into_iter()
            .filter(|path| {
                std::fs::symlink_metadata(path)
                    .unwrap()
                    .file_type()
                    .is_socket()
            })
            .collect();
        assert!(!sockets.is_empty(), "where are the monitor's sockets?");
        assert_eq!(mode(&node.socket()) & 0o777, 0o660);
    })
    .await;
}

#[tokio::test]
async fn no_socket_is_without_a_path() {
    node(async |node| {
        let (_, _, id) = node.idle("sockets").await;
        let ours = |table: &str| {
            let mut lines = table.lines().map(str::to_owned);
            lines.any(|line| line.contains('@') && line.contains("corten"))
        };
        assert!(!ours(&std::fs::read_to_string("/proc/net/unix").unwrap()));
        // On the host's network a container sees every abstract socket there is.
        assert!(!ours(&node.sh(&id, "cat /proc/net/unix").await));
    })
    .await;
}

/// `corten ps` as somebody else.
async fn as_stranger(node: &Node) -> (bool, String) {
    let mut command = node.cli_command();
    command.arg("ps").uid(STRANGER).gid(STRANGER);
    let output = tokio::process::Command::from(command)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

#[tokio::test]
async fn a_stranger_is_not_served() {
    node(async |node| {
        run(&["chmod", "711", node.scratch.path().to_str().unwrap()])
            .await
            .ok();
        let (served, said) = as_stranger(node).await;
        assert!(!served && said.contains("ermission"), "{said}");
        node.cli(&["ps"]).await.ok();
    })
    .await;
}
