//! The program that OCI calls of this kind run: corten's own, where nothing can be written to it.
//!
//! A process in a container that was started from a program of the host can reach that program's file, and could
//! write to it: everything would then run what it wrote. So the daemon makes a read-only mount of its own program,
//! attached nowhere, and has the runtime started through its descriptor. The mount goes with the daemon, so that
//! nothing is left of it, and an upgraded daemon has one of the new program.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::sys::mount;

/// Path of the program, as long as this process lives.
pub fn path() -> io::Result<PathBuf> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    let program = match PROGRAM.get() {
        Some(program) => program,
        None => {
            let made = mount::read_only_copy(Path::new("/proc/self/exe"))?;
            PROGRAM.get_or_init(|| made)
        }
    };
    let (pid, fd) = (std::process::id(), program.as_raw_fd());
    Ok(PathBuf::from(format!("/proc/{pid}/fd/{fd}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn it_can_be_run_and_not_written() {
        let path = path().unwrap();
        let own = std::fs::metadata("/proc/self/exe").unwrap();
        let seen = std::fs::metadata(&path).unwrap();
        assert_eq!((own.dev(), own.ino()), (seen.dev(), seen.ino()));
        // Opening it for writing would fail for any program that runs; this fails for the mount's sake.
        let mode = std::fs::Permissions::from_mode(own.mode());
        let error = std::fs::set_permissions(&path, mode).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
        let listed = std::process::Command::new(&path).arg("--list").output();
        assert!(listed.unwrap().status.success());
    }
}
