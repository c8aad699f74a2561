use std::os::unix::fs::PermissionsExt;

use ::tar::EntryType;

use super::*;

/// A file outside of every layer, with a mode that must stay.
fn bait(f: &Fixture) -> PathBuf {
    let path = f.path().join("bait");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("victim"), "untouched").unwrap();
    std::fs::set_permissions(path.join("victim"), PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn assert_untouched(bait: &Path) {
    assert_eq!(names(bait), ["victim"]);
    let victim = bait.join("victim");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(
        victim.metadata().unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(
        std::os::unix::fs::MetadataExt::nlink(&victim.metadata().unwrap()),
        1
    );
}

#[test]
fn names_that_climb_are_refused() {
    let f = Fixture::new();
    for name in ["../escape", "a/../../escape", "/../escape", "a/.."] {
        let text = f.refused(Archive::new().file(name, "x"));
        assert!(text.contains("climbs") && text.contains(name), "{text}");
    }
    let text = f.refused(Archive::new().file("f", "").hard_link("l", "../../f"));
    assert!(
        text.contains("link target") && text.contains("climbs"),
        "{text}"
    );
}

#[test]
fn links_above_an_entry_lead_nowhere_else() {
    let f = Fixture::new();
    let bait = bait(&f);
    let out = bait.to_str().unwrap();
    // The link's target exists on the host; inside the layer it is made anew.
    let top = f.layer(
        Archive::new()
            .symlink("abs", out)
            .file("abs/victim", "changed")
            .symlink("up", "../../../../../../../../../../..")
            .file("up/escaped", "x")
            .mode(0o777)
            .dir("abs/made")
            .symlink("p", "/proc/self/root")
            .file("p/escaped2", "x"),
    );
    assert_untouched(&bait);
    let inside = top.join(out.trim_start_matches('/'));
    assert_eq!(
        std::fs::read_to_string(inside.join("victim")).unwrap(),
        "changed"
    );
    assert!(inside.join("made").is_dir());
    assert!(top.join("escaped").is_file());
    assert!(!Path::new("/escaped").exists() && !Path::new("/escaped2").exists());
}

#[test]
fn metadata_never_goes_through_a_link() {
    // A mode set on a name that is a link would be set on its target.
    let f = Fixture::new();
    let bait = bait(&f);
    let victim = bait.join("victim");
    let victim = victim.to_str().unwrap();
    f.layer(
        Archive::new()
            .owner(1000, 1000)
            .mode(0o4777)
            .symlink("l", victim)
            .hard_link("h", "l")
            .file("l", "a file in its place")
            .symlink("d", bait.to_str().unwrap())
            .dir("d")
            .symlink("n", victim)
            .node(EntryType::Fifo, "n", (0, 0)),
    );
    assert_untouched(&bait);
}

#[test]
fn hard_links_reach_nothing_outside() {
    let f = Fixture::new();
    let bait = bait(&f);
    let out = bait.to_str().unwrap();
    let victim = format!("{out}/victim");
    let text = f.refused(Archive::new().hard_link("h", &victim));
    assert!(text.contains("make the hard link"), "{text}");
    let text = f.refused(Archive::new().symlink("d", out).hard_link("h", "d/victim"));
    assert!(text.contains("make the hard link"), "{text}");
    let text = f.refused(Archive::new().dir("d").hard_link("h", "d"));
    assert!(text.contains("make the hard link"), "{text}");
    // A hard link to a link, then written through.
    f.layer(
        Archive::new()
            .symlink("s", &victim)
            .hard_link("h", "s")
            .file("h", "changed"),
    );
    assert_untouched(&bait);
}

#[test]
fn loops_and_obstacles_are_errors() {
    let f = Fixture::new();
    let text = f.refused(
        Archive::new()
            .symlink("a", "b")
            .symlink("b", "a")
            .file("a/f", ""),
    );
    assert!(text.contains("a/f"), "{text}");
    let text = f.refused(Archive::new().file("f", "").file("f/g", ""));
    assert!(text.contains("f/g"), "{text}");
    let text = f.refused(Archive::new().file(".", "no directory"));
    assert!(text.contains("top entry"), "{text}");
    let text = f.refused(Archive::new().node(EntryType::new(b'D'), "x", (0, 0)));
    assert!(text.contains("unknown type 'D'"), "{text}");
}

#[test]
fn links_cannot_nest_directories_without_end() {
    let f = Fixture::new();
    let mut archive = Archive::new();
    let part = "d/".repeat(40);
    archive = archive.symlink("l0", &part);
    for i in 1..200 {
        archive = archive.symlink(&format!("l{i}"), &format!("l{}/{part}", i - 1));
    }
    let text = f.refused(archive.file("l199/f", "x"));
    assert!(text.contains("l199/f"), "{text}");
}

#[test]
fn limits_hold() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let limits = Limits {
        entries: 3,
        bytes: 1 << 20,
        xattr_bytes: 100,
        deferred_bytes: 700,
    };
    let f = Fixture {
        storage: Some(Storage::open_with(dir.path(), limits).unwrap()),
        dir,
    };
    let many = (0..4).fold(Archive::new(), |a, i| a.file(&i.to_string(), ""));
    assert!(f.refused(many).contains("more entries than the limit of 3"));
    let text = f.refused(
        Archive::new()
            .pax("SCHILY.xattr.user.x", &[b'v'; 200])
            .file("f", ""),
    );
    assert!(text.contains("extended attributes"), "{text}");
    let dirs = (0..3).fold(Archive::new(), |a, i| {
        a.pax("SCHILY.xattr.user.x", &[b'v'; 90])
            .dir(&i.to_string())
    });
    let text = f.refused(dirs);
    assert!(text.contains("metadata to be set"), "{text}");

    // A bomb: a megabyte and more of zeros in a kilobyte, within an entry and behind the archive.
    let mut trailing = Archive::new().file("f", "").finish();
    trailing.resize(3 << 20, 0);
    let within = Archive::new().file("f", &"\0".repeat(3 << 20)).finish();
    for bomb in [trailing, within] {
        let packed = zstd::encode_all(&bomb[..], 3).unwrap();
        assert!(packed.len() < 2000);
        let diff = archive::diff_id(&bomb);
        let chain = ChainId::of(&[diff])[0];
        let e = f
            .storage()
            .apply(chain, None, diff, Compression::Zstd, &packed[..])
            .unwrap_err();
        assert!(whole(&e).contains("limit of 1048576"), "{}", whole(&e));
        f.assert_nothing_staged();
    }
}

#[test]
fn a_cut_archive_is_refused_even_where_its_digest_is_right() {
    let f = Fixture::new();
    let mut blob = Archive::new().file("f", &"x".repeat(2000)).finish();
    blob.truncate(1024);
    let diff = archive::diff_id(&blob);
    let chain = ChainId::of(&[diff])[0];
    let e = f
        .storage()
        .apply(chain, None, diff, Compression::None, &blob[..])
        .unwrap_err();
    assert!(whole(&e).contains("ends within an entry"), "{}", whole(&e));
    f.assert_nothing_staged();
}

#[test]
fn another_archive_than_the_image_names_leaves_nothing() {
    let f = Fixture::new();
    let blob = Archive::new().file("f", "x").finish();
    let expected = archive::diff_id(b"something else");
    let chain = ChainId::of(&[expected])[0];
    let e = f
        .storage()
        .apply(chain, None, expected, Compression::Detect, &blob[..])
        .unwrap_err();
    assert!(
        matches!(&e, StorageError::WrongDiffId { found, .. } if *found == archive::diff_id(&blob)),
        "{e}"
    );
    assert!(f.storage().layers().is_empty());
    f.assert_nothing_staged();
    assert!(names(&f.storage().inner.layout.layers()).is_empty());
}

mod random {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::tar::TarReader;
    use crate::storage::{layers, unpack};

    /// Names that collide, climb, pass through links and hide each other.
    fn name() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            6 => "[abc]",
            1 => Just("..".to_owned()),
            1 => Just(".".to_owned()),
            1 => Just(".wh.a".to_owned()),
            1 => Just(".wh..wh..opq".to_owned()),
        ];
        (any::<bool>(), prop::collection::vec(part, 1..4)).prop_map(|(absolute, parts)| {
            format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"))
        })
    }

    fn target(bait: &Path) -> impl Strategy<Value = String> {
        prop_oneof![
            name(),
            Just(bait.to_str().unwrap().to_owned()),
            Just(format!("{}/victim", bait.display())),
            Just("../../bait".to_owned()),
            Just("../../bait/victim".to_owned()),
            Just("/proc/self/cwd".to_owned()),
        ]
    }

    fn entries(bait: &Path) -> impl Strategy<Value = Vec<(u8, String, String)>> {
        prop::collection::vec((0u8..6, name(), target(bait)), 1..14)
    }

    #[test]
    fn archives_change_nothing_outside_their_layer() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let bait = dir.path().join("bait");
        let work = dir.path().join("work");
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(600));
        let result = runner.run(&entries(&bait), |entries| {
            for made in [&bait, &work] {
                let _ = std::fs::remove_dir_all(made);
            }
            std::fs::create_dir_all(&bait).unwrap();
            std::fs::write(bait.join("victim"), "untouched").unwrap();
            let mode = PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(bait.join("victim"), mode).unwrap();
            std::fs::create_dir_all(work.join("diff")).unwrap();
            std::fs::create_dir_all(work.join("attic")).unwrap();
            let mut archive = Archive::new().mode(0o4755).owner(1000, 1000);
            for (kind, name, target) in &entries {
                archive = match kind {
                    0 => archive.file(name, "content"),
                    1 => archive.dir(name),
                    2 | 3 => archive.symlink(name, target),
                    4 => archive.hard_link(name, target),
                    _ => archive.node(EntryType::Fifo, name, (0, 0)),
                };
            }
            let blob = archive.finish();
            let diff = layers::open_directory(&work.join("diff")).unwrap();
            let attic = layers::open_directory(&work.join("attic")).unwrap();
            use std::os::fd::AsFd;
            let mut reader = TarReader::new(&blob[..]);
            let _ = unpack::unpack(&mut reader, diff.as_fd(), attic.as_fd(), Limits::default());
            assert_untouched(&bait);
            prop_assert_eq!(names(&work), ["attic", "diff"]);
            prop_assert_eq!(names(dir.path()), ["bait", "work"]);
            Ok(())
        });
        result.unwrap();
    }
}
