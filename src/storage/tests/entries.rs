use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use ::tar::EntryType;

use super::*;

#[test]
fn every_kind_of_entry() {
    let f = Fixture::new();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\n";
    let top = f.layer(
        Archive::new()
            .mode(0o755)
            .dir("./")
            .mode(0o1777)
            .dir("tmp/")
            .mode(0o4711)
            .owner(1000, 1001)
            .pax("mtime", b"1700000000.123456789")
            .file("tmp/setuid", "x")
            .mode(0o2755)
            .pax("SCHILY.xattr.user.note", b"a\nb")
            .dir("setgid/")
            .owner(0, 0)
            .mode(0o755)
            .pax("SCHILY.xattr.security.capability", capability)
            .file("setgid/capable", "y")
            .symlink("link", "/etc/../anything at all")
            .hard_link("hard", "/tmp/setuid")
            .mode(0o620)
            .owner(3, 4)
            .node(EntryType::Char, "tty", (5, 1))
            .node(EntryType::Block, "disk", (259, 70_000))
            .node(EntryType::Fifo, "pipe", (0, 0)),
    );
    let meta = |name: &str| top.join(name).symlink_metadata().unwrap();

    let setuid = meta("tmp/setuid");
    assert_eq!(setuid.permissions().mode() & 0o7777, 0o4711);
    assert_eq!(
        (setuid.uid(), setuid.gid(), setuid.nlink()),
        (1000, 1001, 2)
    );
    assert_eq!(
        (setuid.mtime(), setuid.mtime_nsec()),
        (1_700_000_000, 123_456_789)
    );
    assert_eq!(setuid.ino(), meta("hard").ino());

    assert_eq!(meta("").permissions().mode() & 0o7777, 0o755);
    assert_eq!(meta("tmp").permissions().mode() & 0o7777, 0o1777);
    assert_eq!(meta("tmp").mtime(), 1_600_000_000);
    assert_eq!(meta("setgid").permissions().mode() & 0o7777, 0o2755);
    assert_eq!((meta("setgid").uid(), meta("setgid").gid()), (1000, 1001));
    assert_eq!(
        (meta("setgid/capable").uid(), meta("setgid/capable").gid()),
        (0, 0)
    );
    assert_eq!(
        xattr(&top.join("setgid/capable"), "security.capability").unwrap(),
        capability
    );
    assert_eq!(xattr(&top.join("setgid"), "user.note").unwrap(), b"a\nb");

    let target = std::fs::read_link(top.join("link")).unwrap();
    assert_eq!(target.to_str(), Some("/etc/../anything at all"));
    assert_eq!(meta("link").mtime(), 1_600_000_000);

    let tty = meta("tty");
    assert!(tty.file_type().is_char_device());
    assert_eq!(tty.rdev(), rustix::fs::makedev(5, 1));
    assert_eq!((tty.uid(), tty.gid(), tty.mode() & 0o7777), (3, 4, 0o620));
    assert!(meta("disk").file_type().is_block_device());
    assert_eq!(meta("disk").rdev(), rustix::fs::makedev(259, 70_000));
    assert!(meta("pipe").file_type().is_fifo());
}

#[test]
fn files_are_what_their_entries_say_whatever_the_kernel_makes_of_new_ones() {
    let f = Fixture::new();
    // A directory whose files would get another group.
    let staging = f.storage().inner.layout.staging();
    std::os::unix::fs::chown(&staging, None, Some(7)).unwrap();
    std::fs::set_permissions(&staging, std::fs::Permissions::from_mode(0o2700)).unwrap();
    let modes = [
        0, 0o400, 0o644, 0o666, 0o777, 0o1644, 0o2755, 0o4755, 0o6711,
    ];
    let owners = [(0, 0), (0, 7), (3, 0), (1000, 1000)];
    let each = || {
        modes
            .into_iter()
            .flat_map(|mode| owners.map(|owner| (mode, owner)))
    };
    let name = |mode, (uid, gid)| format!("{mode:o}-{uid}-{gid}");
    let archive = each().fold(Archive::new(), |archive, (mode, (uid, gid))| {
        archive
            .mode(mode)
            .owner(uid, gid)
            .file(&name(mode, (uid, gid)), "x")
    });
    let top = f.layer(archive);
    for (mode, (uid, gid)) in each() {
        let name = name(mode, (uid, gid));
        let made = top.join(&name).metadata().unwrap();
        let seen = (made.mode() & 0o7777, made.uid().into(), made.gid().into());
        assert_eq!(seen, (mode, uid, gid), "{name}");
        assert_eq!(made.mtime(), 1_600_000_000, "{name}");
    }
}

#[test]
fn attributes_that_steer_overlay_are_dropped() {
    let f = Fixture::new();
    let top = f.layer(
        Archive::new()
            .pax("SCHILY.xattr.trusted.overlay.opaque", b"y")
            .pax("SCHILY.xattr.trusted.overlay.redirect", b"/etc")
            .pax("SCHILY.xattr.user.overlay.opaque", b"y")
            .pax("SCHILY.xattr.user.kept", b"1")
            .dir("d")
            .pax("SCHILY.xattr.trusted.overlay.metacopy", b"")
            .pax("SCHILY.xattr.trusted.overlay.redirect", b"/etc/shadow")
            .file("d/f", ""),
    );
    for (path, name) in [
        ("d", "trusted.overlay.opaque"),
        ("d", "trusted.overlay.redirect"),
        ("d", "user.overlay.opaque"),
        ("d/f", "trusted.overlay.metacopy"),
        ("d/f", "trusted.overlay.redirect"),
    ] {
        assert_eq!(xattr(&top.join(path), name), None, "{path} {name}");
    }
    assert_eq!(xattr(&top.join("d"), "user.kept").unwrap(), b"1");
}

#[test]
fn later_entries_replace_earlier_ones_of_any_kind() {
    let f = Fixture::new();
    let top = f.layer(
        Archive::new()
            .file("a", "first")
            .file("a", "second")
            .mode(0o755)
            .dir("b/c/d")
            .mode(0o644)
            .file("b/c/d/e", "gone")
            .file("b", "a file now")
            .file("d", "x")
            .mode(0o750)
            .dir("d")
            .mode(0o644)
            .file("d/inside", "y")
            .symlink("s", "d")
            .mode(0o700)
            .dir("s")
            .mode(0o644)
            .file("s/own", "z")
            .dir("t")
            .symlink("t", "d")
            .file("t/through", "w")
            .mode(0o711)
            .dir("d"),
    );
    let read = |name: &str| std::fs::read_to_string(top.join(name)).unwrap();
    assert_eq!(read("a"), "second");
    assert_eq!(read("b"), "a file now");
    assert_eq!(read("d/inside"), "y");
    assert!(top.join("s").symlink_metadata().unwrap().is_dir());
    assert_eq!(names(&top.join("s")), ["own"]);
    assert_eq!(names(&top.join("d")), ["inside", "through"]);
    assert_eq!(top.join("d").metadata().unwrap().mode() & 0o7777, 0o711);
    assert_eq!(names(&top), ["a", "b", "d", "s", "t"]);
}

#[test]
fn a_hard_link_to_itself_and_to_a_link() {
    let f = Fixture::new();
    let top = f.layer(
        Archive::new()
            .file("f", "kept")
            .hard_link("f", "./f")
            .symlink("l", "f")
            .hard_link("m", "l"),
    );
    assert_eq!(std::fs::read_to_string(top.join("f")).unwrap(), "kept");
    assert!(top.join("m").symlink_metadata().unwrap().is_symlink());
}

#[test]
fn files_with_holes_keep_them() {
    let f = Fixture::new();
    // GNU tar's format 1.0: the map, then the one block of data there is.
    let mut content = b"1\n1048576\n5\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"there");
    let top = f.layer(
        Archive::new()
            .pax("GNU.sparse.major", b"1")
            .pax("GNU.sparse.minor", b"0")
            .pax("GNU.sparse.name", b"holes")
            .pax("GNU.sparse.realsize", b"10485760")
            .file(
                "GNUSparseFile.0/holes",
                std::str::from_utf8(&content).unwrap(),
            ),
    );
    let meta = top.join("holes").metadata().unwrap();
    assert_eq!(meta.len(), 10 << 20);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    let bytes = std::fs::read(top.join("holes")).unwrap();
    assert_eq!(&bytes[1 << 20..(1 << 20) + 5], b"there");
}

#[test]
fn directories_no_entry_describes() {
    let f = Fixture::new();
    let image = f.image(vec![
        Archive::new()
            .mode(0o711)
            .owner(7, 8)
            .dir("./")
            .mode(0o2750)
            .owner(1000, 1001)
            .pax("SCHILY.xattr.user.note", b"kept")
            .dir("home")
            .dir("home/me")
            .dir("gone")
            .dir("gone/inside")
            .dir("opaque"),
        Archive::new()
            .file("home/me/file", "1")
            .file("new/a/file", "2")
            .file(".wh.gone", "")
            .file("gone/inside/file", "3")
            .file("opaque/.wh..wh..opq", "")
            .file("opaque/file", "4"),
        Archive::new()
            .file("home/me/more", "5")
            .file("gone/more", ""),
    ]);
    f.seen(&image, |at| {
        let meta = |name: &str| {
            let m = at.join(name).metadata().unwrap();
            (m.mode() & 0o7777, m.uid(), m.gid())
        };
        assert_eq!(meta(""), (0o711, 7, 8));
        assert_eq!(meta("home"), (0o2750, 1000, 1001));
        assert_eq!(meta("home/me"), (0o2750, 1000, 1001));
        assert_eq!(xattr(&at.join("home"), "user.note").unwrap(), b"kept");
        assert_eq!(
            at.join("home/me").metadata().unwrap().mtime(),
            1_600_000_000
        );
        // Neither was there before, nor what was hidden counts.
        assert_eq!(meta("new/a"), (0o755, 0, 0));
        assert_eq!(meta("gone"), (0o755, 0, 0));
        assert_eq!(meta("gone/inside"), (0o755, 0, 0));
        assert_eq!(meta("opaque"), (0o755, 0, 0));
        assert_eq!(names(&at.join("gone")), ["inside", "more"]);
    });
}

#[test]
fn sizes_are_recorded() {
    let f = Fixture::new();
    let text = "x".repeat(10_000);
    let image = f.image(vec![
        Archive::new().file("a/f", &text).hard_link("a/g", "a/f"),
    ]);
    let info = f.storage().layer(&image.chain[0]).unwrap();
    assert_eq!((info.size, info.inodes), (10_000, 3));
    assert_eq!(info.disk_bytes, 12_288 + 4096);
    let usage = f.storage().usage();
    assert_eq!((usage.bytes, usage.inodes), (info.disk_bytes, info.inodes));
}

pub(super) fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1024];
    match rustix::fs::lgetxattr(path, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Some(value)
        }
        Err(rustix::io::Errno::NODATA) => None,
        Err(e) => panic!("{path:?} {name}: {e}"),
    }
}
