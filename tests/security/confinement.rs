//! Capabilities, privilege, masked paths.

use corten::cri::api::{Capability, ContainerConfig, Int64Value};

use crate::support::{Node, node, security};

/// The sets of the first process, by name.
async fn sets(node: &Node, name: &str, change: impl FnOnce(&mut ContainerConfig)) -> Vec<u64> {
    let output = node
        .prints(name, "grep ^Cap /proc/self/status | cut -f2", change)
        .await;
    output
        .lines()
        .map(|line| u64::from_str_radix(line, 16).unwrap())
        .collect()
}

const INHERITABLE: usize = 0;
const PERMITTED: usize = 1;
const EFFECTIVE: usize = 2;
const BOUNDING: usize = 3;
const AMBIENT: usize = 4;

/// CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE.
const DEFAULT: u64 = 0b101_1111_1011;
const NET_ADMIN: u64 = 1 << 12;
const CHOWN: u64 = 1;

fn all() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("CapBnd"))
        .unwrap();
    u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
}

fn capabilities(add: &[&str], drop: &[&str], ambient: &[&str]) -> Option<Capability> {
    Some(Capability {
        add_capabilities: crate::support::args(add),
        drop_capabilities: crate::support::args(drop),
        add_ambient_capabilities: crate::support::args(ambient),
    })
}

#[tokio::test]
async fn capabilities_are_those_asked_for() {
    node(async |node| {
        for (add, drop, expected) in [
            (&[][..], &[][..], DEFAULT),
            (&["NET_ADMIN"], &["CHOWN"], DEFAULT | NET_ADMIN & !CHOWN),
            (&["cap_net_admin"], &[], DEFAULT | NET_ADMIN),
            (&[], &["ALL"], 0),
            (&["NET_ADMIN"], &["ALL"], NET_ADMIN),
            (&["ALL"], &[], all()),
            (&["ALL"], &["CHOWN"], all() & !CHOWN),
        ] {
            let expected = if drop.contains(&"CHOWN") {
                expected & !CHOWN
            } else {
                expected
            };
            let sets = sets(node, "capabilities", |main| {
                security(main).capabilities = capabilities(add, drop, &[]);
            })
            .await;
            for set in [PERMITTED, EFFECTIVE, BOUNDING] {
                assert_eq!(sets[set], expected, "{add:?} {drop:?}: {sets:x?}");
            }
            // A file's inheritable capabilities must give nothing to who runs it.
            assert_eq!(sets[INHERITABLE], 0, "{sets:x?}");
            assert_eq!(sets[AMBIENT], 0, "{sets:x?}");
        }
    })
    .await;
}

#[tokio::test]
async fn another_user_holds_none_but_the_ambient_ones() {
    node(async |node| {
        let user = Some(Int64Value { value: 1000 });
        let plain = sets(node, "plain", |main| security(main).run_as_user = user).await;
        assert_eq!((plain[EFFECTIVE], plain[PERMITTED]), (0, 0), "{plain:x?}");
        assert_eq!(plain[BOUNDING], DEFAULT);
        let ambient = sets(node, "ambient", |main| {
            security(main).run_as_user = user;
            security(main).capabilities = capabilities(&[], &[], &["NET_ADMIN"]);
        })
        .await;
        assert_eq!(ambient[AMBIENT], NET_ADMIN, "{ambient:x?}");
        assert_eq!(ambient[EFFECTIVE], NET_ADMIN, "{ambient:x?}");
    })
    .await;
}

#[tokio::test]
async fn privilege_lifts_the_bounds() {
    node(async |node| {
        let privileged = sets(node, "privileged", |main| security(main).privileged = true).await;
        assert_eq!(privileged[EFFECTIVE], all(), "{privileged:x?}");
        let script = "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | cut -f2 | tr '\\n' ' '; \
                      grep -q ' /sys sysfs rw' /proc/mounts && echo sys; \
                      test -c /dev/kmsg && echo kmsg; \
                      grep -q ' /proc/sys ' /proc/mounts || echo sysctls; \
                      mount -t tmpfs tmpfs /tmp && echo mounted";
        let output = node
            .prints("privileged", script, |main| {
                security(main).privileged = true
            })
            .await;
        assert_eq!(
            output.split_whitespace().collect::<Vec<_>>(),
            ["0", "0", "sys", "kmsg", "sysctls", "mounted"]
        );
        let output = node
            .prints("plain", &format!("({script}) 2>/dev/null; true"), |_| ())
            .await;
        for word in ["sys", "kmsg", "mounted"] {
            assert!(!output.split_whitespace().any(|w| w == word), "{output}");
        }
    })
    .await;
}

#[tokio::test]
async fn new_privileges_are_had_or_not() {
    node(async |node| {
        for value in [true, false] {
            let output = node
                .prints(
                    "no-new-privs",
                    "grep NoNewPrivs /proc/self/status | cut -f2",
                    |main| {
                        security(main).no_new_privs = value;
                    },
                )
                .await;
            assert_eq!(output, if value { "1" } else { "0" });
        }
    })
    .await;
}

#[tokio::test]
async fn paths_are_masked_or_read_only() {
    node(async |node| {
        let script = "cat /etc/group | wc -c; ls /usr | wc -l; \
                      touch /home/x 2>/dev/null || echo home; \
                      echo x 2>/dev/null >/etc/passwd || echo passwd; cat /etc/passwd | head -n 1";
        let output = node
            .prints("masked", script, |main| {
                security(main).masked_paths =
                    crate::support::args(&["/etc/group", "/usr", "/not/there"]);
                security(main).readonly_paths =
                    crate::support::args(&["/home", "/etc/passwd", "/not/there"]);
            })
            .await;
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(
            lines,
            ["0", "0", "home", "passwd", "root:x:0:0:root:/root:/bin/sh"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_mask_does_not_follow_a_link_of_the_image_out_of_it() {
    node(async |node| {
        let target = node.scratch.dir("outside");
        std::fs::write(target.join("file"), "seen").unwrap();
        let image = crate::support::busybox().layer(
            &[crate::support::Entry::symlink(
                "masked",
                target.to_str().unwrap(),
            )],
            crate::support::Packing::Gzip,
        );
        node.load(&image, "localhost/linked:1").await;
        let _ = node
            .prints("links", "true", |main| {
                main.image = Some(crate::support::image_spec("localhost/linked:1"));
                security(main).masked_paths = vec!["/masked".into()];
            })
            .await;
        assert_eq!(
            std::fs::read_to_string(target.join("file")).unwrap(),
            "seen"
        );
    })
    .await;
}
