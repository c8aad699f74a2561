//! Mounts, their options and their propagation.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::Bench;
use crate::{
    container::spec::{Mount, MountSource, Propagation, ReadOnly},
    oci::{
        mount::{MountError, ResolvedMount, resolve},
        mountinfo::MountTable,
    },
};

fn host(from: &Path, to: &str, read_only: ReadOnly, propagation: Propagation) -> Mount {
    Mount {
        container_path: to.into(),
        source: MountSource::Host(from.into()),
        read_only,
        selinux_relabel: false,
        propagation,
        uid_mappings: vec![],
        gid_mappings: vec![],
        options: vec![],
    }
}

fn look_up(mount: &Mount) -> Result<ResolvedMount, MountError> {
    resolve(mount, None, &MountTable::read().unwrap(), &[])
}

/// A mount on the host, undone when dropped.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(at: &Path) -> Self {
        mount(
            Some("none"),
            at,
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        Self(at.to_owned())
    }

    fn bound(at: &Path, propagation: MsFlags) -> Self {
        let none = None::<&str>;
        mount(Some(at), at, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).unwrap();
        let mounted = Self(at.to_owned());
        mount(none, at, none, propagation | MsFlags::MS_REC, none).unwrap();
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn read_only_stops_at_submounts_unless_recursive() {
    let (bench, mut case) = Bench::new().await;
    let data = bench.path("data");
    std::fs::create_dir_all(data.join("sub")).unwrap();
    let _sub = Mounted::tmpfs(&data.join("sub"));
    let script = "touch /m/x 2>&1; touch /m/sub/x 2>&1 && echo written; true";
    for (read_only, expected) in [
        (ReadOnly::No, "written\n"),
        (
            ReadOnly::Mount,
            "touch: /m/x: Read-only file system\nwritten\n",
        ),
        (
            ReadOnly::Recursive,
            "touch: /m/x: Read-only file system\ntouch: /m/sub/x: Read-only file system\n",
        ),
    ] {
        let asked = host(&data, "/m", read_only, Propagation::Private);
        case.mounts = vec![look_up(&asked).unwrap()];
        assert_eq!(
            bench.run_script(&mut case, script).await,
            expected,
            "{read_only:?}"
        );
    }
}

#[tokio::test]
async fn mounts_propagate_as_asked() {
    for (propagation, into, out_of) in [
        (Propagation::Private, false, false),
        (Propagation::HostToContainer, true, false),
        (Propagation::Bidirectional, true, true),
    ] {
        let (bench, mut case) = Bench::new().await;
        let data = bench.path("data");
        std::fs::create_dir_all(data.join("from-host")).unwrap();
        std::fs::create_dir_all(data.join("from-container")).unwrap();
        let asked = host(&data, "/m", ReadOnly::No, propagation);
        if propagation != Propagation::Private {
            let _private = Mounted::bound(&data, MsFlags::MS_PRIVATE);
            assert!(look_up(&asked).is_err(), "{propagation:?}");
        }
        let _shared = Mounted::bound(&data, MsFlags::MS_SHARED);
        case.mounts = vec![look_up(&asked).unwrap()];
        case.container.security.privileged = true;
        let spec = bench.sleeping(&mut case).await;

        let _new = Mounted::tmpfs(&data.join("from-host"));
        std::fs::write(data.join("from-host/file"), "").unwrap();
        let seen = bench.exec(&spec, "ls /m/from-host");
        assert_eq!(seen == "file\n", into, "{propagation:?}: {seen}");

        let made = bench.exec(
            &spec,
            "mount -t tmpfs x /m/from-container && touch /m/from-container/file && echo made",
        );
        assert_eq!(made, "made\n");
        let reached = data.join("from-container/file").exists();
        assert_eq!(reached, out_of, "{propagation:?}");
        if reached {
            umount2(&data.join("from-container"), MntFlags::MNT_DETACH).unwrap();
        }
    }
}

#[tokio::test]
async fn files_of_the_sandbox_and_deeper_mounts_are_seen() {
    let (bench, mut case) = Bench::new().await;
    std::fs::create_dir(bench.path("a")).unwrap();
    std::fs::write(bench.path("file"), "inner\n").unwrap();
    let private = |name: &str, to| {
        look_up(&host(
            &bench.path(name),
            to,
            ReadOnly::No,
            Propagation::Private,
        ))
        .unwrap()
    };
    case.mounts = vec![private("file", "/a/b"), private("a", "/a")];
    case.container.security.readonly_rootfs = true;
    let script = "cat /a/b /etc/hosts /etc/hostname /etc/resolv.conf; touch /dev/shm/x && echo shm; \
                  touch /x 2>&1; touch /etc/hosts 2>&1; mount -t proc x /proc 2>/dev/null || echo refused";
    assert_eq!(
        bench.run_script(&mut case, script).await,
        "inner\nsandbox hosts\nsandbox hostname\nsandbox resolv.conf\nshm\n\
         touch: /x: Read-only file system\ntouch: /etc/hosts: Read-only file system\nrefused\n"
    );
    assert!(bench.path("shm/x").exists());
}

#[tokio::test]
async fn links_in_the_root_lead_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    for name in ["dev", "etc", "proc", "sys"] {
        let (bench, mut case) = Bench::new().await;
        std::fs::remove_dir_all(case.rootfs.join(name)).unwrap();
        std::os::unix::fs::symlink(outside.path(), case.rootfs.join(name)).unwrap();
        // The runtime would make files by name wherever the first three lead.
        let prepared = crate::oci::rootfs::prepare(&case.rootfs, [], None);
        assert_eq!(prepared.is_ok(), name == "etc", "{name}");
        case.container.command = vec!["/bin/id".into()];
        let spec = case.build().unwrap().spec;
        // The runtime may refuse such a root, or resolve the link within it.
        if prepared.is_ok() && bench.create(&spec).is_ok() {
            bench.handler.delete(&bench.id).await.unwrap();
        }
        assert_eq!(
            std::fs::read_dir(outside.path()).unwrap().count(),
            0,
            "{name}"
        );
        let table = MountTable::read().unwrap();
        let covering = table.covering(outside.path()).unwrap();
        assert_ne!(covering.path, outside.path(), "{name}");
    }
}
