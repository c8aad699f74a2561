//! The log's file.

use std::{
    ffi::OsString,
    fs, io,
    io::IoSlice,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use corten_conmon::log::Target;
use rustix::fs::{FileType, Mode, OFlags};

/// The open file and where it is.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: OwnedFd,
}

impl LogFile {
    /// Opens the file, made when missing, and says how long it is.
    pub(crate) fn open(path: PathBuf) -> io::Result<(Self, u64)> {
        let (file, size) = open(&path, OFlags::empty())?;
        Ok((Self { path, file }, size))
    }

    /// Opens the file of the same name anew, in a directory made anew if it is gone. The old one stays open when that
    /// fails.
    pub(crate) fn reopen(&mut self) -> io::Result<u64> {
        let (file, size) = match open(&self.path, OFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = self.path.parent() {
                    fs::DirBuilder::new()
                        .recursive(true)
                        .mode(0o755)
                        .create(dir)?;
                }
                open(&self.path, OFlags::empty())?
            }
            other => other?,
        };
        self.file = file;
        Ok(size)
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<(OwnedFd, u64)> {
    // NONBLOCK: a named pipe put in the log's place must not stop the container.
    let always = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let file = rustix::fs::open(path, always | flags, mode)?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
}

impl Target for LogFile {
    fn append(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::writev(&self.file, parts)?)
    }

    fn take_back(&mut self, n: u64) -> io::Result<()> {
        // Its length now, not as it was remembered: someone may have cut it from outside.
        let size = u64::try_from(rustix::fs::fstat(&self.file)?.st_size).unwrap_or(0);
        Ok(rustix::fs::ftruncate(&self.file, size.saturating_sub(n))?)
    }

    /// A new file under the name, so that readers of the old one see that they were left behind.
    fn replace(&mut self) -> io::Result<()> {
        let mut name = OsString::from(self.path.as_os_str());
        name.push(".tmp");
        let staged = PathBuf::from(name);
        let (file, _) = match open(&staged, OFlags::EXCL) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&staged)?;
                open(&staged, OFlags::EXCL)?
            }
            other => other?,
        };
        fs::rename(&staged, &self.path)?;
        self.file = file;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_pipes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link, pipe) = (
            dir.path().join("victim"),
            dir.path().join("link"),
            dir.path().join("pipe"),
        );
        fs::write(&victim, "text").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(LogFile::open(link).is_err());
        assert!(LogFile::open(pipe).is_err());
        assert!(LogFile::open(dir.path().to_owned()).is_err());
        assert_eq!(fs::read(&victim).unwrap(), b"text");
    }

    #[test]
    fn a_directory_that_is_gone_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/log");
        fs::create_dir(dir.path().join("a")).unwrap();
        let (mut log, _) = LogFile::open(path.clone()).unwrap();
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        assert_eq!(log.reopen().unwrap(), 0);
        log.append(&[IoSlice::new(b"x")]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn replacing_leaves_the_old_file_to_its_readers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(dir.path().join("log.tmp"), "left over").unwrap();
        let (mut log, size) = LogFile::open(path.clone()).unwrap();
        assert_eq!(size, 0);
        log.append(&[IoSlice::new(b"one")]).unwrap();
        let old = fs::File::open(&path).unwrap();
        log.replace().unwrap();
        log.append(&[IoSlice::new(b"second")]).unwrap();
        log.take_back(3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"sec");
        assert_eq!(io::read_to_string(old).unwrap(), "one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
