//! The file an OCI runtime writes a process's number to.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// The number in the file; `None` while there is none.
pub(crate) fn read(path: &Path) -> Option<i32> {
    let mut text = [0; 24];
    let len = File::open(path).ok()?.read(&mut text).ok()?;
    let text = std::str::from_utf8(&text[..len]).ok()?;
    text.trim().parse().ok().filter(|&pid| pid > 1)
}

/// Removes what an earlier process may have left.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
