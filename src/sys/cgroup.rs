//! cgroup directories: where the hierarchies are, and making and removing what is corten's in them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Where resources are accounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    /// A hierarchy for each controller, by the controller's name.
    V1(BTreeMap<String, PathBuf>),
    /// One hierarchy for all.
    V2(PathBuf),
}

/// Where the controllers of this machine are. One that has both versions accounts by version 1.
pub fn controllers() -> io::Result<Hierarchies> {
    controllers_from(&fs::read_to_string("/proc/self/mountinfo")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup hierarchy is mounted"))
}

fn controllers_from(text: &str) -> Option<Hierarchies> {
    let mut v1 = BTreeMap::new();
    let mut v2 = None;
    for mount in mounts_from(text) {
        if mount.is_unified() {
            v2 = v2.or(Some(mount.point));
            continue;
        }
        for name in mount.controllers {
            v1.entry(name).or_insert_with(|| mount.point.clone());
        }
    }
    if v1.contains_key("memory") || v1.contains_key("cpuacct") {
        Some(Hierarchies::V1(v1))
    } else {
        v2.map(Hierarchies::V2)
    }
}

/// Mount points of all cgroup hierarchies, v1 and v2.
pub fn hierarchies() -> io::Result<Vec<PathBuf>> {
    Ok(mounts()?.into_iter().map(|mount| mount.point).collect())
}

/// The hierarchies, by their version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots {
    /// Those of cgroup v1, named ones too.
    pub v1: Vec<RootV1>,
    /// Mount point of that of v2, alone or beside them.
    pub unified: Option<PathBuf>,
}

/// A hierarchy of cgroup v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootV1 {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its controllers, among other options of its mount.
    pub controllers: Vec<String>,
}

impl RootV1 {
    /// Whether a controller is in it.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

impl Roots {
    /// All mount points.
    pub fn points(&self) -> impl Iterator<Item = &Path> {
        let v1 = self.v1.iter().map(|root| root.point.as_path());
        v1.chain(self.unified.as_deref())
    }
}

/// Where all hierarchies are.
pub fn roots() -> io::Result<Roots> {
    let mut roots = Roots::default();
    for mount in mounts()? {
        if mount.is_unified() {
            roots.unified.get_or_insert(mount.point);
        } else if roots.v1.iter().all(|root| root.point != mount.point) {
            roots.v1.push(RootV1 {
                point: mount.point,
                controllers: mount.controllers,
            });
        }
    }
    Ok(roots)
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The options of a hierarchy of v1, its controllers or its name among them; none of that of v2.
    pub(super) controllers: Vec<String>,
    /// The part of it that is mounted.
    pub(super) root: PathBuf,
    pub(super) point: PathBuf,
}

impl Mount {
    /// Whether it is the hierarchy of version 2.
    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// The hierarchies that are mounted here.
pub(super) fn mounts() -> io::Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts_from(&text).collect())
}

/// Parses `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
pub(super) fn mounts_from(text: &str) -> impl Iterator<Item = Mount> + '_ {
    text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let kind = after.next()?;
        let options = after.nth(1).unwrap_or_default();
        let controllers = match kind {
            "cgroup" => options.split(',').map(str::to_owned).collect(),
            "cgroup2" => Vec::new(),
            _ => return None,
        };
        Some(Mount {
            controllers,
            root: root.into(),
            point: point.into(),
        })
    })
}

/// Makes a cgroup, named relative to the hierarchies' roots, where `controller` can limit it; gives its directory,
/// or `None` where the kernel has no such controller.
pub fn make(relative: &Path, controller: &str) -> io::Result<Option<PathBuf>> {
    let relative = plain(relative)?;
    let Some((root, unified)) = with_controller(mounts()?, controller) else {
        return Ok(None);
    };
    if unified {
        // A controller has to be handed down level by level.
        let mut dir = root.clone();
        for part in relative.components() {
            let handed_down =
                fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
            if let Err(e) = handed_down
                && e.kind() == io::ErrorKind::NotFound
            {
                return Ok(None);
            }
            dir.push(part);
            make_one(&dir)?;
        }
        return Ok(Some(dir));
    }
    let dir = root.join(relative);
    fs::create_dir_all(&dir)?;
    Ok(Some(dir))
}

/// Makes the directory of one cgroup; it may be there.
pub fn make_one(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// A number in a file of a cgroup.
pub fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Where a controller's hierarchy is mounted: one of v1 that names it, else that of v2, which is told apart.
fn with_controller(
    mounts: impl IntoIterator<Item = Mount>,
    controller: &str,
) -> Option<(PathBuf, bool)> {
    let mut unified = None;
    for mount in mounts {
        if mount.is_unified() {
            unified = Some((mount.point, true));
        } else if mount.controllers.iter().any(|name| name == controller) {
            return Some((mount.point, false));
        }
    }
    unified
}

/// Removes a cgroup, named relative to the hierarchies' roots, and what is below it, from all
/// hierarchies. One that is not there is no error; one with a process in it is.
pub fn remove(relative: &Path) -> io::Result<()> {
    remove_from(&roots()?, relative)
}

/// The same from hierarchies that are known.
pub fn remove_from(roots: &Roots, relative: &Path) -> io::Result<()> {
    let relative = plain(relative)?;
    let mut result = Ok(());
    for root in roots.points() {
        let removed = remove_tree(&root.join(relative));
        if result.is_ok() {
            result = removed;
        }
    }
    result
}

/// A path below the root, and not the root itself.
fn plain(relative: &Path) -> io::Result<&Path> {
    let relative = relative.strip_prefix("/").unwrap_or(relative);
    let plain = relative
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    if !plain || relative.as_os_str().is_empty() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(relative)
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
        let points: Vec<_> = mounts_from(text).map(|mount| mount.point).collect();
        assert_eq!(
            points,
            [
                PathBuf::from("/sys/fs/cgroup/unified"),
                PathBuf::from("/sys/fs/cgroup/cpu")
            ]
        );
        let found = |controller| with_controller(mounts_from(text), controller);
        assert_eq!(found("cpu"), Some(("/sys/fs/cgroup/cpu".into(), false)));
        assert_eq!(
            found("memory"),
            Some(("/sys/fs/cgroup/unified".into(), true))
        );
        assert_eq!(with_controller(mounts_from(""), "cpu"), None);
    }

    #[test]
    fn controllers_are_found_by_name() {
        let v2 = "36 25 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            controllers_from(v2),
            Some(Hierarchies::V2("/sys/fs/cgroup".into()))
        );
        let both = format!(
            "{v2}38 36 0:33 / /cg/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\ngarbage - cgroup"
        );
        let Some(Hierarchies::V1(found)) = controllers_from(&both) else {
            panic!("version 1 accounts");
        };
        assert_eq!(found["cpuacct"], PathBuf::from("/cg/cpu,cpuacct"));
        let named = format!("{v2}38 36 0:33 / /cg/systemd rw - cgroup cgroup rw,name=systemd\n");
        assert!(matches!(controllers_from(&named), Some(Hierarchies::V2(_))));
        assert_eq!(controllers_from(""), None);
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
