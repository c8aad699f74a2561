//! The file an OCI runtime writes a process's number to.

use std::{
    ffi::OsString,
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

/// Removes what an earlier process may have left: the file, and what a runtime that was killed had begun to write. That
/// lies beside it under the same name after a dot, until it is complete and renamed.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    remove(path)?;
    match path.file_name() {
        Some(name) => {
            let mut unfinished = OsString::from(".");
            unfinished.push(name);
            remove(&path.with_file_name(unfinished))
        }
        None => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_a_killed_runtime_had_begun_goes_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("exec-1.pid");
        for name in ["exec-1.pid", ".exec-1.pid", "exec-2.pid", ".exec-2.pid"] {
            fs::write(dir.path().join(name), "7").unwrap();
        }
        clear(&file).unwrap();
        clear(&file).unwrap();
        let left = fs::read_dir(dir.path()).unwrap().flatten();
        let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, [".exec-2.pid", "exec-2.pid"]);
    }
}
