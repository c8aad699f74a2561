//! The unix socket of the server: made, taken over from a dead predecessor, removed.

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    },
};
use rustix::fs::{Mode, OFlags};

/// Owner and group may connect.
const MODE: u32 = 0o660;
/// Mode of a directory made for the socket. Whoever may use the socket must get through to it, but has no
/// business listing what else lies there.
const DIRECTORY_MODE: u32 = 0o711;
/// Longest path a socket address holds beside its NUL.
const PATH_MAX: usize = 107;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How often the directory's lock is tried, and how long between.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Not usable as the path of a socket.
    #[error("socket path {path:?} {problem}")]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Its directory could not be made.
    #[error("cannot make the socket's directory {path:?}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its directory is locked by someone else.
    #[error("cannot lock the socket's directory {path:?}")]
    Lock {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A server answers there.
    #[error("another server answers on {0:?}; stop it, or listen elsewhere")]
    InUse(PathBuf),
    /// Something that is no socket lies there.
    #[error("{0:?} is there and is no socket; remove it, or listen elsewhere")]
    NoSocket(PathBuf),
    /// Whether a server answers there cannot be told.
    #[error("cannot tell whether a server answers on {path:?}")]
    Probe {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The dead predecessor's socket could not be removed.
    #[error("cannot remove the stale socket {path:?}")]
    Remove {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket could not be made.
    #[error("cannot listen on {path:?}")]
    Listen {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A socket that listens.
#[derive(Debug)]
pub struct Socket {
    listener: std::os::unix::net::UnixListener,
    place: Place,
}

/// Where a socket lies, and which one it is.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    directory: PathBuf,
    /// Held so that no other file gets its inode number meanwhile.
    file: File,
}

impl Socket {
    /// Makes a socket at `path`, in a directory that is made when missing.
    ///
    /// A socket that is there already is replaced only when nobody answers on it.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let directory = directory_of(path)?;
        make_directory(&directory)?;
        let _lock = lock(&directory)?;
        clear(path)?;
        let failed = |source: io::Error| SocketError::Listen {
            path: path.to_owned(),
            source,
        };
        let address = UnixAddr::new(path).map_err(|e| failed(e.into()))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
            .map_err(|e| failed(e.into()))?;
        bind(fd.as_raw_fd(), &address).map_err(|e| failed(e.into()))?;
        // Nobody can connect before it listens, so it never is open to more than its mode says.
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
        let file = open_path(path).map_err(failed)?;
        let backlog = Backlog::new(BACKLOG).map_err(|e| failed(e.into()))?;
        listen(&fd, backlog).map_err(|e| failed(e.into()))?;
        Ok(Self {
            listener: fd.into(),
            place: Place {
                path: path.to_owned(),
                directory,
                file,
            },
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    pub(super) fn into_parts(self) -> (std::os::unix::net::UnixListener, Place) {
        (self.listener, self.place)
    }
}

impl Place {
    /// Removes the socket, unless another one took its place.
    pub(super) fn remove(&self) -> Result<(), SocketError> {
        let _lock = lock(&self.directory)?;
        let identity = |m: &Metadata| (m.dev(), m.ino());
        match (self.file.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(there)) if identity(&ours) == identity(&there) => remove(&self.path),
            _ => Ok(()),
        }
    }
}

/// The file itself, without opening what it stands for.
fn open_path(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn directory_of(path: &Path) -> Result<PathBuf, SocketError> {
    let refuse = |problem: String| SocketError::Path {
        path: path.to_owned(),
        problem,
    };
    if !path.is_absolute() {
        return Err(refuse("is not absolute".to_owned()));
    }
    let length = path.as_os_str().len();
    if length > PATH_MAX {
        return Err(refuse(format!(
            "is {length} bytes long, a socket's can have {PATH_MAX} at most"
        )));
    }
    match (path.file_name(), path.parent()) {
        (Some(_), Some(directory)) => Ok(directory.to_owned()),
        _ => Err(refuse("names no file".to_owned())),
    }
}

fn make_directory(path: &Path) -> Result<(), SocketError> {
    if path.is_dir() {
        return Ok(());
    }
    let failed = |source| SocketError::Directory {
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(failed)?;
    // Whatever the umask is.
    fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE)).map_err(failed)
}

/// Two servers that start at once must not both find the socket stale.
fn lock(directory: &Path) -> Result<Flock<File>, SocketError> {
    let failed = |source| SocketError::Lock {
        path: directory.to_owned(),
        source,
    };
    let mut file = File::open(directory).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
            Err((_, e)) => return Err(failed(e.into())),
        }
        thread::sleep(LOCK_PAUSE);
    }
    Err(failed(Errno::EWOULDBLOCK.into()))
}

/// Makes room at `path`, unless a server answers there.
fn clear(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(SocketError::NoSocket(path.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(SocketError::Probe {
                path: path.to_owned(),
                source,
            });
        }
    }
    let probe = || -> Result<(), Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)
    };
    match probe() {
        // A full backlog means that somebody listens, slowly.
        Ok(()) | Err(Errno::EAGAIN) => Err(SocketError::InUse(path.to_owned())),
        Err(Errno::ECONNREFUSED) => remove(path),
        Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(SocketError::Probe {
            path: path.to_owned(),
            source: e.into(),
        }),
    }
}

fn remove(path: &Path) -> Result<(), SocketError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(SocketError::Remove {
            path: path.to_owned(),
            source: e,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn modes_are_narrow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/s.sock");
        let socket = Socket::bind(&path).unwrap();
        let mode = |p: &Path| fs::symlink_metadata(p).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(path.parent().unwrap()), 0o711);
        UnixStream::connect(&path).unwrap();
        let (_, place) = socket.into_parts();
        place.remove().unwrap();
        assert!(!path.exists());
        place.remove().unwrap();
    }

    #[test]
    fn only_a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let first = Socket::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(p)) if p == path));
        let (listener, place) = first.into_parts();
        drop(listener);
        assert!(path.exists());
        let second = Socket::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        // The first one's clean-up leaves the second one's socket alone.
        place.remove().unwrap();
        UnixStream::connect(second.path()).unwrap();
    }

    #[test]
    fn other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::NoSocket(_))));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        assert!(matches!(Socket::bind(&link), Err(SocketError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn impossible_paths() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
        let error = Socket::bind(&long).unwrap_err().to_string();
        assert!(error.contains("is 125 bytes long"), "{error}");
        assert!(matches!(
            Socket::bind(Path::new("s.sock")),
            Err(SocketError::Path { .. })
        ));
        assert!(matches!(
            Socket::bind(Path::new("/")),
            Err(SocketError::Path { .. })
        ));
    }

    #[test]
    fn of_many_that_start_at_once_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        drop(Socket::bind(&path).unwrap());
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Socket::bind(&path)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        UnixStream::connect(&path).unwrap();
    }
}
