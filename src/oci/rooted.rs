//! Paths inside a container's root, resolved by the kernel so that no link leads out of it.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path},
};

use rustix::{
    fs::{self, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Symlinks stay below the root, and those of `/proc` that jump elsewhere are refused.
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Opens a directory to resolve paths below.
pub fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens `path` as seen with `root` for `/`.
pub fn open_in_root(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let mut tries = 0;
    loop {
        match fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, IN_ROOT) {
            // The kernel could not rule out a concurrent rename; asking again is the remedy.
            Err(Errno::AGAIN) if tries < 64 => tries += 1,
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Reads a regular file as seen with `root` for `/`; `None` when there is none.
///
/// More than `cap` bytes is an error, and so is anything that is not a regular file: a FIFO in an
/// image must not make its reader wait.
pub fn read_in_root(root: BorrowedFd<'_>, path: &Path, cap: u64) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open_in_root(root, path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => return Ok(None),
        Err(e) => return Err(e),
    };
    let file = File::from(fd);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(cap + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("is larger than {cap} bytes"),
        ));
    }
    Ok(Some(bytes))
}

/// Makes the directory `path` and those above it, as seen with `root` for `/`, and opens it.
pub fn mkdir_in_root(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let directory = OFlags::PATH | OFlags::DIRECTORY;
    let mut so_far = std::path::PathBuf::from("/");
    let mut here = open_in_root(root, &so_far, directory, Mode::empty())?;
    for component in path.components() {
        let name = match component {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(name) => name,
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{} leads upwards", path.display()),
                ));
            }
        };
        so_far.push(name);
        // What is there already, link or not, is followed inside the root only; just the last,
        // missing step is made, in a directory that is held open.
        here = match open_in_root(root, &so_far, directory, Mode::empty()) {
            Ok(fd) => fd,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match fs::mkdirat(here.as_fd(), name, mode) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                open_in_root(root, &so_far, directory, Mode::empty())?
            }
            Err(e) => return Err(e),
        };
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = open_root(dir.path()).unwrap();
        (dir, fd)
    }

    #[test]
    fn links_stay_inside() {
        let (dir, fd) = root();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/inside"), "inside").unwrap();
        symlink("/etc/inside", dir.path().join("absolute")).unwrap();
        symlink("../../../../etc/inside", dir.path().join("upward")).unwrap();
        for path in ["/absolute", "upward", "/../../etc/inside"] {
            let read = read_in_root(fd.as_fd(), Path::new(path), 100).unwrap();
            assert_eq!(read.as_deref(), Some(&b"inside"[..]), "{path}");
        }
        symlink("/etc/hostname", dir.path().join("outside")).unwrap();
        assert_eq!(
            read_in_root(fd.as_fd(), Path::new("outside"), 100).unwrap(),
            None
        );
    }

    #[test]
    fn reads_are_capped_and_never_wait() {
        let (dir, fd) = root();
        std::fs::write(dir.path().join("big"), vec![b'x'; 101]).unwrap();
        let error = read_in_root(fd.as_fd(), Path::new("big"), 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        fs::mknodat(
            fs::CWD,
            dir.path().join("fifo"),
            fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let error = read_in_root(fd.as_fd(), Path::new("fifo"), 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(read_in_root(fd.as_fd(), Path::new("/"), 100).is_err());
        symlink("loop", dir.path().join("loop")).unwrap();
        assert!(read_in_root(fd.as_fd(), Path::new("loop"), 100).is_err());
    }

    #[test]
    fn directories_are_made_inside_only() {
        let (dir, fd) = root();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        mkdir_in_root(fd.as_fd(), Path::new("/a/b/c"), Mode::from(0o755)).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
        // The link's target does not exist inside, and is not made outside.
        assert!(mkdir_in_root(fd.as_fd(), Path::new("/out/x"), Mode::from(0o755)).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(mkdir_in_root(fd.as_fd(), Path::new("/a/../../x"), Mode::from(0o755)).is_err());
    }
}
