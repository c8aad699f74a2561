//! A disk that is full, read-only, or broken.

use tonic::Code;

use super::{others_work, says};
use crate::support::{
    Entry, Mounted, Options, Packing, Registry, RegistryOptions, Scratch, busybox, container,
    insecure, node_with, pod, run, until,
};

/// A daemon whose root is on a file system of its own.
async fn rooted(disk: &Scratch, mount: &[&str]) -> (Options, Mounted) {
    let root = disk.dir("root");
    let mounted = Mounted::new(mount, &root).await;
    let options = Options {
        root: Some(root),
        ..Options::default()
    };
    (options, mounted)
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_no_end() {
    let registry = Registry::start(RegistryOptions::default()).await;
    let noise: Vec<u8> = (0..24u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let large = busybox().layer(&[Entry::file("large", noise, 0o644)], Packing::Plain);
    let large = registry.push("large", "1", &large).await;
    let disk = Scratch::new();
    let root = disk.dir("root");
    let mounted = Mounted::new(&["-t", "tmpfs", "-o", "size=16M,mode=0700", "tmpfs"], &root).await;
    let options = Options {
        root: Some(root.clone()),
        registries: insecure(&registry.host()),
        ..Options::default()
    };
    node_with(options, async |node| {
        let before = node.image_list().await;
        for _ in 0..2 {
            let error = node.try_pull(&large, None).await.unwrap_err();
            assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
            assert!(
                error.message().to_lowercase().contains("no space left"),
                "{error}"
            );
            assert!(error.message().contains(&large), "{error}");
        }
        assert_eq!(node.image_list().await, before);
        // Nothing of the failed attempt holds its room, and what there is room for runs.
        until("there is room again", async || {
            let used = rustix::fs::statvfs(&root).unwrap();
            used.f_bavail * used.f_bsize > 4 << 20
        })
        .await;
        let (_, _, id) = node.idle("small").await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");

        // Full to the last byte: creating a pod fails as it should, removing one works.
        let filler = root.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        let chunk = [0u8; 4096];
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
        drop(file);
        let error = node.try_pod(&pod("no-room")).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        node.remove_all().await;
        std::fs::remove_file(&filler).unwrap();
        let config = pod("room");
        let pod = node.pod(&config).await;
        let id = node
            .launch(&pod, &config, &container("main", &["true"]))
            .await;
        assert_eq!(node.exit(&id).await.exit_code, 0);
    })
    .await;
    drop(mounted);
}

#[tokio::test]
async fn without_inodes_requests_fail_until_there_are_some() {
    let disk = Scratch::new();
    let size = [
        "-t",
        "tmpfs",
        "-o",
        "size=64M,nr_inodes=2000,mode=0700",
        "tmpfs",
    ];
    let (options, mounted) = rooted(&disk, &size).await;
    node_with(options, async |node| {
        let (config, pod_id, id) = node.idle("before").await;
        let filler = node.root().join("filler");
        std::fs::create_dir(&filler).unwrap();
        let files = (0..).take_while(|n| std::fs::File::create(filler.join(n.to_string())).is_ok());
        assert!(files.count() > 10);
        let error = node.try_pod(&pod("none")).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        says(&error, &["no space left"]);
        let main = container("second", &["true"]);
        let error = node.try_create(&pod_id, &config, &main).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        says(&error, &["no space left"]);
        // What runs, runs; and what is to end, ends.
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        node.stop_container(&id, 0).await.unwrap();
        node.remove_pod(&pod_id).await.unwrap();
        std::fs::remove_dir_all(&filler).unwrap();
        others_work(node, "after").await;
    })
    .await;
    drop(mounted);
}

#[tokio::test]
async fn on_a_read_only_disk_nothing_is_made_until_it_is_writable_again() {
    let disk = Scratch::new();
    let size = ["-t", "tmpfs", "-o", "size=64M,mode=0700", "tmpfs"];
    let (options, mounted) = rooted(&disk, &size).await;
    node_with(options, async |node| {
        let root = node.root();
        let root = root.to_str().unwrap();
        let remount = async |how: &str| run(&["mount", "-o", how, root]).await.ok();
        // A container's own files would keep the disk from being remounted.
        let stops = crate::support::pod_net("stops");
        let stops = node.pod(&stops).await;
        let goes = node.pod(&pod("goes")).await;
        remount("remount,ro").await;
        let config = pod("none");
        let error = node.try_pod(&config).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        says(&error, &["read-only file system", root]);
        let main = container("main", &["true"]);
        let error = node.try_create(&goes, &pod("goes"), &main).await;
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        says(&error, &["read-only file system"]);
        assert_eq!(node.pods(None).await.len(), 2);
        let mut errors = Vec::new();
        for ended in [node.stop_pod(&stops).await, node.remove_pod(&goes).await] {
            errors.extend(ended.err());
        }
        assert!(!errors.is_empty());
        for error in errors {
            assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
            says(&error, &["read-only file system"]);
        }
        remount("remount,rw").await;
        until("the removal is made up for", async || {
            node.try_pod_status(&goes, false).await.is_err()
        })
        .await;
        node.stop_pod(&stops).await.unwrap();
        others_work(node, "after").await;
        // What could not be written down is so now.
        node.restart().await;
        assert_eq!(node.pods(None).await.len(), 1);
    })
    .await;
    drop(mounted);
}

/// Has an ext4 file system answer everything with an I/O error from here on: EXT4_IOC_SHUTDOWN.
const BREAK: &str = "open(my $f, q(<), $ARGV[0] . q(/lock)) or die $!; my $how = pack(q(L), 2); \
                     ioctl($f, 0x8004587d, $how) or die $!";

#[tokio::test]
async fn a_disk_that_fails_is_named_and_what_runs_is_served_on() {
    // What a broken disk does, and what the kernel makes of one that it no longer trusts.
    let ways: [(&[&str], Code, &str); 2] = [
        (&["perl", "-e", BREAK], Code::Internal, "input/output error"),
        (
            &["mount", "-o", "remount,abort"],
            Code::FailedPrecondition,
            "read-only file system",
        ),
    ];
    for (way, code, words) in ways {
        let disk = Scratch::new();
        let image = disk.join("image");
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(96 << 20))
            .unwrap();
        let image = image.to_str().unwrap();
        run(&["mkfs.ext4", "-q", "-F", image]).await.ok();
        let (mut options, mounted) = rooted(&disk, &["-o", "loop", image]).await;
        // A root that cannot be written to cannot be cleared either.
        options.leftovers_allowed = true;
        node_with(options, async |node| {
            let (config, pod_id, id) = node.idle("before").await;
            let root = node.root();
            let root = root.to_str().unwrap();
            run(&[way, &[root]].concat()).await.ok();
            let error = node.try_pod(&pod("none")).await.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            says(&error, &[words, root]);
            let main = container("second", &["true"]);
            let error = node.try_create(&pod_id, &config, &main).await.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            says(&error, &[words]);
            // It answers, and what needs no disk is done: an end is told, though no disk takes its record.
            assert_eq!(node.pods(None).await.len(), 1);
            assert_eq!(node.image_list().await.len(), 1);
            assert!(node.condition("RuntimeReady").await.status);
            node.stop_container(&id, 0).await.unwrap();
            assert_eq!(node.exit(&id).await.exit_code, 137);
            let error = node.remove_pod(&pod_id).await.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            says(&error, &[words]);
            node.kill();
        })
        .await;
        drop(mounted);
    }
}
