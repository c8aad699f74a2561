//! Which program a process is to run, looked for as the process itself would.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD};

use crate::causes::within_a_sentence;

/// Finds `name` in the container: a path, or a name in `PATH`. The error is in the words that who called knows it by.
pub(super) fn program(name: &str, env: &[String]) -> Result<PathBuf, String> {
    let said = |text: &dyn std::fmt::Display| format!("exec: {name:?}: {text}");
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match look(&path) {
            Ok(()) => Ok(path),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                Err(said(&"permission denied"))
            }
            Err(e) => Err(said(&format!("stat {name}: {}", within_a_sentence(&e)))),
        };
    }
    let path = env
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("PATH="))
        .unwrap_or_default();
    for dir in path.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let candidate = Path::new(dir).join(OsStr::from_bytes(name.as_bytes()));
        // What is there and may not be run is passed over, as if it were not there.
        if look(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(said(&"executable file not found in $PATH"))
}

fn look(path: &Path) -> io::Result<()> {
    let data = fs::metadata(path)?;
    if data.is_dir() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    Ok(rustix::fs::accessat(
        CWD,
        path,
        Access::EXEC_OK,
        AtFlags::EACCESS,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::message::command_code;

    fn ask(name: &str) -> Result<PathBuf, String> {
        program(
            name,
            &["A=b".into(), "PATH=/nonexistent:/bin:/usr/bin".into()],
        )
    }

    #[test]
    fn names_are_found_and_paths_taken() {
        assert_eq!(ask("sh"), Ok("/bin/sh".into()));
        assert_eq!(ask("/bin/sh"), Ok("/bin/sh".into()));
    }

    #[test]
    fn what_is_wrong_is_understood() {
        for (name, text, code) in [
            ("nope-not-there", "executable file not found in $PATH", 127),
            ("/nope", "stat /nope: no such file or directory", 127),
            ("/etc/passwd", "permission denied", 126),
            ("/etc", "permission denied", 126),
        ] {
            let error = ask(name).unwrap_err();
            assert!(error.ends_with(text), "{error}");
            let whole = format!("unable to start container process: {error}");
            assert_eq!(command_code(&whole), Some(code), "{whole}");
        }
        assert!(program("sh", &[]).is_err());
    }
}
