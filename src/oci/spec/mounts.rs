//! What a container finds mounted.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::{SpecError, SpecInput, namespaces::mappings, paths::clean};
use crate::{
    container::spec::{MountSource, Propagation, ReadOnly},
    id_map::is_mapped,
    oci::mount::ResolvedMount,
    pod::spec::Shared,
};

/// Group that owns terminals.
const TTY_GROUP: u32 = 5;

/// Options of a request that every runtime knows.
const OPTIONS: [&str; 15] = [
    "noexec",
    "exec",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noatime",
    "atime",
    "nodiratime",
    "diratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "nosymfollow",
];

/// All mounts in the order they are to be made, and the propagation that the root needs for them.
pub(super) fn mounts(
    input: &SpecInput<'_>,
) -> Result<(Vec<Mount>, Option<&'static str>), SpecError> {
    let mut requested = Vec::new();
    for mount in input.mounts {
        requested.push(request(mount, input)?);
    }
    let wanted: Vec<PathBuf> = requested.iter().map(|m| m.destination().clone()).collect();

    // A default gives way to a request for its place or for one above it.
    let mut all = defaults(input);
    all.retain(|mount| {
        !wanted
            .iter()
            .any(|path| mount.destination().starts_with(path))
    });

    let mut later = files(input);
    later.retain(|mount| !wanted.contains(mount.destination()));
    later.append(&mut requested);
    // What lies deeper comes later, or it would be hidden; the request's order decides the rest.
    later.sort_by_key(|mount| mount.destination().components().count());
    all.append(&mut later);

    let root =
        input.mounts.iter().map(|m| m.mount.propagation).max_by_key(
            |propagation| match propagation {
                Propagation::Private => 0,
                Propagation::HostToContainer => 1,
                Propagation::Bidirectional => 2,
            },
        );
    let root = match root {
        None | Some(Propagation::Private) => None,
        Some(Propagation::HostToContainer) => Some("rslave"),
        Some(Propagation::Bidirectional) => Some("rshared"),
    };
    Ok((all, root))
}

fn mount(to: &str, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(to.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|o| (*o).to_owned()).collect()));
    mount
}

/// The kernel's own file systems.
pub(super) fn kernel_basics(terminals_mapped: bool) -> Vec<Mount> {
    let mut devpts = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    if terminals_mapped {
        devpts.push("gid=5");
    }
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/dev/pts", "devpts", "devpts", &devpts),
    ]
}

fn defaults(input: &SpecInput<'_>) -> Vec<Mount> {
    let user = input.pod.namespaces.user.as_ref();
    let access = if input.container.security.privileged {
        "rw"
    } else {
        "ro"
    };
    let mut all = kernel_basics(user.is_none_or(|maps| is_mapped(TTY_GROUP, &maps.gids)));
    let plain = ["nosuid", "noexec", "nodev"];
    all.push(mount("/dev/mqueue", "mqueue", "mqueue", &plain));
    let host_network = input.pod.namespaces.network == Shared::Node;
    if user.is_some() && host_network {
        // Only who owns the network namespace may mount this file system anew.
        let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev", access];
        all.push(mount("/sys", "bind", "/sys", &options));
    } else {
        all.push(mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", access],
        ));
        all.push(mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", access],
        ));
    }
    // With the host's IPC namespace goes the host's shared memory.
    let host_shm = (input.pod.namespaces.ipc == Shared::Node).then(|| PathBuf::from("/dev/shm"));
    match host_shm.as_ref().or(input.files.shm.as_ref()) {
        Some(shm) => all.push(mount(
            "/dev/shm",
            "bind",
            shm,
            &["rbind", "rprivate", "nosuid", "noexec", "nodev", "rw"],
        )),
        None => all.push(mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        )),
    }
    all
}

/// Files of the sandbox; what belongs to a read-only root is read-only too.
fn files(input: &SpecInput<'_>) -> Vec<Mount> {
    let access = if input.container.security.readonly_rootfs {
        "ro"
    } else {
        "rw"
    };
    [
        ("/etc/hostname", &input.files.hostname),
        ("/etc/hosts", &input.files.hosts),
        ("/etc/resolv.conf", &input.files.resolv_conf),
    ]
    .into_iter()
    .filter_map(|(to, from)| {
        let options = ["bind", "rprivate", "nosuid", "noexec", "nodev", access];
        Some(mount(to, "bind", from.as_ref()?, &options))
    })
    .collect()
}

fn request(resolved: &ResolvedMount, input: &SpecInput<'_>) -> Result<Mount, SpecError> {
    let asked = &resolved.mount;
    let to = clean("mount destination", &asked.container_path)?;
    if to == Path::new("/") {
        return Err(SpecError::MountOnRoot(asked.container_path.clone()));
    }
    if asked.propagation == Propagation::Bidirectional && input.pod.namespaces.user.is_some() {
        return Err(SpecError::UsersPropagation(to));
    }
    let mut options = vec!["rbind".to_owned()];
    options.push(
        match asked.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        }
        .to_owned(),
    );
    options.push(access(resolved, &to, input)?.to_owned());
    if matches!(asked.source, MountSource::Image { .. }) {
        // Runtimes drop what the view on the host has and the specification does not say.
        options.extend(["nosuid", "nodev"].map(str::to_owned));
    }
    for option in &asked.options {
        let known = OPTIONS.contains(&option.as_str());
        let told = input.features.told && !input.features.mount_options.contains(option);
        if !known || told {
            return Err(SpecError::MountOption {
                option: option.clone(),
                destination: to,
            });
        }
        if !options.contains(option) {
            options.push(option.clone());
        }
    }
    let mut mount = Mount::default();
    mount
        .set_destination(to.clone())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(resolved.source.clone()))
        .set_options(Some(options));
    if !asked.uid_mappings.is_empty() || !asked.gid_mappings.is_empty() {
        if !input.features.idmap_mounts {
            return Err(SpecError::NoIdMappedMounts(to));
        }
        mount
            .set_uid_mappings(Some(mappings(&asked.uid_mappings)))
            .set_gid_mappings(Some(mappings(&asked.gid_mappings)));
    }
    Ok(mount)
}

fn access(
    resolved: &ResolvedMount,
    to: &Path,
    input: &SpecInput<'_>,
) -> Result<&'static str, SpecError> {
    let lacking = |by| SpecError::NoRecursiveReadOnly {
        destination: to.to_owned(),
        by,
    };
    match resolved.mount.read_only {
        ReadOnly::No => Ok("rw"),
        ReadOnly::Mount => Ok("ro"),
        ReadOnly::Recursive if resolved.mount.propagation != Propagation::Private => {
            Err(SpecError::RecursivePropagation(to.to_owned()))
        }
        ReadOnly::Recursive if !input.node.recursive_read_only() => Err(lacking("the kernel")),
        ReadOnly::Recursive if !input.features.recursive_read_only => Err(lacking("the runtime")),
        ReadOnly::Recursive => Ok("rro"),
    }
}
