//! Paths that come from tenants, resolved inside a directory tree they cannot leave.
//!
//! Every function takes a descriptor of the tree's root and a path inside it. Links, `..` and absolute
//! names are followed as a process chrooted into the tree would follow them; magic links never are.
//! Nothing here depends on the tree holding still: a container may be changing it meanwhile.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Symbolic links followed in one resolution, as many as the kernel follows.
const MAX_LINKS: usize = 40;
/// The longest link-free path a walk may arrive at, as long as the kernel's own limit.
const MAX_REAL: usize = 4096;
/// How often a resolution that raced with a rename is tried again.
const MAX_RACES: usize = 64;

/// A path inside a tree could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RootedError {
    /// The root of a tree could not be opened.
    #[error("open directory {path:?}")]
    OpenRoot {
        /// The root.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// A path inside the tree could not be opened.
    #[error("open {path:?} inside its root")]
    Open {
        /// The path inside the tree.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// A directory inside the tree could not be made.
    #[error("make directory {path:?} inside its root")]
    MakeDir {
        /// The path inside the tree.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// What should be read is no regular file.
    #[error("{path:?} is no regular file but {kind}")]
    NotRegular {
        /// The path inside the tree.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The file is larger than the reader accepts.
    #[error("{path:?} is larger than the limit of {cap} bytes")]
    TooLarge {
        /// The path inside the tree.
        path: PathBuf,
        /// The limit.
        cap: usize,
    },
    /// The file could not be read.
    #[error("read {path:?} inside its root")]
    Read {
        /// The path inside the tree.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

impl RootedError {
    /// The kernel's answer, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::OpenRoot { source, .. }
            | Self::Open { source, .. }
            | Self::MakeDir { source, .. } => Some(*source),
            Self::Read { source, .. } => Errno::from_io_error(source),
            Self::NotRegular { .. } | Self::TooLarge { .. } => None,
        }
    }

    /// Whether the path is simply not there.
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }
}

/// Opens the root of a tree, a path of the host.
pub fn open_root(path: &Path) -> Result<OwnedFd, RootedError> {
    rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|source| RootedError::OpenRoot {
        path: path.to_owned(),
        source,
    })
}

/// Opens `path` inside the tree under `root`; creates nothing unless `flags` say so (then mode 0600).
///
/// To open for reading what a tenant may have made a fifo or a device, use [`read_in_root`].
pub fn open_in_root(
    root: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlags,
) -> Result<OwnedFd, RootedError> {
    let path = path.as_ref();
    resolve(
        root.as_fd(),
        if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        },
        flags,
        ResolveFlags::IN_ROOT,
    )
    .map_err(|source| RootedError::Open {
        path: path.to_owned(),
        source,
    })
}

/// Opens `path` below `dir` without following any link; `path` must be relative and free of `..`.
pub fn open_beneath(dir: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, RootedError> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    resolve(
        dir.as_fd(),
        path,
        flags,
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
    .map_err(|source| RootedError::Open {
        path: path.to_owned(),
        source,
    })
}

/// Reads the regular file at `path` inside the tree, refusing more than `cap` bytes.
///
/// A fifo or a device is refused without being opened.
pub fn read_in_root(
    root: impl AsFd,
    path: impl AsRef<Path>,
    cap: usize,
) -> Result<Vec<u8>, RootedError> {
    let path = path.as_ref();
    let found = open_in_root(root, path, OFlags::PATH)?;
    let failed = |source: Errno| RootedError::Open {
        path: path.to_owned(),
        source,
    };
    let stat = rustix::fs::fstat(&found).map_err(failed)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::RegularFile {
        return Err(RootedError::NotRegular {
            path: path.to_owned(),
            kind: kind_name(kind),
        });
    }
    if u64::try_from(stat.st_size).unwrap_or(0) > cap as u64 {
        return Err(RootedError::TooLarge {
            path: path.to_owned(),
            cap,
        });
    }
    let file = reopen(found.as_fd(), OFlags::RDONLY).map_err(failed)?;
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(cap) + 1);
    std::fs::File::from(file)
        .take(cap as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| RootedError::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() > cap {
        return Err(RootedError::TooLarge {
            path: path.to_owned(),
            cap,
        });
    }
    Ok(bytes)
}

/// Makes the directory at `path` inside the tree and every missing one above it, each with `mode`.
///
/// A link that leads nowhere is followed and its target made, inside the tree like everything else.
/// Returns the directory, open for reading; directories that were there keep their mode.
pub fn mkdir_all_in_root(
    root: impl AsFd,
    path: impl AsRef<Path>,
    mode: Mode,
) -> Result<OwnedFd, RootedError> {
    let path = path.as_ref();
    walk_making(root.as_fd(), path, mode, &mut |_, _| Ok(Step::Keep)).map(|(fd, _)| fd)
}

/// What a visitor of [`walk_making`] wants done with a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Keep,
    /// The visitor removed what was there: make a directory in its place.
    Removed,
}

/// What [`walk_making`] tells its visitor.
#[derive(Debug)]
pub enum Met<'a> {
    /// A directory was made; its descriptor.
    Made(BorrowedFd<'a>),
    /// Something is there that is neither a directory nor a link.
    Blocked {
        /// The directory it is in.
        parent: BorrowedFd<'a>,
        /// Its name there.
        name: &'a OsStr,
    },
}

/// Walks `path` inside the tree, making what is missing, and tells `visit` the link-free path of every
/// directory made and of whatever stands in the way. Returns the last directory and its link-free path.
pub fn walk_making(
    root: BorrowedFd<'_>,
    path: &Path,
    mode: Mode,
    visit: &mut dyn FnMut(&Path, Met<'_>) -> Result<Step, Errno>,
) -> Result<(OwnedFd, PathBuf), RootedError> {
    let fail = |source: Errno| RootedError::MakeDir {
        path: path.to_owned(),
        source,
    };
    let base = resolve(
        root,
        Path::new("."),
        OFlags::PATH | OFlags::DIRECTORY,
        BELOW,
    )
    .map_err(fail)?;
    let mut todo: VecDeque<OsString> = VecDeque::new();
    push_front(&mut todo, path);
    let mut real = PathBuf::new();
    // One descriptor only, however deep the tree: `..` resolves the link-free path again.
    let mut at: Option<OwnedFd> = None;
    let mut links = 0;
    let mut races = 0;
    while let Some(name) = todo.pop_front() {
        if races > MAX_RACES {
            return Err(fail(Errno::AGAIN));
        }
        if name == ".." {
            real.pop();
            at = descend(base.as_fd(), &real).map_err(fail)?;
            continue;
        }
        let here = at.as_ref().unwrap_or(&base).as_fd();
        let found = match resolve(
            here,
            Path::new(&name),
            OFlags::PATH | OFlags::NOFOLLOW,
            ResolveFlags::BENEATH,
        ) {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(here, &name, mode) {
                    Ok(()) => {}
                    Err(Errno::EXIST) => {
                        races += 1;
                        todo.push_front(name);
                        continue;
                    }
                    Err(e) => return Err(fail(e)),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let made = resolve(here, Path::new(&name), flags, BELOW).map_err(fail)?;
                // mkdirat obeys the umask.
                rustix::fs::fchmod(&made, mode).map_err(fail)?;
                push_real(&mut real, &name).map_err(fail)?;
                visit(&real, Met::Made(made.as_fd())).map_err(fail)?;
                at = Some(made);
                continue;
            }
            Err(e) => return Err(fail(e)),
        };
        let stat = rustix::fs::fstat(&found).map_err(fail)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                push_real(&mut real, &name).map_err(fail)?;
                at = Some(found);
            }
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(fail(Errno::LOOP));
                }
                let target = rustix::fs::readlinkat(&found, "", Vec::new()).map_err(fail)?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    real.clear();
                    at = None;
                }
                push_front(&mut todo, &target);
            }
            _ => {
                let met = Met::Blocked {
                    parent: here,
                    name: &name,
                };
                if visit(&real.join(&name), met).map_err(fail)? == Step::Keep {
                    return Err(fail(Errno::NOTDIR));
                }
                races += 1;
                todo.push_front(name);
            }
        }
    }
    let last = at.as_ref().unwrap_or(&base).as_fd();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let fd = resolve(last, Path::new("."), flags, BELOW).map_err(fail)?;
    Ok((fd, real))
}

fn descend(base: BorrowedFd<'_>, real: &Path) -> Result<Option<OwnedFd>, Errno> {
    if real.as_os_str().is_empty() {
        return Ok(None);
    }
    resolve(base, real, OFlags::PATH | OFlags::DIRECTORY, BELOW).map(Some)
}

fn push_real(real: &mut PathBuf, name: &OsStr) -> Result<(), Errno> {
    if real.as_os_str().len() + name.len() + 1 >= MAX_REAL {
        return Err(Errno::NAMETOOLONG);
    }
    real.push(name);
    Ok(())
}

/// Opens again what an `O_PATH` descriptor names, with `flags`, through the host's /proc.
pub fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(
        fd_path(fd),
        flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK,
        Mode::empty(),
    )
}

/// The path under which this process reaches what a descriptor names, for calls that take paths only.
pub fn fd_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Whether `path` inside the tree is there, links at its end followed.
pub fn exists_in_root(root: impl AsFd, path: impl AsRef<Path>) -> Result<bool, RootedError> {
    match open_in_root(root, path, OFlags::PATH) {
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Stats `name` in `dir` without following a link.
pub fn stat_name(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<rustix::fs::Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

const BELOW: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

fn resolve(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    how: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut flags = flags | OFlags::CLOEXEC;
    // openat2 refuses flags that mean nothing together.
    if !flags.contains(OFlags::PATH) {
        flags |= OFlags::NOCTTY;
    }
    let mode = if flags.contains(OFlags::CREATE) {
        Mode::RUSR | Mode::WUSR
    } else {
        Mode::empty()
    };
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(dir, path, flags, mode, how | ResolveFlags::NO_MAGICLINKS) {
            // The kernel asks for another try when a rename anywhere raced with `..`.
            Err(Errno::AGAIN | Errno::INTR) if tries < MAX_RACES => tries += 1,
            done => return done,
        }
    }
}

/// Puts the components of `path` before what is still to be walked.
fn push_front(todo: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => todo.push_front(name.to_owned()),
            Component::ParentDir => todo.push_front(OsStr::from_bytes(b"..").to_owned()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::RegularFile => "a regular file",
        FileType::Unknown => "of unknown type",
    }
}

#[cfg(test)]
mod tests;
