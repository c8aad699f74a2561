use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;

/// A tree with a secret beside it that no resolution may reach.
fn tree() -> (tempfile::TempDir, OwnedFd) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "outside").unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    let fd = open_root(&root).unwrap();
    (dir, fd)
}

#[test]
fn reads_inside_and_never_outside() {
    let (dir, root) = tree();
    let at = dir.path().join("root");
    symlink("../../../../etc/passwd", at.join("etc/up")).unwrap();
    symlink("/etc/passwd", at.join("etc/abs")).unwrap();
    symlink("../../secret", at.join("etc/out")).unwrap();
    for inside in [
        "etc/passwd",
        "/etc/passwd",
        "../etc/passwd",
        "etc/up",
        "etc/abs",
    ] {
        let text = read_in_root(&root, inside, 1024).unwrap();
        assert!(text.starts_with(b"root:x:0:0::/:"), "{inside}");
    }
    for outside in ["../secret", "/../secret", "etc/out", "etc/../../secret"] {
        let e = read_in_root(&root, outside, 1024).unwrap_err();
        assert!(e.is_not_found(), "{outside}: {e}");
    }
}

#[test]
fn refuses_what_is_no_file_without_opening_it() {
    let (dir, root) = tree();
    let at = dir.path().join("root");
    rustix::fs::mkfifoat(rustix::fs::CWD, at.join("fifo"), Mode::RUSR).unwrap();
    let e = read_in_root(&root, "fifo", 10).unwrap_err();
    assert!(matches!(e, RootedError::NotRegular { kind: "a fifo", .. }));
    let e = read_in_root(&root, "etc", 10).unwrap_err();
    assert!(matches!(e, RootedError::NotRegular { .. }));
    let e = read_in_root(&root, "etc/passwd", 10).unwrap_err();
    assert!(matches!(e, RootedError::TooLarge { cap: 10, .. }));
}

#[test]
fn magic_links_lead_nowhere() {
    let proc = open_root(Path::new("/proc")).unwrap();
    let e = open_in_root(&proc, "self/root/etc", OFlags::PATH).unwrap_err();
    assert_eq!(e.errno(), Some(Errno::LOOP));
}

#[test]
fn makes_directories_through_links_inside() {
    let (dir, root) = tree();
    let at = dir.path().join("root");
    symlink("/run", at.join("etc/run")).unwrap();
    symlink("../../../../../var/x", at.join("etc/far")).unwrap();
    symlink("loop", at.join("loop")).unwrap();
    mkdir_all_in_root(&root, "etc/run/lock", Mode::from(0o751)).unwrap();
    mkdir_all_in_root(&root, "/etc/far/../y", Mode::from(0o755)).unwrap();
    let mode = at.join("run/lock").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o751);
    assert!(at.join("var/x").is_dir() && at.join("var/y").is_dir());
    let e = mkdir_all_in_root(&root, "loop/a", Mode::from(0o755)).unwrap_err();
    assert_eq!(e.errno(), Some(Errno::LOOP));
    let e = mkdir_all_in_root(&root, "etc/passwd/a", Mode::from(0o755)).unwrap_err();
    assert_eq!(e.errno(), Some(Errno::NOTDIR));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn open_beneath_follows_no_link() {
    let (dir, root) = tree();
    symlink("etc", dir.path().join("root/link")).unwrap();
    assert!(open_beneath(&root, Path::new("etc/passwd"), OFlags::PATH).is_ok());
    let e = open_beneath(&root, Path::new("link/passwd"), OFlags::PATH).unwrap_err();
    assert_eq!(e.errno(), Some(Errno::LOOP));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("link".to_owned()),
        Just("abs".to_owned()),
        "[a-c]{1,2}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn making_directories_stays_inside(
        parts in prop::collection::vec(name(), 0..8),
        link in prop::collection::vec(name(), 1..5),
        absolute in any::<bool>(),
    ) {
        let (dir, root) = tree();
        let at = dir.path().join("root");
        let target = link.join("/");
        if !target.is_empty() {
            symlink(&target, at.join("link")).unwrap();
            symlink(format!("/{target}"), at.join("abs")).unwrap();
        }
        let path = format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"));
        let _ = mkdir_all_in_root(&root, &path, Mode::from(0o755));
        let outside: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        prop_assert_eq!(outside.len(), 2, "{:?}", outside);
    }
}
