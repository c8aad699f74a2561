//! What tenants can make grow: the memory of the daemon and of monitors has bounds.

use super::{parent, peak_memory};
use crate::support::{Entry, Image, Packing, busybox_entries, node, pod, shell};

/// The most any of this may cost the daemon, in KiB: several times what it needs, far from what it is sent.
const DAEMON: u64 = 250 << 10;
/// The same for a monitor.
const MONITOR: u64 = 24 << 10;

#[tokio::test]
async fn endless_output_of_a_command_is_cut() {
    node(async |node| {
        let (_, _, id) = node.idle("output").await;
        let monitor = parent(node.init_pid(&id).await);
        let script = "head -c 300000000 /dev/zero; head -c 300000000 /dev/zero >&2";
        let done = node.try_exec(&id, &["sh", "-c", script], 0).await.unwrap();
        assert!(done.stdout.len() <= 16 << 20 && done.stderr.len() <= 16 << 20);
        assert!(
            peak_memory(node.pid()) < DAEMON,
            "{} KiB",
            peak_memory(node.pid())
        );
        assert!(
            peak_memory(monitor) < MONITOR,
            "{} KiB",
            peak_memory(monitor)
        );
    })
    .await;
}

#[tokio::test]
async fn a_line_without_end_is_logged_in_parts() {
    node(async |node| {
        let config = pod("line");
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "head -c 30000000 /dev/zero | tr '\\0' x; echo; exec sleep 1000000",
        );
        let id = node.launch(&pod, &config, &main).await;
        let log = node.log_path(&config, &main);
        crate::support::until("the line has ended", async || {
            let text = std::fs::read(&log).unwrap_or_default();
            let last = text.split_inclusive(|byte| *byte == b'\n').next_back();
            last.is_some_and(|line| {
                line.ends_with(b"\n") && line.windows(3).any(|tag| tag == b" F ")
            })
        })
        .await;
        let monitor = parent(node.init_pid(&id).await);
        assert!(
            peak_memory(monitor) < MONITOR,
            "{} KiB",
            peak_memory(monitor)
        );
    })
    .await;
}

#[tokio::test]
async fn a_layer_that_swells_costs_no_memory() {
    node(async |node| {
        let before = peak_memory(node.pid());
        let mut entries = busybox_entries();
        entries.push(Entry::file("zeros", vec![0; 96 << 20], 0o644));
        let image = Image::new(&[(entries, Packing::Zstd)]);
        assert!(image.layers[0].bytes.len() < 4 << 20);
        let archive = image.layout_archive("localhost/zeros:1");
        node.cli_fed(&["load"], Some(archive)).await.ok();
        let grown = peak_memory(node.pid()) - before;
        assert!(grown < 48 << 10, "{grown} KiB");
    })
    .await;
}

#[tokio::test]
async fn documents_without_end_are_refused() {
    node(async |node| {
        let manifest = format!("[{}1]", "1,".repeat(8 << 20));
        let archive = Image::archive_of(&[("manifest.json", manifest.as_bytes())]);
        let said = node.cli_fed(&["load"], Some(archive)).await.failed();
        assert!(said.contains("manifest.json"), "{said}");
        assert!(
            peak_memory(node.pid()) < DAEMON,
            "{} KiB",
            peak_memory(node.pid())
        );
    })
    .await;
}

#[tokio::test]
async fn requests_without_end_are_refused() {
    node(async |node| {
        let mut config = pod("labels");
        config.labels.insert("key".into(), "x".repeat(3 << 20));
        let error = node.try_pod(&config).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
        assert!(
            error.message().len() < 10_000,
            "{} bytes",
            error.message().len()
        );
    })
    .await;
}
