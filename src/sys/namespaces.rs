//! Namespaces of a sandbox: made on a thread of their own and pinned by bind mounts.
//!
//! The thread unshares, sets up what it has then entered, pins each namespace and ends: it is never one of
//! a pool, so no other work can run in the wrong namespaces. Pins lie below a directory that
//! [`prepare_root`] made a private mount, so that they do not spread into other mount namespaces, where
//! they would keep a removed sandbox's links alive.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags},
    sched::CloneFlags,
};
use rustix::fs::{AtFlags, StatxFlags};

use super::{
    netlink,
    sysctl::{Scope, Sysctl, SysctlError},
    users::{Users, UsersError},
};
use crate::{
    id_map::UserMappings,
    step::{self, Step},
};

/// `f_type` of the file system that namespaces are files of.
const NSFS_MAGIC: i64 = 0x6e73_6673;
/// Longest host name the kernel takes.
const MAX_HOSTNAME: usize = 64;

/// A kind of namespace that can be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Namespace {
    /// Links, addresses, routes, packet filters.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// User and group IDs, and who may do what in the others.
    User,
}

impl Namespace {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Net, Self::Ipc, Self::Uts, Self::User];

    /// Its file's name, both in `/proc/PID/ns` and among the pins.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
        }
    }

    fn flag(self) -> CloneFlags {
        match self {
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::User => CloneFlags::CLONE_NEWUSER,
        }
    }
}

/// Which namespaces a sandbox has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceSet {
    /// Network.
    pub net: bool,
    /// IPC.
    pub ipc: bool,
    /// UTS.
    pub uts: bool,
    /// User, with these mappings; it owns the others.
    pub user: Option<UserMappings>,
}

impl NamespaceSet {
    /// Whether `kind` is in it.
    pub fn contains(&self, kind: Namespace) -> bool {
        match kind {
            Namespace::Net => self.net,
            Namespace::Ipc => self.ipc,
            Namespace::Uts => self.uts,
            Namespace::User => self.user.is_some(),
        }
    }

    /// Those in it.
    pub fn iter(&self) -> impl Iterator<Item = Namespace> {
        Namespace::ALL
            .into_iter()
            .filter(move |kind| self.contains(*kind))
    }

    /// Those in it that a thread can enter.
    fn for_threads(&self) -> impl Iterator<Item = Namespace> {
        self.iter().filter(|kind| *kind != Namespace::User)
    }

    fn owns(&self, scope: Scope) -> bool {
        match scope {
            Scope::Net => self.net,
            Scope::Ipc => self.ipc,
            Scope::Uts => self.uts,
        }
    }
}

/// What is set inside new namespaces before anything runs there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// Host name; needs a UTS namespace.
    pub hostname: Option<String>,
    /// Kernel parameters by name.
    pub sysctls: BTreeMap<String, String>,
}

/// Namespaces that could not be made, pinned or let go.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A kernel parameter is refused or could not be set.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// Not a host name, or no UTS namespace to set it in.
    #[error("hostname {hostname:?} {reason}")]
    Hostname {
        /// As given.
        hostname: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The directory of the pins is there already.
    #[error("pinned namespaces {} are there already", .0.display())]
    Exists(PathBuf),
    /// The directory or a file to mount on could not be made.
    #[error("making {}", path.display())]
    Make {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No thread.
    #[error("starting a thread to make namespaces")]
    Thread(#[source] io::Error),
    /// The thread died.
    #[error("the thread making namespaces {} died", .0.display())]
    Died(PathBuf),
    /// The kernel gave no namespaces.
    #[error("making {set:?}")]
    Unshare {
        /// Which.
        set: NamespaceSet,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel gave no user namespace.
    #[error("making a user namespace of the sandbox")]
    Users(#[source] UsersError),
    /// The new namespaces could not be entered.
    #[error("entering the new {} namespace", kind.file_name())]
    Enter {
        /// Which.
        kind: Namespace,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Host name not set.
    #[error("setting the host name {hostname:?}")]
    SetHostname {
        /// Which.
        hostname: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Loopback stays down.
    #[error("bringing loopback up")]
    Loopback(#[source] io::Error),
    /// Not mounted.
    #[error("mounting on {}", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not taken away.
    #[error("removing {}", path.display())]
    Remove {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes `root`, the directory of all sandboxes' pins, a private mount. Idempotent; blocking, but brief.
pub fn prepare_root(root: &Path) -> Result<(), NamespaceError> {
    let make = |source| NamespaceError::Make {
        path: root.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .map_err(make)?;
    let mount = |source: nix::Error| NamespaceError::Mount {
        path: root.to_owned(),
        source: source.into(),
    };
    let none = None::<&Path>;
    if !is_mount(root).map_err(make)? {
        nix::mount::mount(Some(root), root, none, MsFlags::MS_BIND, none).map_err(mount)?;
    }
    nix::mount::mount(none, root, none, MsFlags::MS_PRIVATE, none).map_err(mount)
}

/// Takes back [`prepare_root`] when no pins are left: unmounts and removes an empty `root`. Blocking, but brief.
pub fn release_root(root: &Path) -> Result<(), NamespaceError> {
    match fs::read_dir(root).map(|mut entries| entries.next().is_some()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(true) => return Ok(()),
        _ => {}
    }
    detach(root)?;
    remove(root, fs::remove_dir(root))
}

/// Makes the namespaces of `set`, sets them up and pins each as a file of the new directory `dir`.
///
/// Loopback is up in a new network namespace. On failure nothing is left; when the caller is gone by the
/// time the work is done, nothing is left either.
pub async fn create_pinned(
    dir: &Path,
    set: NamespaceSet,
    setup: &Setup,
) -> Result<(), NamespaceError> {
    let plan = Plan::new(dir, set, setup)?;
    let (tx, rx) = tokio::sync::oneshot::channel();
    let dir = dir.to_owned();
    let work = {
        let dir = dir.clone();
        move || {
            let made = plan.run();
            if tx.send(made).is_err() {
                // A failure to clean up is met again when start-up compares pins with records.
                let _ = unpin_blocking(&dir);
            }
        }
    };
    std::thread::Builder::new()
        .name("namespaces".into())
        .stack_size(256 * 1024)
        .spawn(work)
        .map_err(NamespaceError::Thread)?;
    rx.await.map_err(|_| NamespaceError::Died(dir))?
}

/// Lets the namespaces pinned below `dir` go and removes it. Idempotent: a directory that is gone, or whose files
/// are no mounts any more since the machine was restarted, is no error.
pub async fn unpin(dir: &Path) -> Result<(), NamespaceError> {
    let path = dir.to_owned();
    tokio::task::spawn_blocking(move || unpin_blocking(&path))
        .await
        .map_err(|_| NamespaceError::Died(dir.to_owned()))?
}

/// Whether `path` is a pinned namespace; a file left from before a restart of the machine is not.
pub fn is_pinned(path: &Path) -> bool {
    // Widths of f_type differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    let pinned = rustix::fs::statfs(path).is_ok_and(|s| s.f_type as i64 == NSFS_MAGIC);
    pinned
}

struct Plan {
    dir: PathBuf,
    set: NamespaceSet,
    hostname: Option<String>,
    sysctls: Vec<Sysctl>,
}

impl Plan {
    fn new(dir: &Path, set: NamespaceSet, setup: &Setup) -> Result<Self, NamespaceError> {
        if let Some(hostname) = &setup.hostname {
            check_hostname(hostname, &set).map_err(|reason| NamespaceError::Hostname {
                hostname: hostname.clone(),
                reason,
            })?;
        }
        let sysctls = setup
            .sysctls
            .iter()
            .map(|(name, value)| Sysctl::parse(name, value, |scope| set.owns(scope)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            dir: dir.to_owned(),
            set,
            hostname: setup.hostname.clone(),
            sysctls,
        })
    }

    fn run(&self) -> Result<(), NamespaceError> {
        // Not recursive: whoever finds the directory there did not make it, and must not undo it.
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Ok(()) => step::reached(Step::PinsDirectoryMade),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(NamespaceError::Exists(self.dir.clone()));
            }
            Err(source) => {
                return Err(NamespaceError::Make {
                    path: self.dir.clone(),
                    source,
                });
            }
        }
        let made = self.make_and_pin();
        if made.is_err() {
            // The first error is the one to tell.
            let _ = unpin_blocking(&self.dir);
        }
        made
    }

    fn make_and_pin(&self) -> Result<(), NamespaceError> {
        let flags = self
            .set
            .for_threads()
            .fold(CloneFlags::empty(), |all, kind| all | kind.flag());
        // Held until all is pinned: nothing else keeps the user namespace.
        let users = match &self.set.user {
            None => {
                nix::sched::unshare(flags).map_err(|e| NamespaceError::Unshare {
                    set: self.set.clone(),
                    source: e.into(),
                })?;
                None
            }
            Some(mappings) => Some(self.enter(mappings, flags)?),
        };
        step::reached(Step::NamespacesMade);
        if let Some(hostname) = &self.hostname {
            nix::unistd::sethostname(hostname).map_err(|e| NamespaceError::SetHostname {
                hostname: hostname.clone(),
                source: e.into(),
            })?;
        }
        let root = self.set.user.as_ref().and_then(UserMappings::root);
        for sysctl in &self.sysctls {
            sysctl.write(root)?;
        }
        if self.set.net {
            netlink::link_up("lo").map_err(NamespaceError::Loopback)?;
        }
        for kind in self.set.for_threads() {
            let own = Path::new("/proc/thread-self/ns").join(kind.file_name());
            self.pin(kind, &own)?;
        }
        match &users {
            Some(users) => self.pin(Namespace::User, &users.path("user")),
            None => Ok(()),
        }
    }

    /// Makes the namespaces with a user namespace that owns them, and enters all but that one.
    fn enter(&self, mappings: &UserMappings, flags: CloneFlags) -> Result<Users, NamespaceError> {
        let users = Users::create(mappings, flags).map_err(NamespaceError::Users)?;
        for kind in self.set.for_threads() {
            let file = users
                .open(kind.file_name())
                .map_err(NamespaceError::Users)?;
            nix::sched::setns(file, kind.flag()).map_err(|e| NamespaceError::Enter {
                kind,
                source: e.into(),
            })?;
        }
        Ok(users)
    }

    fn pin(&self, kind: Namespace, from: &Path) -> Result<(), NamespaceError> {
        let path = self.dir.join(kind.file_name());
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| NamespaceError::Make {
                path: path.clone(),
                source,
            })?;
        step::reached(Step::PinPlaced);
        let none = None::<&Path>;
        nix::mount::mount(Some(from), &path, none, MsFlags::MS_BIND, none).map_err(|e| {
            NamespaceError::Mount {
                path,
                source: e.into(),
            }
        })?;
        step::reached(Step::NamespacePinned);
        Ok(())
    }
}

fn unpin_blocking(dir: &Path) -> Result<(), NamespaceError> {
    for kind in Namespace::ALL {
        let path = dir.join(kind.file_name());
        detach(&path)?;
        step::reached(Step::NamespaceUnpinned);
        remove(&path, fs::remove_file(&path))?;
        step::reached(Step::PinRemoved);
    }
    remove(dir, fs::remove_dir(dir))?;
    step::reached(Step::PinsDirectoryRemoved);
    Ok(())
}

/// Unmounts all that is mounted on `path`.
fn detach(path: &Path) -> Result<(), NamespaceError> {
    let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
    loop {
        match nix::mount::umount2(path, flags) {
            Ok(()) => {}
            // Not mounted, or not there.
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(e) => return remove(path, Err(e.into())),
        }
    }
}

fn remove(path: &Path, result: io::Result<()>) -> Result<(), NamespaceError> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(NamespaceError::Remove {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn is_mount(path: &Path) -> io::Result<bool> {
    let stat = rustix::fs::statx(
        rustix::fs::CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::empty(),
    )?;
    Ok(stat
        .stx_attributes
        .contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}

fn check_hostname(hostname: &str, set: &NamespaceSet) -> Result<(), &'static str> {
    if !set.uts {
        return Err("needs a UTS namespace of the pod's own");
    }
    if hostname.is_empty() {
        return Err("is empty");
    }
    if hostname.len() > MAX_HOSTNAME {
        return Err("is longer than the 64 bytes the kernel keeps");
    }
    if hostname.chars().any(|c| c.is_control() || c == ' ') {
        return Err("has a space or a control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
