//! What is mounted, where, how and in which order.

use proptest::prelude::*;

use super::*;

#[test]
fn the_sandbox_gives_its_files() {
    let mut case = Case::new();
    let spec = case.spec();
    assert_eq!(
        mount_at(&spec, "/etc/hosts").unwrap().source().as_deref(),
        Some(Path::new("/run/s/hosts"))
    );
    assert!(has_option(&spec, "/etc/hosts", "rw"));
    assert_eq!(
        mount_at(&spec, "/dev/shm").unwrap().source().as_deref(),
        Some(Path::new("/run/s/shm"))
    );
    case.container.security.readonly_rootfs = true;
    assert!(has_option(&case.spec(), "/etc/resolv.conf", "ro"));
    case.mounts = vec![bind("/etc/hosts", "/kubelet/hosts")];
    let spec = case.spec();
    assert_eq!(
        order(&spec).iter().filter(|p| **p == "/etc/hosts").count(),
        1
    );
    assert_eq!(
        mount_at(&spec, "/etc/hosts").unwrap().source().as_deref(),
        Some(Path::new("/kubelet/hosts"))
    );
    case.pod.namespaces.ipc = Shared::Node;
    assert_eq!(
        mount_at(&case.spec(), "/dev/shm")
            .unwrap()
            .source()
            .as_deref(),
        Some(Path::new("/dev/shm"))
    );
}

#[test]
fn mounts_come_shallow_first_and_replace_defaults() {
    let mut case = Case::new();
    case.mounts = vec![
        bind("/a/b/c", "/h1"),
        bind("/a", "/h2"),
        bind("/a/b", "/h3"),
        bind("/dev", "/h4"),
        bind("//dev/./shm/", "/h5"),
    ];
    let spec = case.spec();
    let order = order(&spec);
    let at = |path| order.iter().position(|p| *p == path).unwrap();
    assert!(at("/a") < at("/a/b") && at("/a/b") < at("/a/b/c"));
    assert!(at("/dev") < at("/dev/shm"));
    // The request's own directory brings no terminals or queues of ours.
    assert!(!order.contains(&"/dev/pts") && !order.contains(&"/dev/mqueue"));
    assert_eq!(
        mount_at(&spec, "/dev/shm").unwrap().source().as_deref(),
        Some(Path::new("/h5"))
    );
    assert_eq!(order[0], "/proc");
}

#[test]
fn mount_options() {
    let mut case = Case::new();
    let mut ask = |change: &dyn Fn(&mut ResolvedMount)| {
        let mut mount = bind("/m", "/h");
        change(&mut mount);
        case.mounts = vec![mount];
        case.build().map(|built| {
            let linux = built.spec.linux().clone().unwrap();
            let options = mount_at(&built.spec, "/m")
                .unwrap()
                .options()
                .clone()
                .unwrap();
            (options.join(","), linux.rootfs_propagation().clone())
        })
    };
    assert_eq!(ask(&|_| {}), Ok(("rbind,rprivate,rw".into(), None)));
    assert_eq!(
        ask(&|m| m.mount.read_only = ReadOnly::Mount),
        Ok(("rbind,rprivate,ro".into(), None))
    );
    assert_eq!(
        ask(&|m| m.mount.read_only = ReadOnly::Recursive),
        Ok(("rbind,rprivate,rro".into(), None))
    );
    assert_eq!(
        ask(&|m| m.mount.propagation = Propagation::HostToContainer),
        Ok(("rbind,rslave,rw".into(), Some("rslave".into())))
    );
    assert_eq!(
        ask(&|m| m.mount.propagation = Propagation::Bidirectional),
        Ok(("rbind,rshared,rw".into(), Some("rshared".into())))
    );
    assert_eq!(
        ask(&|m| m.mount.options = texts(&["noexec", "nosuid"])),
        Ok(("rbind,rprivate,rw,noexec,nosuid".into(), None))
    );
    assert_eq!(
        ask(&|m| {
            m.mount.read_only = ReadOnly::Recursive;
            m.mount.propagation = Propagation::HostToContainer;
        }),
        Err(SpecError::RecursivePropagation("/m".into()))
    );
    for bad in ["rw", "rshared", "uid=0", "mode=777", "", "remount"] {
        assert!(
            matches!(
                ask(&|m| m.mount.options = texts(&[bad])),
                Err(SpecError::MountOption { .. })
            ),
            "{bad}"
        );
    }
    let map = IdMapping {
        host_id: 0,
        container_id: 0,
        length: 1,
    };
    assert_eq!(
        ask(&|m| m.mount.uid_mappings = vec![map]),
        Err(SpecError::NoIdMappedMounts("/m".into()))
    );
    assert_eq!(
        ask(&|m| m.mount.container_path = "/".into()),
        Err(SpecError::MountOnRoot("/".into()))
    );
    for bad in ["m", "/../m", ""] {
        assert!(matches!(
            ask(&|m| m.mount.container_path = bad.into()),
            Err(SpecError::Path { .. })
        ));
    }
    case.features.recursive_read_only = false;
    let mut mount = bind("/m", "/h");
    mount.mount.read_only = ReadOnly::Recursive;
    case.mounts = vec![mount];
    assert_eq!(
        case.build().unwrap_err().to_string(),
        "recursive read-only mount on \"/m\" is not supported by the runtime"
    );
}

proptest! {
    #[test]
    fn mounts_are_absolute_and_ordered(paths in proptest::collection::vec("(/[a-c]{1,2}){1,4}", 0..8)) {
        let mut case = Case::new();
        case.mounts = paths.iter().map(|path| bind(path, "/h")).collect();
        let spec = case.spec();
        let order = order(&spec);
        for (at, path) in order.iter().enumerate() {
            prop_assert!(path.starts_with('/'));
            // Nothing that comes later hides what came before.
            for earlier in &order[..at] {
                prop_assert!(earlier == path || !Path::new(earlier).starts_with(path));
            }
        }
        for path in &paths {
            prop_assert!(order.contains(&path.as_str()));
        }
    }
}
