//! Which cgroups a process is in.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::cgroup::{Mount, mounts};

/// Directories of the cgroups that a process has to join to be where `pid` is, when it starts where `from` is.
pub fn between(from: i32, pid: i32) -> io::Result<Vec<PathBuf>> {
    let read = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let not_there = || io::Error::new(io::ErrorKind::NotFound, "a hierarchy is not mounted");
    differing(&read(from)?, &read(pid)?, known_mounts()?).ok_or_else(not_there)
}

/// Whether one of these cgroups is frozen: whatever joins it does not go on.
pub fn is_frozen(dirs: &[PathBuf]) -> io::Result<bool> {
    Ok(frozen(dirs, known_mounts()?))
}

/// The hierarchies; they stay where they are.
fn known_mounts() -> io::Result<&'static [Mount]> {
    static MOUNTS: OnceLock<Vec<Mount>> = OnceLock::new();
    Ok(match MOUNTS.get() {
        Some(mounts) => mounts,
        None => {
            let found = mounts()?;
            MOUNTS.get_or_init(|| found)
        }
    })
}

/// The same with these hierarchies. A dozen of version 1 have directories of a container, and one of them freezes.
fn frozen(dirs: &[PathBuf], mounts: &[Mount]) -> bool {
    let says = |file: PathBuf, words: &[&str]| {
        fs::read_to_string(file).is_ok_and(|text| words.contains(&text.trim()))
    };
    dirs.iter().any(|dir| {
        let above = mounts.iter().filter(|mount| dir.starts_with(&mount.point));
        match above.max_by_key(|mount| mount.point.as_os_str().len()) {
            Some(mount) if mount.is_unified() => says(dir.join("cgroup.freeze"), &["1"]),
            Some(mount) if is(mount, "freezer") => {
                says(dir.join("freezer.state"), &["FROZEN", "FREEZING"])
            }
            _ => false,
        }
    })
}

/// Where the second text, of `/proc/PID/cgroup`, differs from the first. `None` when that is nowhere to be found.
fn differing(from: &str, to: &str, mounts: &[Mount]) -> Option<Vec<PathBuf>> {
    let own = entries(from);
    entries(to)
        .into_iter()
        .filter(|(hierarchy, path)| own.get(hierarchy) != Some(path))
        .map(|(hierarchy, path)| {
            mounts
                .iter()
                .filter(|mount| is(mount, hierarchy))
                .find_map(|mount| {
                    let below = Path::new(path).strip_prefix(&mount.root).ok()?;
                    Some(mount.point.join(below))
                })
        })
        .collect()
}

/// Hierarchies by their controllers, with the path in each.
fn entries(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .collect()
}

/// Whether a mount is that of the hierarchy of these controllers, as `/proc/PID/cgroup` has them: none for version 2.
fn is(mount: &Mount, controllers: &str) -> bool {
    match controllers {
        "" => mount.is_unified(),
        list => list
            .split(',')
            .all(|name| mount.controllers.iter().any(|own| own == name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cgroup::mounts_from;

    const MOUNTS: &str = "\
30 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
31 20 0:27 /node /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 20 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 20 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 20 0:30 / /tmp rw - tmpfs tmpfs rw
";

    #[test]
    fn what_differs_is_joined() {
        let mounts: Vec<_> = mounts_from(MOUNTS).collect();
        assert_eq!(mounts.len(), 4);
        let from = "4:memory:/node/m\n3:cpu,cpuacct:/m\n1:name=systemd:/\n0::/\n";
        let to = "4:memory:/node/c\n3:cpu,cpuacct:/p/c\n1:name=systemd:/\n0::/v2\n";
        assert_eq!(
            differing(from, to, &mounts).unwrap(),
            [
                Path::new("/sys/fs/cgroup/unified/v2"),
                Path::new("/sys/fs/cgroup/cpu,cpuacct/p/c"),
                Path::new("/sys/fs/cgroup/memory/c"),
            ]
        );
        assert_eq!(differing(to, to, &mounts), Some(Vec::new()));
        // What cannot be reached from here is not passed over.
        assert_eq!(differing("", "4:memory:/other", &mounts), None);
        assert_eq!(differing("", "5:pids:/c", &mounts), None);
    }

    #[test]
    fn a_process_is_where_it_is() {
        let own = std::process::id().cast_signed();
        assert_eq!(between(own, own).unwrap(), Vec::<PathBuf>::new());
        assert!(between(own, 0).is_err());
    }

    #[test]
    fn frozen_cgroups_are_told_by_the_hierarchies_that_freeze() {
        let dir = tempfile::tempdir().unwrap();
        let below = |name: &str| dir.path().join(name).join("pod/c");
        let text = format!(
            "30 20 0:26 / {0}/cpu rw - cgroup cgroup rw,cpu\n31 20 0:27 / {0}/freezer rw - cgroup cgroup rw,freezer\n\
             33 20 0:29 / {0}/unified rw - cgroup2 cgroup2 rw\n",
            dir.path().display()
        );
        let mounts: Vec<_> = mounts_from(&text).collect();
        assert_eq!(mounts.len(), 3);
        let dirs = ["cpu", "freezer", "unified", "elsewhere"].map(below);
        let frozen = || frozen(&dirs, &mounts);
        for dir in &dirs {
            fs::create_dir_all(dir).unwrap();
        }
        assert!(!frozen());
        // What others have by these names says nothing, and is not looked for.
        for name in ["cpu", "elsewhere"] {
            fs::write(below(name).join("freezer.state"), "FROZEN\n").unwrap();
            fs::write(below(name).join("cgroup.freeze"), "1\n").unwrap();
        }
        assert!(!frozen());
        for (state, is) in [
            ("THAWED\n", false),
            ("FREEZING\n", true),
            ("FROZEN\n", true),
        ] {
            fs::write(below("freezer").join("freezer.state"), state).unwrap();
            assert_eq!(frozen(), is, "{state}");
        }
        fs::remove_file(below("freezer").join("freezer.state")).unwrap();
        for (state, is) in [("0\n", false), ("1\n", true)] {
            fs::write(below("unified").join("cgroup.freeze"), state).unwrap();
            assert_eq!(frozen(), is, "{state}");
        }
    }
}
