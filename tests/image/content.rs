//! That containers see the files of an image as they were packed.

use crate::support::{Entry, Packing, busybox, image_spec, node};

#[tokio::test]
async fn files_of_every_kind_are_unpacked() {
    node(async |node| {
        let entries = [
            Entry::dir("things", 0o750).owner(1000, 50),
            Entry::file("things/file", "content", 0o640).owner(1000, 50),
            Entry::file("things/suid", "x", 0o6755).owner(0, 44),
            Entry::hardlink("things/hard", "things/file"),
            Entry::symlink("things/soft", "file"),
            Entry::symlink("things/dangling", "/not/there"),
            Entry::fifo("things/fifo"),
            Entry::device("things/null", 1, 3),
            Entry::file("things/attributes", "x", 0o644).xattr("user.test", b"value \x00 of it"),
            Entry::file("things/able", std::fs::read("/bin/busybox").unwrap(), 0o755)
                // cap_net_bind_service, permitted and effective.
                .xattr("security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Entry::file("things/with space and ü", "x", 0o600),
            Entry::file("things/empty", "", 0o000),
        ];
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            let image = busybox().layer(&entries, packing);
            node.load(&image, "localhost/things:1").await;
            let script = "cd /things; stat -c '%n %F %a %u %g %h' . file suid hard soft fifo null empty \
                          'with space and ü'; cat soft; readlink dangling; stat -c %t:%T null; stat -c %Y file";
            let output = node
                .prints("things", script, |main| {
                    main.image = Some(image_spec("localhost/things:1"));
                })
                .await;
            let lines: Vec<&str> = output.lines().collect();
            assert_eq!(
                lines,
                [
                    ". directory 750 1000 50 2",
                    "file regular file 640 1000 50 2",
                    "suid regular file 6755 0 44 1",
                    "hard regular file 640 1000 50 2",
                    "soft symbolic link 777 0 0 1",
                    "fifo fifo 644 0 0 1",
                    "null character special file 666 0 0 1",
                    "empty regular empty file 0 0 0 1",
                    "with space and ü regular file 600 0 0 1",
                    "content/not/there",
                    "1:3",
                    "1700000000",
                ]
            );
            let (config, pod) = {
                let config = crate::support::pod("attributes");
                let pod = node.pod(&config).await;
                (config, pod)
            };
            let mut main = crate::support::container("main", &["sleep", "1000000"]);
            main.image = Some(image_spec("localhost/things:1"));
            let id = node.launch(&pod, &config, &main).await;
            let root = format!("/proc/{}/root/things", node.init_pid(&id).await);
            let mut value = [0u8; 64];
            let mut read = |name: &str, attribute: &str| {
                let length = rustix::fs::getxattr(format!("{root}/{name}"), attribute, &mut value[..])
                    .unwrap_or_else(|e| panic!("{attribute} of {name}: {e}"));
                value[..length].to_vec()
            };
            assert_eq!(read("attributes", "user.test"), b"value \x00 of it");
            assert_eq!(read("able", "security.capability")[5], 4);
            node.remove_pod(&pod).await.unwrap();
            node.remove_image("localhost/things:1").await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn upper_layers_hide_what_they_say() {
    node(async |node| {
        let first = [
            Entry::dir("d", 0o755),
            Entry::file("d/kept", "1", 0o644),
            Entry::file("d/changed", "1", 0o644),
            Entry::file("d/removed", "1", 0o644),
            Entry::dir("opaque", 0o755),
            Entry::file("opaque/old", "1", 0o644),
            Entry::dir("gone", 0o755),
            Entry::file("gone/file", "1", 0o644),
            Entry::file("becomes-dir", "1", 0o644),
            Entry::dir("becomes-file", 0o755),
            Entry::file("becomes-file/inner", "1", 0o644),
        ];
        let second = [
            Entry::file("d/changed", "2", 0o600),
            Entry::file("d/.wh.removed", "", 0o644),
            Entry::file("opaque/.wh..wh..opq", "", 0o644),
            Entry::file("opaque/new", "2", 0o644),
            Entry::file(".wh.gone", "", 0o644),
            Entry::dir("becomes-dir", 0o755),
            Entry::file("becomes-dir/inner", "2", 0o644),
            Entry::file("becomes-file", "2", 0o644),
        ];
        let third = [
            Entry::dir("gone", 0o755),
            Entry::file("gone/again", "3", 0o644),
        ];
        let image = busybox()
            .layer(&first, Packing::Gzip)
            .layer(&second, Packing::Zstd)
            .layer(&third, Packing::Plain);
        node.load(&image, "localhost/layers:1").await;
        let script = "ls d opaque gone becomes-dir; cat d/changed becomes-file";
        let output = node
            .prints("layers", script, |main| {
                main.image = Some(image_spec("localhost/layers:1"));
            })
            .await;
        let words: Vec<&str> = output.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "becomes-dir:",
                "inner",
                "d:",
                "changed",
                "kept",
                "gone:",
                "again",
                "opaque:",
                "new",
                "22"
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn writes_stay_with_their_container() {
    node(async |node| {
        let output = node
            .prints(
                "one",
                "echo x >/written; rm /bin/yes; ls /bin | grep -c yes; true",
                |_| (),
            )
            .await;
        assert_eq!(output, "0");
        let output = node
            .prints(
                "two",
                "ls / | grep -c written; ls /bin | grep -c yes",
                |_| (),
            )
            .await;
        assert_eq!(output, "0\n1");
    })
    .await;
}
