use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn layers_survive_and_leftovers_do_not() {
    let mut f = Fixture::new();
    let image = f.image(vec![
        Archive::new().file("a", "1"),
        Archive::new().file("b", "2"),
    ]);
    let layers = f.storage().layers();
    let layout = f.storage().inner.layout.clone();
    // What a process leaves that dies while it unpacks.
    std::fs::create_dir_all(layout.staging().join("17/diff/some")).unwrap();
    std::fs::create_dir_all(layout.trash().join("3/x/y")).unwrap();
    std::fs::create_dir_all(layout.container(&container(1)).join("upper")).unwrap();
    f.reopen();
    let mut after = f.storage().layers();
    let mut before = layers;
    before.sort_by_key(|l| l.chain);
    after.sort_by_key(|l| l.chain);
    assert_eq!(before, after);
    assert!(names(&layout.staging()).is_empty());
    assert!(names(&layout.containers()).is_empty());
    while !names(&layout.trash()).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(f.storage().set_aside().is_empty());
    f.seen(&image, |at| assert_eq!(names(at), ["a", "b"]));
}

#[test]
fn a_trial_of_overlay_that_was_cut_short_is_unmounted_and_deleted() {
    let mut f = Fixture::new();
    let layout = f.storage().inner.layout.clone();
    let tried = layout.staging().join("probe/at");
    let thrown_away = layout.trash().join("7/at");
    for at in [&tried, &thrown_away] {
        std::fs::create_dir_all(at).unwrap();
        mount::mount_at("tmpfs", at, rustix::mount::MountFlags::empty(), "").unwrap();
    }
    f.reopen();
    assert!(names(&layout.staging()).is_empty());
    while !names(&layout.trash()).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn what_cannot_be_read_is_set_aside_and_can_come_again() {
    let mut f = Fixture::new();
    let archive = || vec![Archive::new().file("a", "1")];
    let image = f.image(archive());
    let layer = f.storage().inner.layout.layer(&image.chain[0]);
    std::fs::write(layer.join("layer.json"), "{\"version\":9}").unwrap();
    f.reopen();
    assert!(f.storage().layers().is_empty());
    let aside = f.storage().set_aside();
    assert_eq!(aside.len(), 1);
    assert!(aside[0].reason.contains("version 9"), "{}", aside[0].reason);
    assert!(aside[0].path.join("diff/a").exists());
    f.image(archive());
    f.reopen();
    assert!(f.storage().has_layer(&image.chain[0]));
}

#[test]
fn one_process_at_a_time() {
    let f = Fixture::new();
    let e = Storage::open(f.path()).unwrap_err();
    assert!(matches!(e, StorageError::Locked { .. }), "{e}");
}

/// Counts the bytes taken from it.
struct Counted<'a>(&'a [u8], &'a AtomicUsize);

impl std::io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        self.1.fetch_add(n, Ordering::Relaxed);
        Ok(n)
    }
}

#[test]
fn one_layer_asked_for_many_times_is_unpacked_once() {
    let f = Fixture::new();
    let blob = (0..200)
        .fold(Archive::new(), |a, i| a.file(&format!("d/{i}"), "x"))
        .finish();
    let diff = archive::diff_id(&blob);
    let chain = ChainId::of(&[diff])[0];
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let blob = Counted(&blob, &taken);
                let storage = f.storage().clone();
                storage
                    .apply(chain, None, diff, Compression::Detect, blob)
                    .unwrap();
            });
        }
    });
    assert_eq!(taken.load(Ordering::Relaxed), blob.len());
    assert_eq!(f.storage().layers().len(), 1);
    f.assert_nothing_staged();
}

#[test]
fn children_can_be_staged_before_their_parents() {
    let f = Fixture::new();
    let blobs: Vec<Vec<u8>> = vec![
        Archive::new().mode(0o700).owner(5, 6).dir("d").finish(),
        Archive::new().file("d/one", "1").finish(),
        Archive::new().file("d/two", "2").finish(),
    ];
    let diffs: Vec<DiffId> = blobs.iter().map(|b| archive::diff_id(b)).collect();
    let chain = ChainId::of(&diffs);
    let stage = |i: usize| {
        f.storage()
            .stage(chain[i], diffs[i], Compression::Detect, &blobs[i][..])
            .unwrap()
    };
    let e = f.storage().commit(stage(1), Some(chain[0])).unwrap_err();
    assert!(matches!(e, StorageError::NoParent { .. }), "{e}");
    f.assert_nothing_staged();

    let two = stage(2);
    let one = stage(1);
    let zero = stage(0);
    let dropped = stage(0);
    let infos = f
        .storage()
        .commit_all(vec![
            (zero, None),
            (one, Some(chain[0])),
            (two, Some(chain[1])),
            (stage(1), Some(chain[0])),
        ])
        .unwrap();
    drop(dropped);
    assert_eq!(infos[2].parent, Some(chain[1]));
    assert_eq!(infos[3], infos[1]);
    f.assert_nothing_staged();
    let image = Image { chain };
    f.seen(&image, |at| {
        use std::os::unix::fs::MetadataExt;
        let d = at.join("d").metadata().unwrap();
        assert_eq!((d.mode() & 0o7777, d.uid(), d.gid()), (0o700, 5, 6));
        assert_eq!(names(&at.join("d")), ["one", "two"]);
    });
}

#[test]
fn a_reader_that_breaks_leaves_nothing() {
    struct Breaks(usize);
    impl std::io::Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let blob = Archive::new().file("f", &"x".repeat(5000)).finish();
            let n = buffer.len().min(2000 - self.0);
            if n == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "the registry went away",
                ));
            }
            buffer[..n].copy_from_slice(&blob[self.0..self.0 + n]);
            self.0 += n;
            Ok(n)
        }
    }
    let f = Fixture::new();
    let diff = archive::diff_id(b"");
    let chain = ChainId::of(&[diff])[0];
    let e = f
        .storage()
        .apply(chain, None, diff, Compression::Detect, Breaks(0))
        .unwrap_err();
    assert!(
        whole(&e).contains("the registry went away"),
        "{}",
        whole(&e)
    );
    f.assert_nothing_staged();
}

#[test]
fn layers_in_use_stay() {
    let f = Fixture::new();
    let image = f.image(vec![
        Archive::new().file("a", ""),
        Archive::new().file("b", ""),
    ]);
    let storage = f.storage();
    let e = storage.remove_layer(&image.chain[0]).unwrap_err();
    assert!(matches!(e, StorageError::LayerInUse { .. }), "{e}");
    f.seen(&image, |_| {
        let e = storage.remove_layer(&image.chain[1]).unwrap_err();
        assert!(e.to_string().contains("view \"seen\""), "{e}");
    });
    storage.remove_layer(&image.chain[1]).unwrap();
    storage.remove_layer(&image.chain[1]).unwrap();
    storage.remove_layer(&image.chain[0]).unwrap();
    assert!(storage.layers().is_empty());
    assert_eq!(storage.usage(), Usage::default());
}
