use rustix::fs::StatVfsMountFlags;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::sys::mount;

fn simple(f: &Fixture) -> Image {
    f.image(vec![
        Archive::new()
            .mode(0o751)
            .owner(9, 9)
            .dir("./")
            .mode(0o644)
            .file("etc/passwd", "root"),
        Archive::new().file("bin/sh", "sh"),
    ])
}

#[tokio::test]
async fn a_root_file_system_lives_dies_and_comes_back() {
    let mut f = Fixture::new();
    let image = simple(&f);
    let id = container(1);
    let at = f.path().join("bundle/rootfs");
    let options = RootfsOptions::default();
    let storage = f.storage().clone();
    let create = || storage.create_rootfs(&id, &image.chain, &at, options.clone());
    let rootfs = create().await.unwrap();
    assert_eq!(create().await.unwrap(), rootfs);
    assert_eq!(at.metadata().unwrap().mode() & 0o7777, 0o751);
    assert_eq!(at.metadata().unwrap().uid(), 9);
    std::fs::write(at.join("etc/new"), "x").unwrap();
    std::fs::remove_file(at.join("etc/passwd")).unwrap();
    assert!(rootfs.upper.unwrap().join("etc/new").exists());
    let usage = storage.upper_usage(&id).unwrap();
    assert!(usage.inodes >= 3, "{usage:?}");
    let layers = storage.layers().iter().map(|l| l.inodes).sum::<u64>();
    assert_eq!(storage.usage().inodes, layers + usage.inodes);

    let e = storage
        .create_rootfs(&id, &image.chain[..1], &at, options.clone())
        .await
        .unwrap_err();
    assert!(matches!(e, StorageError::RootfsExists { .. }), "{e}");
    let e = storage.remove_layer(&image.chain[1]).unwrap_err();
    assert!(matches!(e, StorageError::LayerInUse { .. }), "{e}");

    // The mount outlives the process; after a reboot it is gone.
    drop(storage);
    f.reopen();
    f.storage().remount_rootfs(&id).await.unwrap();
    assert_eq!(names(&at.join("etc")), ["new"]);
    mount::detach_all(&at).unwrap();
    f.reopen();
    f.storage().remount_rootfs(&id).await.unwrap();
    assert_eq!(names(&at.join("etc")), ["new"]);
    assert!(at.join("bin/sh").exists());

    for _ in 0..2 {
        f.storage().remove_rootfs(&id).await.unwrap();
        assert!(!mount::is_mountpoint(&at).unwrap());
    }
    assert!(f.storage().rootfs_records().is_empty());
    let e = f.storage().remount_rootfs(&id).await.unwrap_err();
    assert!(matches!(e, StorageError::NoRootfs { .. }), "{e}");
    f.storage().remove_layer(&image.chain[1]).unwrap();
}

#[tokio::test]
async fn no_layers_and_too_many() {
    let f = Fixture::new();
    let storage = f.storage();
    let at = f.path().join("rootfs");
    let options = RootfsOptions::default();
    storage
        .create_rootfs(&container(1), &[], &at, options.clone())
        .await
        .unwrap();
    assert!(names(&at).is_empty());
    std::fs::write(at.join("f"), "x").unwrap();
    assert_eq!(at.metadata().unwrap().mode() & 0o7777, 0o755);
    storage.remove_rootfs(&container(1)).await.unwrap();

    let unknown = ChainId::from_bytes([7; 32]);
    let e = storage
        .create_rootfs(&container(2), &[unknown], &at, options.clone())
        .await
        .unwrap_err();
    assert!(matches!(e, StorageError::NoLayer { .. }), "{e}");
    let one = f.image(vec![Archive::new().file("f", "")]).chain[0];
    let e = storage
        .create_rootfs(&container(2), &vec![one; 500], &at, options)
        .await
        .unwrap_err();
    assert!(matches!(e, StorageError::TooManyLayers { .. }), "{e}");
    assert!(storage.rootfs_records().is_empty());
    assert!(names(&storage.inner.layout.containers()).is_empty());
}

#[tokio::test]
async fn a_hundred_and_thirty_layers() {
    let f = Fixture::new();
    let blobs: Vec<Vec<u8>> = (0..130)
        .map(|i| {
            Archive::new()
                .file(&format!("d/{i}"), "")
                .file("top", &i.to_string())
                .finish()
        })
        .collect();
    let diffs: Vec<DiffId> = blobs.iter().map(|b| archive::diff_id(b)).collect();
    let chain = ChainId::of(&diffs);
    let mut staged = Vec::new();
    for i in 0..130 {
        let one = f
            .storage()
            .stage(chain[i], diffs[i], Compression::None, &blobs[i][..])
            .unwrap();
        staged.push((one, i.checked_sub(1).map(|i| chain[i])));
    }
    f.storage().commit_all(staged).unwrap();
    let at = f.path().join("rootfs");
    for options in [
        RootfsOptions::default(),
        RootfsOptions {
            volatile: true,
            ..RootfsOptions::default()
        },
        RootfsOptions {
            read_only: true,
            ..RootfsOptions::default()
        },
    ] {
        let read_only = options.read_only;
        let rootfs = f
            .storage()
            .create_rootfs(&container(1), &chain, &at, options)
            .await
            .unwrap();
        assert_eq!(names(&at.join("d")).len(), 130);
        assert_eq!(std::fs::read_to_string(at.join("top")).unwrap(), "129");
        assert_eq!(rootfs.upper.is_none(), read_only);
        assert_eq!(std::fs::write(at.join("new"), "").is_err(), read_only);
        // As after a reboot: a volatile mount refuses a work directory that was in use.
        mount::detach_all(&at).unwrap();
        f.storage().remount_rootfs(&container(1)).await.unwrap();
        assert_eq!(names(&at.join("d")).len(), 130);
        assert_eq!(
            f.storage().upper_usage(&container(1)).unwrap().inodes == 0,
            read_only
        );
        f.storage().remove_rootfs(&container(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_mount_that_fails_leaves_nothing() {
    let f = Fixture::new();
    let image = simple(&f);
    let file = f.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let e = f
        .storage()
        .create_rootfs(&container(1), &image.chain, &file, RootfsOptions::default())
        .await
        .unwrap_err();
    assert!(e.to_string().contains("a file"), "{e}");
    assert!(f.storage().rootfs_records().is_empty());
    assert!(names(&f.storage().inner.layout.containers()).is_empty());
    let e = f
        .storage()
        .mount_view("v", &image.chain, ViewOptions::default(), &file)
        .await
        .unwrap_err();
    assert!(matches!(e, StorageError::Mount { .. }), "{e}");
    assert!(f.storage().views().is_empty());
    assert!(names(&f.storage().inner.layout.views()).is_empty());
}

fn part(sub_path: PathBuf) -> ViewOptions {
    ViewOptions {
        sub_path,
        ..ViewOptions::default()
    }
}

#[tokio::test]
async fn views_show_a_part_and_nothing_outside() {
    let f = Fixture::new();
    let bait = f.path().join("bait");
    std::fs::create_dir(&bait).unwrap();
    std::fs::write(bait.join("secret"), "").unwrap();
    let image = f.image(vec![
        Archive::new()
            .mode(0o4755)
            .file("data/v1/program", "#!/bin/sh\nexit 0\n")
            .file("data/file", "content")
            .symlink("data/current", "v1")
            .symlink("data/abs", "/data/v1")
            .symlink("data/up", "../../../../../../data/v1")
            .symlink("data/out", bait.to_str().unwrap()),
        Archive::new()
            .file("data/v1/.wh.missing", "")
            .file("data/v1/more", ""),
    ]);
    let storage = f.storage();
    let at = f.path().join("view");
    let view = |sub: &str| {
        let sub = PathBuf::from(sub);
        let (image, at) = (&image, &at);
        async move { storage.mount_view("v", &image.chain, part(sub), at).await }
    };
    for sub in [
        "data/v1",
        "/data/current",
        "data/abs",
        "data/up",
        "../data/v1",
        "data/v1/.",
    ] {
        view(sub).await.unwrap();
        view(sub).await.unwrap();
        assert_eq!(names(&at), ["more", "program"], "{sub}");
        let e = std::fs::write(at.join("more"), "x").unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::ReadOnlyFilesystem);
        let done = std::process::Command::new(at.join("program")).status();
        assert!(done.unwrap().success());
        let flags = rustix::fs::statvfs(&at).unwrap().f_flag;
        let inert =
            StatVfsMountFlags::RDONLY | StatVfsMountFlags::NOSUID | StatVfsMountFlags::NODEV;
        assert!(flags.contains(inert), "{flags:?}");
        // Only what was asked for stays mounted.
        let whole = storage.inner.layout.view("v").join("whole");
        assert!(!mount::is_mountpoint(&whole).unwrap());
        storage.remove_view("v").await.unwrap();
        storage.remove_view("v").await.unwrap();
        assert!(names(&at).is_empty());
    }
    for (sub, missing) in [
        ("data/out", true),
        ("data/out/secret", true),
        ("nowhere", true),
    ] {
        let e = view(sub).await.unwrap_err();
        let StorageError::SubPath { source, .. } = &e else {
            panic!("{sub}: {e}");
        };
        assert_eq!(source.is_not_found(), missing, "{sub}: {source}");
        assert!(storage.views().is_empty());
    }
    let file = f.path().join("a/file");
    storage
        .mount_view("file", &image.chain, part("data/file".into()), &file)
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "content");
    storage.unmount(&file).await.unwrap();
    assert!(storage.views().is_empty());
    for key in ["", ".", "..", "a/b", "a b"] {
        let e = storage
            .mount_view(key, &image.chain, ViewOptions::default(), &at)
            .await
            .unwrap_err();
        assert!(matches!(e, StorageError::ViewKey { .. }), "{e}");
        storage.remove_view(key).await.unwrap();
    }
}

#[tokio::test]
async fn views_survive_the_process() {
    let mut f = Fixture::new();
    let image = simple(&f);
    let at = f.path().join("view");
    f.storage()
        .mount_view("v", &image.chain, ViewOptions::default(), &at)
        .await
        .unwrap();
    f.reopen();
    assert_eq!(f.storage().views().len(), 1);
    assert!(f.storage().remove_layer(&image.chain[1]).is_err());
    f.storage().unmount(&at).await.unwrap();
    assert!(!mount::is_mountpoint(&at).unwrap());
    f.storage().remove_layer(&image.chain[1]).unwrap();
    f.storage()
        .unmount(Path::new("/nonexistent/place"))
        .await
        .unwrap();
}

#[tokio::test]
async fn works_under_long_and_odd_paths() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let odd = dir
        .path()
        .join("a:b,c\\d")
        .join("y".repeat(150))
        .join("z".repeat(80));
    std::fs::create_dir_all(&odd).unwrap();
    let f = Fixture {
        storage: Some(Storage::open(&odd).unwrap()),
        dir,
    };
    let image = simple(&f);
    let at = odd.join("rootfs");
    f.storage()
        .create_rootfs(&container(1), &image.chain, &at, RootfsOptions::default())
        .await
        .unwrap();
    std::fs::write(at.join("f"), "").unwrap();
    assert_eq!(names(&at), ["bin", "etc", "f"]);
    f.storage().remove_rootfs(&container(1)).await.unwrap();
}

#[tokio::test]
async fn what_is_mounted_there_already_is_not_taken_for_ours() {
    let f = Fixture::new();
    let image = simple(&f);
    let at = f.path().join("at");
    std::fs::create_dir(&at).unwrap();
    let foreign = mount::detached("tmpfs", &[], mount::Attributes::empty()).unwrap();
    mount::attach(std::os::fd::AsFd::as_fd(&foreign), &at).unwrap();
    f.storage()
        .create_rootfs(&container(1), &image.chain, &at, RootfsOptions::default())
        .await
        .unwrap();
    assert_eq!(names(&at), ["bin", "etc"]);
    f.storage().remove_rootfs(&container(1)).await.unwrap();
    assert!(!mount::is_mountpoint(&at).unwrap());
}

#[test]
fn a_full_disk_is_told_as_such_and_leaves_nothing() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let size = mount::Param::Value("size".into(), "2M".into());
    let disk = mount::detached("tmpfs", &[size], mount::Attributes::empty()).unwrap();
    mount::attach(std::os::fd::AsFd::as_fd(&disk), dir.path()).unwrap();
    let result = std::panic::catch_unwind(|| {
        let storage = Storage::open(dir.path()).unwrap();
        let blob = Archive::new().file("f", &"x".repeat(4 << 20)).finish();
        let diff = archive::diff_id(&blob);
        let chain = ChainId::of(&[diff])[0];
        let e = storage
            .apply(chain, None, diff, Compression::Detect, &blob[..])
            .unwrap_err();
        assert!(e.is_no_space(), "{}", whole(&e));
        assert!(whole(&e).contains("\"f\""), "{}", whole(&e));
        assert!(names(&storage.inner.layout.staging()).is_empty());
        let bad = storage
            .apply(chain, None, diff, Compression::Detect, &b""[..])
            .unwrap_err();
        assert!(!bad.is_no_space(), "{}", whole(&bad));
    });
    mount::detach_all(dir.path()).unwrap();
    result.unwrap();
}

#[test]
fn says_why_overlay_does_not_work() {
    // A file system that overlay cannot write to: an overlay.
    let f = Fixture::new();
    let image = simple(&f);
    let at = f.path().join("rootfs");
    let runtime = runtime();
    runtime
        .block_on(f.storage().create_rootfs(
            &container(1),
            &image.chain,
            &at,
            RootfsOptions::default(),
        ))
        .unwrap();
    let e = Storage::open(&at).unwrap_err();
    assert!(matches!(e, StorageError::NoOverlay { .. }), "{e}");
    assert!(e.to_string().contains("lies on an overlay itself"), "{e}");
    assert!(e.to_string().contains("rootfs/storage"), "{e}");
}

#[test]
fn nobody_but_root_gets_at_layers() {
    let f = Fixture::new();
    let mode = f.storage().root().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    // A storage directory that is a link is followed by whoever set it up, not by us.
    let other = tempfile::tempdir_in("/var/tmp").unwrap();
    let real = tempfile::tempdir_in("/var/tmp").unwrap();
    symlink(real.path(), other.path().join("storage")).unwrap();
    assert!(Storage::open(other.path()).is_ok());
}
