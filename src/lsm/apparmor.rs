//! AppArmor: which profiles the kernel has, and corten's own.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::pod::spec::SecurityProfile;

/// Name of corten's own profile.
pub const DEFAULT: &str = "corten-default";
/// Its text.
const PROFILE: &str = include_str!("apparmor.profile");
/// Loads profiles; part of AppArmor's own package.
const PARSER: &str = "apparmor_parser";
/// Where it is looked for besides `PATH`: a service's path may lack them.
const PARSER_DIRS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// How long it may take; a slow machine compiles a profile in seconds.
const PARSER_TIME: Duration = Duration::from_secs(60);
/// The most of what it says that is kept.
const SAID_MAX: u64 = 4096;
/// Says whether the kernel enforces profiles.
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// The profiles that are loaded, a line each.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// The most of it that is read: some hundred thousand profiles.
const PROFILES_MAX: u64 = 16 << 20;

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ApparmorError {
    /// The kernel does not have it.
    #[error("AppArmor profile {0:?} is not loaded on this node")]
    NotLoaded(String),
    /// It cannot be told whether the kernel has it.
    #[error("cannot tell whether AppArmor profile {name:?} is loaded: reading {PROFILES}")]
    List {
        /// The profile.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The program that loads profiles is not there.
    #[error("{PARSER} is not installed")]
    NoParser,
    /// It cannot be run.
    #[error("running {path:?}")]
    Run {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It does not end.
    #[error("{0:?} did not load the profile within {PARSER_TIME:?}")]
    Timeout(PathBuf),
    /// It does not like the profile.
    #[error("{path:?} did not load the profile: {said}")]
    Refused {
        /// Where it is.
        path: PathBuf,
        /// In its own words.
        said: String,
    },
}

/// Whether the kernel confines by profiles.
pub fn is_enabled() -> bool {
    std::fs::read_to_string(ENABLED).is_ok_and(|text| text.trim() == "Y")
}

/// Refuses a profile that is asked for and not loaded. Blocks on the kernel's file system.
pub fn check(asked: &SecurityProfile, default: Option<&str>) -> Result<(), ApparmorError> {
    let name = match asked {
        SecurityProfile::Localhost(name) => name,
        SecurityProfile::RuntimeDefault => match default {
            Some(name) => name,
            None => return Ok(()),
        },
        SecurityProfile::Unconfined => return Ok(()),
    };
    let mut list = Vec::new();
    File::open(PROFILES)
        .and_then(|file| file.take(PROFILES_MAX).read_to_end(&mut list))
        .map_err(|source| ApparmorError::List {
            name: name.to_owned(),
            source,
        })?;
    if names(&list).any(|loaded| loaded == name.as_bytes()) {
        Ok(())
    } else {
        Err(ApparmorError::NotLoaded(name.to_owned()))
    }
}

/// The names in the kernel's list, of lines like `NAME (enforce)`.
fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| *b == b'\n').filter_map(|line| {
        let end = line.windows(2).rposition(|pair| pair == b" (")?;
        Some(&line[..end])
    })
}

/// Loads corten's own profile, in place of what an earlier version may have loaded.
pub async fn load_default() -> Result<(), ApparmorError> {
    let path = parser().ok_or(ApparmorError::NoParser)?;
    tokio::time::timeout(PARSER_TIME, load(&path))
        .await
        .unwrap_or_else(|_| Err(ApparmorError::Timeout(path.clone())))
}

fn parser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PARSER_DIRS.map(PathBuf::from))
        .map(|dir| dir.join(PARSER))
        .find(|path| path.is_absolute() && path.is_file())
}

async fn load(path: &Path) -> Result<(), ApparmorError> {
    let failed = |source| ApparmorError::Run {
        path: path.to_owned(),
        source,
    };
    let mut parser = Command::new(path)
        .args(["--skip-cache", "--replace"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut said = Vec::new();
    if let Some(mut stdin) = parser.stdin.take() {
        // One that has gone away says why.
        let _ = stdin.write_all(PROFILE.as_bytes()).await;
    }
    if let Some(stderr) = parser.stderr.take() {
        stderr
            .take(SAID_MAX)
            .read_to_end(&mut said)
            .await
            .map_err(failed)?;
    }
    if parser.wait().await.map_err(failed)?.success() {
        return Ok(());
    }
    Err(ApparmorError::Refused {
        path: path.to_owned(),
        said: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_list() {
        let list = b"corten-default (enforce)\n/usr/bin/a b (complain)\nx//y (kill)\nbroken\n";
        let names: Vec<_> = names(list).collect();
        assert_eq!(names, [&b"corten-default"[..], b"/usr/bin/a b", b"x//y"]);
    }

    #[test]
    fn unconfined_needs_nothing() {
        assert!(check(&SecurityProfile::Unconfined, Some("x")).is_ok());
        assert!(check(&SecurityProfile::RuntimeDefault, None).is_ok());
        if !is_enabled() {
            let asked = SecurityProfile::Localhost("x".into());
            let error = check(&asked, None).unwrap_err();
            assert!(matches!(error, ApparmorError::List { .. }), "{error}");
        }
    }

    #[test]
    fn the_profile_has_its_name() {
        assert!(PROFILE.contains(&format!("profile {DEFAULT} ")));
        assert!(PROFILE.contains(&format!("peer={DEFAULT},")));
    }

    #[tokio::test]
    async fn what_the_parser_says_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(PARSER);
        let write = |script: &str| {
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("cat >/dev/null; echo bad line 1 >&2; exit 1");
        let error = load(&path).await.unwrap_err();
        assert!(error.to_string().ends_with("bad line 1"), "{error}");
        write("grep -q corten-default && [ \"$*\" = '--skip-cache --replace' ]");
        load(&path).await.unwrap();
        // Neither one that reads nothing nor one that says much gets in the way.
        write("exit 0");
        load(&path).await.unwrap();
    }

    proptest! {
        #[test]
        fn any_list_will_do(list: Vec<u8>) {
            for name in names(&list) {
                prop_assert!(name.len() + 2 <= list.len());
            }
        }
    }
}
