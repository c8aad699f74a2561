//! A disk that is full.

use tonic::Code;

use crate::support::{
    Entry, Mounted, Options, Packing, Registry, RegistryOptions, Scratch, busybox, container,
    insecure, node_with, pod, until,
};

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
