use super::*;
use crate::id_map::IdMapping;
use nix::sched::setns;
use std::os::unix::fs::MetadataExt;

const ALL: NamespaceSet = NamespaceSet {
    net: true,
    ipc: true,
    uts: true,
    user: None,
};

/// Runs `f` on a thread that has entered the pinned namespaces.
fn inside<T: Send + 'static>(dir: &Path, f: impl FnOnce() -> T + Send + 'static) -> T {
    let dir = dir.to_owned();
    std::thread::spawn(move || {
        for kind in ALL.iter() {
            if let Ok(file) = File::open(dir.join(kind.file_name())) {
                setns(file, kind.flag()).unwrap();
            }
        }
        f()
    })
    .join()
    .unwrap()
}

fn mounts_below(path: &Path) -> usize {
    let path = path.to_str().unwrap();
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|l| l.contains(path))
        .count()
}

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        prepare_root(&root.path()).unwrap();
        root
    }
    fn path(&self) -> PathBuf {
        self.0.path().join("ns")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.path(), MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn are_set_up_pinned_and_let_go() {
    let root = Root::new();
    let dir = root.path().join("pod");
    let setup = Setup {
        hostname: Some("corten-test".into()),
        sysctls: BTreeMap::from([
            ("kernel.shmmax".into(), "123456".into()),
            ("fs.mqueue.msg_max".into(), "7".into()),
            ("kernel.domainname".into(), "example.test".into()),
            ("net.ipv4.ip_unprivileged_port_start".into(), "80".into()),
            ("net.ipv4.ping_group_range".into(), "0 1000".into()),
        ]),
    };
    create_pinned(&dir, ALL, &setup).await.unwrap();
    for kind in ALL.iter() {
        assert!(is_pinned(&dir.join(kind.file_name())));
    }
    let read = |path: &'static str| inside(&dir, move || fs::read_to_string(path).unwrap());
    assert_eq!(read("/proc/sys/kernel/hostname"), "corten-test\n");
    assert_eq!(read("/proc/sys/kernel/domainname"), "example.test\n");
    assert_eq!(read("/proc/sys/kernel/shmmax"), "123456\n");
    assert_eq!(read("/proc/sys/fs/mqueue/msg_max"), "7\n");
    assert_eq!(
        read("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        "80\n"
    );
    let up = inside(&dir, || netlink::link_flags("lo").unwrap() & libc::IFF_UP);
    assert_ne!(up, 0);
    assert_ne!(
        fs::read_to_string("/proc/sys/kernel/shmmax").unwrap(),
        "123456\n",
        "the host keeps its own"
    );

    assert!(matches!(
        create_pinned(&dir, ALL, &setup).await,
        Err(NamespaceError::Exists(_))
    ));
    assert!(is_pinned(&dir.join("net")), "a second try undoes nothing");

    unpin(&dir).await.unwrap();
    assert!(!dir.exists());
    unpin(&dir).await.unwrap();
    assert_eq!(mounts_below(&root.path()), 1);
    release_root(&root.path()).unwrap();
    assert_eq!(mounts_below(&root.path()), 0);
    assert!(!root.path().exists());
}

#[tokio::test]
async fn a_subset_leaves_the_others_the_hosts() {
    let root = Root::new();
    let dir = root.path().join("pod");
    let set = NamespaceSet {
        ipc: true,
        ..NamespaceSet::default()
    };
    create_pinned(&dir, set, &Setup::default()).await.unwrap();
    assert!(is_pinned(&dir.join("ipc")));
    assert!(!dir.join("net").exists());
    unpin(&dir).await.unwrap();
}

#[tokio::test]
async fn a_failure_leaves_nothing() {
    let root = Root::new();
    let dir = root.path().join("pod");
    for (name, value) in [
        ("net.ipv4.no_such_thing", "1"),
        ("kernel.shmmax", "not a number"),
        ("kernel.core_pattern", "|/bin/sh"),
    ] {
        let setup = Setup {
            hostname: None,
            sysctls: BTreeMap::from([(name.into(), value.into())]),
        };
        let error = create_pinned(&dir, ALL, &setup).await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(!dir.exists());
    }
    assert_eq!(mounts_below(&root.path()), 1);
}

fn mapped(first: u32) -> NamespaceSet {
    let list = vec![IdMapping {
        host_id: first,
        container_id: 0,
        length: 65536,
    }];
    NamespaceSet {
        user: Some(UserMappings {
            uids: list.clone(),
            gids: list,
        }),
        ..ALL
    }
}

#[tokio::test]
async fn a_user_namespace_owns_the_others() {
    let root = Root::new();
    let dir = root.path().join("pod");
    let setup = Setup {
        hostname: Some("mapped".into()),
        sysctls: BTreeMap::from([
            ("kernel.shmmax".into(), "123456".into()),
            ("fs.mqueue.msg_max".into(), "7".into()),
            ("kernel.domainname".into(), "example.test".into()),
            ("net.ipv4.ip_unprivileged_port_start".into(), "80".into()),
        ]),
    };
    create_pinned(&dir, mapped(200_000), &setup).await.unwrap();
    let user = fs::metadata(dir.join("user")).unwrap();
    for kind in ALL.iter() {
        let path = dir.join(kind.file_name());
        assert!(is_pinned(&path));
        let owner = owner_of(&path);
        assert_eq!(owner, (user.dev(), user.ino()), "{kind:?}");
    }
    let read = |path: &'static str| inside(&dir, move || fs::read_to_string(path).unwrap());
    assert_eq!(read("/proc/sys/kernel/hostname"), "mapped\n");
    assert_eq!(read("/proc/sys/kernel/domainname"), "example.test\n");
    assert_eq!(read("/proc/sys/kernel/shmmax"), "123456\n");
    assert_eq!(read("/proc/sys/fs/mqueue/msg_max"), "7\n");
    assert_eq!(
        read("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        "80\n"
    );
    unpin(&dir).await.unwrap();
    assert_eq!(mounts_below(&root.path()), 1);
}

/// Device and inode of the user namespace that owns a pinned one.
fn owner_of(path: &Path) -> (u64, u64) {
    let file = File::open(path).unwrap();
    let owner = crate::sys::users::owner(&file).unwrap();
    let data = owner.metadata().unwrap();
    (data.dev(), data.ino())
}

#[tokio::test]
async fn a_failure_with_a_user_namespace_leaves_nothing() {
    let root = Root::new();
    let dir = root.path().join("pod");
    let setup = Setup {
        hostname: None,
        sysctls: BTreeMap::from([("kernel.shmmax".into(), "not a number".into())]),
    };
    let error = create_pinned(&dir, mapped(200_000), &setup).await;
    assert!(error.unwrap_err().to_string().contains("kernel.shmmax"));
    assert!(!dir.exists());
    let error = create_pinned(&dir, mapped(u32::MAX - 10), &Setup::default()).await;
    assert!(matches!(error, Err(NamespaceError::Users(_))));
    assert!(!dir.exists());
    assert_eq!(mounts_below(&root.path()), 1);
}

#[tokio::test]
async fn files_that_are_no_mounts_any_more_are_removed() {
    let root = Root::new();
    let dir = root.path().join("pod");
    create_pinned(&dir, ALL, &Setup::default()).await.unwrap();
    detach(&dir.join("net")).unwrap();
    assert!(!is_pinned(&dir.join("net")));
    fs::remove_file(dir.join("net")).unwrap();
    detach(&dir.join("ipc")).unwrap();
    unpin(&dir).await.unwrap();
    assert!(!dir.exists());
}

#[test]
fn pins_do_not_propagate() {
    let root = Root::new();
    prepare_root(&root.path()).unwrap();
    let path = root.path();
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line: Vec<_> = info
        .lines()
        .filter(|l| l.contains(path.to_str().unwrap()))
        .collect();
    assert_eq!(line.len(), 1, "prepared once: {line:?}");
    assert!(
        !line[0].contains("shared:") && !line[0].contains("master:"),
        "{line:?}"
    );
}

#[tokio::test]
async fn bad_hostnames_are_refused() {
    let root = Root::new();
    let dir = root.path().join("pod");
    for name in ["", "a\nb", "a b", &"x".repeat(65)] {
        let setup = Setup {
            hostname: Some(name.into()),
            ..Setup::default()
        };
        assert!(create_pinned(&dir, ALL, &setup).await.is_err());
        assert!(!dir.exists());
    }
    let setup = Setup {
        hostname: Some("x".into()),
        ..Setup::default()
    };
    let own = NamespaceSet { uts: false, ..ALL };
    assert!(create_pinned(&dir, own, &setup).await.is_err());
}
