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
    static MOUNTS: OnceLock<Vec<Mount>> = OnceLock::new();
    let mounts = match MOUNTS.get() {
        Some(mounts) => mounts,
        None => {
            let found = mounts()?;
            MOUNTS.get_or_init(|| found)
        }
    };
    let read = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let not_there = || io::Error::new(io::ErrorKind::NotFound, "a hierarchy is not mounted");
    differing(&read(from)?, &read(pid)?, mounts).ok_or_else(not_there)
}

/// Whether one of these cgroups is frozen: whatever joins it does not go on.
pub fn is_frozen(dirs: &[PathBuf]) -> bool {
    let says = |file: PathBuf, words: &[&str]| {
        fs::read_to_string(file).is_ok_and(|text| words.contains(&text.trim()))
    };
    dirs.iter().any(|dir| {
        says(dir.join("freezer.state"), &["FROZEN", "FREEZING"])
            || says(dir.join("cgroup.freeze"), &["1"])
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
    fn frozen_cgroups_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().to_owned()];
        assert!(!is_frozen(&dirs));
        fs::write(dir.path().join("freezer.state"), "THAWED\n").unwrap();
        assert!(!is_frozen(&dirs));
        fs::write(dir.path().join("freezer.state"), "FROZEN\n").unwrap();
        assert!(is_frozen(&dirs));
        fs::remove_file(dir.path().join("freezer.state")).unwrap();
        fs::write(dir.path().join("cgroup.freeze"), "1\n").unwrap();
        assert!(is_frozen(&dirs));
    }
}
