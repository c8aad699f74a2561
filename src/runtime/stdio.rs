//! Whose a process's standard streams are.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{FileType, Uid},
    io::Errno,
};

/// Gives the standard streams to the process's user, who could not open them again through /proc otherwise.
pub(super) fn give(uid: u32) -> io::Result<()> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        give_one(fd, uid)?;
    }
    Ok(())
}

fn give_one(fd: BorrowedFd<'_>, uid: u32) -> io::Result<()> {
    let stat = match rustix::fs::fstat(fd) {
        Err(Errno::BADF) => return Ok(()),
        other => other?,
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_null = kind == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null || stat.st_uid == uid {
        return Ok(());
    }
    match rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None) {
        // Not everything has an owner, or one that a user namespace may change.
        Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => Ok(()),
        other => Ok(other?),
    }
}

/// Everything on standard input.
pub(super) fn input(cap: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A line on standard output.
pub(super) fn tell(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}
