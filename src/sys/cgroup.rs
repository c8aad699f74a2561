//! cgroup directories: where the hierarchies are, and removing what corten made in them.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Mount points of all cgroup hierarchies, v1 and v2.
pub fn hierarchies() -> io::Result<Vec<PathBuf>> {
    Ok(from_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// Parses `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
fn from_mountinfo(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let kind = after.split(' ').next()?;
            let point = before.split(' ').nth(4)?;
            matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(point))
        })
        .collect()
}

/// Removes a cgroup, named relative to the hierarchies' roots, and what is below it, from all
/// hierarchies. One that is not there is no error; one with a process in it is.
pub fn remove(relative: &Path) -> io::Result<()> {
    let relative = relative.strip_prefix("/").unwrap_or(relative);
    let plain = relative
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    if !plain || relative.as_os_str().is_empty() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut result = Ok(());
    for root in hierarchies()? {
        let removed = remove_tree(&root.join(relative));
        if result.is_ok() {
            result = removed;
        }
    }
    result
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_both_versions() {
        let text = "\
36 25 0:31 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro
37 36 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
38 36 0:33 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu
garbage";
        assert_eq!(
            from_mountinfo(text),
            [
                PathBuf::from("/sys/fs/cgroup/unified"),
                PathBuf::from("/sys/fs/cgroup/cpu")
            ]
        );
    }

    #[test]
    fn removes_a_tree_and_nothing_above_it() {
        let name = format!("corten-test-{}", std::process::id());
        for root in hierarchies().unwrap() {
            // A hierarchy that lets nothing be made in it has nothing to remove either.
            let _ = fs::create_dir_all(root.join(&name).join("a/b"));
        }
        remove(Path::new(&name)).unwrap();
        for root in hierarchies().unwrap() {
            assert!(!root.join(&name).exists());
        }
        remove(Path::new(&name)).unwrap();
    }

    #[test]
    fn refuses_what_is_not_below_the_root() {
        for bad in ["", "/", "..", "a/../..", "/../x"] {
            assert!(remove(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
