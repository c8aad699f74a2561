//! Volumes and cgroups in a container.
//!
//! What lies on the host is opened before the container's namespaces are entered, as detached mounts; in the
//! container they are put in place, which no link there can lead astray: its root is `/` by then.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use oci_spec::runtime::{LinuxIdMapping, Mount};
use rustix::{
    fs::{FileType, Mode, OFlags, XattrFlags},
    io::Errno,
};

use crate::{
    id_map::{IdMapping, UserMappings},
    lsm::relabel,
    sys::{
        mount::{self, Attributes, Change, Depth, MountPropagationFlags, Param},
        rooted::{self, RootedError},
        users::Users,
    },
};

use super::{
    cgroup::{self, Group},
    error::Failure,
    options::{self, Options},
};

/// Files in /proc that may be replaced: what others compute from cgroups.
const IN_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// A mount that is ready to be put in place.
#[derive(Debug)]
pub(super) struct Planned {
    destination: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Something of the host.
    Copy { mount: OwnedFd, kind: FileType },
    /// A file system that is to be made in the container's namespaces.
    New {
        kind: String,
        params: Vec<Param>,
        options: Options,
        /// SELinux label of its root, for one that cannot have it as an option.
        label: Option<String>,
    },
    /// The hierarchies of cgroup v1: each by its directory's name, with what shows the container's part of it.
    Hierarchies {
        parts: Vec<(PathBuf, OwnedFd)>,
        options: Options,
    },
}

/// What of a container its mounts depend on.
#[derive(Debug)]
pub(super) struct Home<'a> {
    /// Its cgroup.
    pub(super) group: &'a Group,
    /// Its user namespace and the mappings of that, where it has one.
    pub(super) users: Option<&'a File>,
    /// It has a cgroup namespace.
    pub(super) cgroup_namespace: bool,
    /// SELinux label of its files, where they have one.
    pub(super) label: Option<&'a str>,
}

/// Looks up what mounts need of the host.
pub(super) fn plan(mounts: &[Mount], home: &Home<'_>) -> Result<Vec<Planned>, Failure> {
    mounts.iter().map(|m| plan_one(m, home)).collect()
}

fn plan_one(asked: &Mount, home: &Home<'_>) -> Result<Planned, Failure> {
    let destination = asked.destination().clone();
    if !destination.is_absolute() {
        let text = format!(
            "mount destination {} is not absolute",
            destination.display()
        );
        return Err(Failure::Spec(text));
    }
    let options = options::parse(asked.options().as_deref().unwrap_or_default());
    let kind = asked.typ().clone().unwrap_or_default();
    let what = if let Some(depth) = options.bind.or((kind == "bind").then_some(Depth::One)) {
        copy(asked, &options, depth, home.users)?
    } else if kind == "cgroup" && !cgroup::is_unified() {
        hierarchies(home.group, options)?
    } else if kind == "cgroup" && home.users.is_some() && !home.cgroup_namespace {
        // The host's, as the kernel shows them there, but which it does not let be mounted by others.
        let mut host = asked.clone();
        host.set_source(Some(cgroup::MOUNT.into()));
        copy(&host, &options, Depth::Tree, None)?
    } else {
        let kind = match kind.as_str() {
            "cgroup" => "cgroup2".to_owned(),
            "" => {
                return Err(Failure::Spec(format!(
                    "the mount on {} has no type",
                    destination.display()
                )));
            }
            _ => kind,
        };
        let source = asked
            .source()
            .as_ref()
            .map(|s| s.to_string_lossy().into_owned());
        let source = source.unwrap_or_else(|| kind.clone());
        let mut params = vec![Param::Value("source".into(), source)];
        params.extend(options.data.iter().cloned());
        let mut label = None;
        match (home.label, kind.as_str()) {
            (None, _) | (_, "proc" | "sysfs" | "cgroup2") => {}
            // The kernel has one for the namespace, without a label, and makes no other.
            (Some(own), "mqueue") => label = Some(own.to_owned()),
            (Some(own), _) => params.push(Param::Value("context".into(), own.to_owned())),
        }
        What::New {
            kind,
            params,
            options,
            label,
        }
    };
    Ok(Planned { destination, what })
}

/// A copy of what the host has, changed as the options say before anyone can see it.
fn copy(
    asked: &Mount,
    options: &Options,
    depth: Depth,
    users: Option<&File>,
) -> Result<What, Failure> {
    let source = asked.source().clone().unwrap_or_default();
    let shown = format!(
        "{} (for {})",
        source.display(),
        asked.destination().display()
    );
    if !source.is_absolute() {
        return Err(Failure::Spec(format!(
            "mount source {shown} is not absolute"
        )));
    }
    if let Some(param) = options.data.first() {
        return Err(Failure::Unsupported(format!(
            "{param:?} of the mount of {shown}"
        )));
    }
    let failed = |what: &str| Failure::step(format!("{what} {shown}"));
    let mount = mount::copy(&source, depth).map_err(failed("opening"))?;
    let stat = rustix::fs::fstat(&mount)
        .map_err(io::Error::from)
        .map_err(failed("looking at"))?;
    let mappings = (asked.uid_mappings(), asked.gid_mappings());
    let mapped = options.idmap.or(mappings.0.is_some().then_some(Depth::One));
    if let Some(depth) = mapped {
        let made = match mappings {
            (Some(uids), Some(gids)) => {
                Some(own_users(uids, gids).map_err(failed("mapping IDs of"))?)
            }
            _ => None,
        };
        let users = made.as_ref().map(AsFd::as_fd).or(users.map(AsFd::as_fd));
        let users = users.ok_or_else(|| Failure::Spec(format!("no ID mappings for {shown}")))?;
        mount::map_owners(mount.as_fd(), users, depth).map_err(failed("mapping IDs of"))?;
    }
    let (propagation, reach) = options
        .propagation
        .unwrap_or((MountPropagationFlags::PRIVATE, Depth::Tree));
    let changes = [
        (options.own, Depth::One),
        (options.tree, Depth::Tree),
        (
            Change {
                propagation,
                ..Change::default()
            },
            reach,
        ),
    ];
    for (change, depth) in changes {
        if change != Change::default() {
            mount::change_attributes(mount.as_fd(), change, depth)
                .map_err(failed("setting options of"))?;
        }
    }
    let kind = FileType::from_raw_mode(stat.st_mode);
    Ok(What::Copy { mount, kind })
}

fn own_users(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> io::Result<OwnedFd> {
    let list = |all: &[LinuxIdMapping]| {
        all.iter()
            .map(|one| IdMapping {
                host_id: one.host_id(),
                container_id: one.container_id(),
                length: one.size(),
            })
            .collect()
    };
    let mappings = UserMappings {
        uids: list(uids),
        gids: list(gids),
    };
    Users::mapping(&mappings).map_err(io::Error::other)
}

/// The container's part of each hierarchy of cgroup v1.
fn hierarchies(group: &Group, options: Options) -> Result<What, Failure> {
    let failed = || Failure::step("opening the container's cgroups");
    let mut parts = Vec::new();
    for (root, dir) in group.directories_v1().map_err(failed())? {
        let mount = mount::copy(&dir, Depth::One).map_err(failed())?;
        let following = Change {
            propagation: MountPropagationFlags::DOWNSTREAM,
            ..options.own
        };
        mount::change_attributes(mount.as_fd(), following, Depth::One).map_err(failed())?;
        parts.push((root.file_name().unwrap_or_default().into(), mount));
    }
    Ok(What::Hierarchies { parts, options })
}

/// Puts mounts in place, in the container.
pub(super) fn attach(planned: &[Planned]) -> Result<(), Failure> {
    let root = rooted::open_root(Path::new("/")).map_err(|e| Failure::Process(e.to_string()))?;
    for mount in planned {
        mount.attach(root.as_fd()).map_err(|source| Failure::Step {
            what: format!("mounting {}", mount.destination.display()),
            source,
        })?;
    }
    Ok(())
}

impl Planned {
    fn attach(&self, root: rustix::fd::BorrowedFd<'_>) -> io::Result<()> {
        match &self.what {
            What::Copy { mount, kind } => {
                let target = target(root, &self.destination, *kind)?;
                self.check_target(&target)?;
                mount::attach_to(mount.as_fd(), target.as_fd())
            }
            What::New {
                kind,
                params,
                options,
                label,
            } => {
                let target = target(root, &self.destination, FileType::Directory)?;
                self.check_target(&target)?;
                let made = mount::detached(kind, params, Attributes::empty())?;
                let mut change = options.own;
                if let Some((propagation, _)) = options.propagation {
                    change.propagation = propagation;
                }
                mount::change_attributes(made.as_fd(), change, Depth::One)?;
                mount::attach_to(made.as_fd(), target.as_fd())?;
                let Some(label) = label else {
                    return Ok(());
                };
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let made = rooted::open_in_root(root, &self.destination, flags);
                let made = made.map_err(|e| plain(&e))?;
                let none = XattrFlags::empty();
                Ok(rustix::fs::fsetxattr(
                    made,
                    relabel::ATTRIBUTE,
                    label.as_bytes(),
                    none,
                )?)
            }
            What::Hierarchies { parts, options } => {
                let target = target(root, &self.destination, FileType::Directory)?;
                attach_hierarchies(target.as_fd(), parts, options)
            }
        }
    }

    /// Nothing is mounted over the files of processes: other programs trust what they read there.
    fn check_target(&self, target: &OwnedFd) -> io::Result<()> {
        let in_proc = is_in_proc(target)?;
        let allowed = IN_PROC
            .iter()
            .any(|path| self.destination == Path::new(path));
        if in_proc && !allowed {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is inside /proc",
            ));
        }
        Ok(())
    }
}

/// Whether something is in a file system of processes.
pub(super) fn is_in_proc(file: impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(file)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// A directory of the hierarchies, and links for controllers that share one.
fn attach_hierarchies(
    target: rustix::fd::BorrowedFd<'_>,
    parts: &[(PathBuf, OwnedFd)],
    options: &Options,
) -> io::Result<()> {
    let params = [
        Param::Value("source".into(), "tmpfs".into()),
        Param::Value("mode".into(), "755".into()),
    ];
    let tmpfs = mount::detached("tmpfs", &params, Attributes::empty())?;
    mount::attach_to(tmpfs.as_fd(), target)?;
    for (name, part) in parts {
        rustix::fs::mkdirat(&tmpfs, name, Mode::from(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::openat(&tmpfs, name, flags, Mode::empty())?;
        mount::attach_to(part.as_fd(), place.as_fd())?;
        let text = name.to_string_lossy();
        for one in text.split(',').filter(|_| text.contains(',')) {
            rustix::fs::symlinkat(&*text, &tmpfs, one)?;
        }
    }
    mount::change_attributes(tmpfs.as_fd(), options.own, Depth::One)
}

/// What a mount goes on: made where it is missing, as a directory or a file.
fn target(root: rustix::fd::BorrowedFd<'_>, path: &Path, kind: FileType) -> io::Result<OwnedFd> {
    match rooted::open_in_root(root, path, OFlags::PATH) {
        Ok(found) => return Ok(found),
        Err(e) if e.errno() == Some(Errno::NOENT) => {}
        Err(e) => return Err(plain(&e)),
    }
    if kind == FileType::Directory {
        rooted::mkdir_all_in_root(root, path, Mode::from(0o755)).map_err(|e| plain(&e))?;
    } else {
        let parent = path.parent().unwrap_or(Path::new("/"));
        rooted::mkdir_all_in_root(root, parent, Mode::from(0o755)).map_err(|e| plain(&e))?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
        let made = rooted::open_in_root(root, path, flags).map_err(|e| plain(&e))?;
        rustix::fs::fchmod(&made, Mode::from(0o644))?;
    }
    rooted::open_in_root(root, path, OFlags::PATH).map_err(|e| plain(&e))
}

fn plain(error: &RootedError) -> io::Error {
    match error.errno() {
        Some(errno) => errno.into(),
        None => io::Error::other(error.to_string()),
    }
}

/// Makes what is mounted on a path go away; for what only stood in for something.
pub(super) fn detach(path: &str) -> io::Result<()> {
    mount::detach_all(Path::new(path)).map(drop)
}

/// Hides paths: files are empty then, directories too, and nothing can be written.
pub(super) fn hide<'a>(paths: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let root = rooted::open_root(Path::new("/")).map_err(|e| plain(&e))?;
    let null = rooted::open_in_root(&root, "/dev/null", OFlags::PATH | OFlags::NOFOLLOW)
        .map_err(|e| plain(&e))?;
    let stat = rustix::fs::fstat(&null)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if !is_null {
        return Err(io::Error::other("/dev/null is another file"));
    }
    for path in paths {
        let Some(found) = existing(root.as_fd(), path)? else {
            continue;
        };
        let stat = rustix::fs::fstat(&found)?;
        let cover = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let source = Param::Value("source".into(), "tmpfs".into());
                let params = [source, Param::Flag("ro".into())];
                mount::detached("tmpfs", &params, Attributes::MOUNT_ATTR_RDONLY)?
            }
            _ => mount::clone_tree(null.as_fd())?,
        };
        mount::attach_to(cover.as_fd(), found.as_fd())?;
    }
    Ok(())
}

/// Makes paths read-only, with what is mounted there now as it is.
pub(super) fn protect<'a>(paths: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let root = rooted::open_root(Path::new("/")).map_err(|e| plain(&e))?;
    for path in paths {
        let Some(found) = existing(root.as_fd(), path)? else {
            continue;
        };
        let copy = mount::copy_of(found.as_fd(), Depth::Tree)?;
        let change = Change {
            set: Attributes::MOUNT_ATTR_RDONLY,
            ..Change::default()
        };
        mount::change_attributes(copy.as_fd(), change, Depth::One)?;
        mount::attach_to(copy.as_fd(), found.as_fd())?;
    }
    Ok(())
}

/// Makes the container's root read-only, and nothing mounted in it.
pub(super) fn protect_root() -> io::Result<()> {
    let root = File::open("/")?;
    let change = Change {
        set: Attributes::MOUNT_ATTR_RDONLY,
        ..Change::default()
    };
    mount::change_attributes(root.as_fd(), change, Depth::One)
}

fn existing(root: rustix::fd::BorrowedFd<'_>, path: &str) -> io::Result<Option<OwnedFd>> {
    match rooted::open_in_root(root, OsStr::new(path), OFlags::PATH) {
        Ok(found) => Ok(Some(found)),
        Err(e) if matches!(e.errno(), Some(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
        Err(e) => Err(plain(&e)),
    }
}
