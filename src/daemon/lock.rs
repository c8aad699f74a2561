//! One daemon for each directory.

use std::{fs::File, path::Path};

use super::DaemonError;
use crate::sys::exclusive;

/// A directory held; freed when dropped, or when the process ends however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Takes the directory for this daemon alone.
pub(super) fn take(dir: &Path) -> Result<Lock, DaemonError> {
    let path = dir.join("lock");
    let file = exclusive::open(&path).map_err(|source| DaemonError::Directory { path, source })?;
    exclusive::lock(&file).map_err(|_| DaemonError::InUse(dir.to_owned()))?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_daemon_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path()).unwrap();
        assert!(matches!(take(dir.path()), Err(DaemonError::InUse(_))));
        drop(first);
        take(dir.path()).unwrap();
    }
}
