//! Files of cgroups, read below the roots of the hierarchies.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags};

use super::{
    parse,
    sample::{Detail, Usage},
    v1, v2,
};
use crate::sys::cgroup::{self, Hierarchies};

/// Most bytes of one file that are read.
const FILE_MAX: usize = 64 << 10;
/// Most bytes of a list of processes that are read.
const PROCS_MAX: usize = 512 << 10;

/// Files of one cgroup.
pub(super) trait Files {
    /// What a controller's file holds; `None` when it cannot be read. cgroup v2 has no name for the controller.
    fn read(&self, controller: &str, name: &str) -> Option<Vec<u8>>;

    /// A file of one number.
    fn number(&self, controller: &str, name: &str) -> Option<u64> {
        parse::number(&self.read(controller, name)?)
    }

    /// A file of one limit.
    fn limit(&self, controller: &str, name: &str) -> Option<u64> {
        parse::limit(&self.read(controller, name)?)
    }
}

/// The hierarchies, each by a descriptor of its root that stays open. Nothing is kept of a single cgroup, so that
/// none is kept from going.
#[derive(Debug)]
pub(super) struct Roots {
    version: Version,
    page_sizes: Vec<String>,
}

#[derive(Debug)]
enum Version {
    V1(BTreeMap<String, OwnedFd>),
    V2(OwnedFd),
    None,
}

impl Roots {
    /// Opens the hierarchies of this machine.
    pub(super) fn open() -> std::io::Result<Self> {
        let version = match cgroup::controllers()? {
            Hierarchies::V1(controllers) => {
                let open = |(name, path): (String, PathBuf)| Ok((name, open_dir(&path)?));
                Version::V1(
                    controllers
                        .into_iter()
                        .map(open)
                        .collect::<std::io::Result<_>>()?,
                )
            }
            Hierarchies::V2(root) => Version::V2(open_dir(&root)?),
        };
        let page_sizes = fs::read_dir("/sys/kernel/mm/hugepages")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| parse::page_size(entry.file_name().to_str()?))
            .collect();
        Ok(Self {
            version,
            page_sizes,
        })
    }

    /// No hierarchy: nothing can be measured.
    pub(super) fn none() -> Self {
        Self {
            version: Version::None,
            page_sizes: Vec::new(),
        }
    }

    /// Reads what a cgroup uses, named relative to the roots; `None` when it is not there. The root itself is no
    /// container's or pod's, so it is never there.
    pub(super) fn usage(&self, relative: &Path, detail: Detail) -> Option<Usage> {
        if relative.as_os_str().is_empty() {
            return None;
        }
        let group = self.group(relative)?;
        let usage = match self.version {
            Version::V1(_) => v1::read(&group, detail, &self.page_sizes),
            Version::V2(_) => v2::read(&group, detail, &self.page_sizes),
            Version::None => return None,
        };
        (usage.cpu.is_some() || usage.memory.is_some()).then_some(usage)
    }

    /// The cgroup as it is now; `None` when it is not there.
    fn group<'a>(&'a self, relative: &'a Path) -> Option<Group<'a>> {
        let dir = match &self.version {
            // Whatever has no memory counted may have its processors'.
            Version::V1(roots) => roots.get(MOST).and_then(|root| dir_at(root, relative)),
            Version::V2(root) => Some(dir_at(root, relative)?),
            Version::None => return None,
        };
        Some(Group {
            roots: self,
            relative,
            dir,
        })
    }

    /// The processes of a cgroup without its children, by their numbers.
    pub(super) fn processes(&self, relative: &Path) -> Vec<i32> {
        let root = match &self.version {
            Version::V1(roots) => ["pids", "memory", "cpuacct"]
                .iter()
                .find_map(|name| roots.get(*name)),
            Version::V2(root) => Some(root),
            Version::None => None,
        };
        let Some(root) = root else {
            return Vec::new();
        };
        let file = relative.join("cgroup.procs");
        let text = read_at(root, &file, PROCS_MAX, Shown::InParts).unwrap_or_default();
        text.split(|byte| *byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok())
            .filter(|pid| *pid > 0)
            .collect()
    }
}

/// The controller of version 1 that has most of the files.
const MOST: &str = "memory";

/// One cgroup, for one reading. The directory that has most of its files is open meanwhile: the path leads there once, and
/// what is read in it is of one cgroup, even should another take its place.
struct Group<'a> {
    roots: &'a Roots,
    relative: &'a Path,
    dir: Option<OwnedFd>,
}

impl Files for Group<'_> {
    fn read(&self, controller: &str, name: &str) -> Option<Vec<u8>> {
        match &self.roots.version {
            Version::V1(roots) if controller != MOST => {
                let path = self.relative.join(name);
                read_at(roots.get(controller)?, &path, FILE_MAX, Shown::AtOnce)
            }
            _ => read_at(self.dir.as_ref()?, Path::new(name), FILE_MAX, Shown::AtOnce),
        }
    }
}

fn open_dir(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

fn dir_at(root: &OwnedFd, path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(root, path, flags, Mode::empty()).ok()
}

/// How the kernel shows what is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// All of it, as far as there is room: where some is left, it has ended.
    AtOnce,
    /// Entry by entry: only nothing is the end.
    InParts,
}

/// The first `max` bytes of a file.
fn read_at(root: &OwnedFd, path: &Path, max: usize, shown: Shown) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(root, path, flags, Mode::empty()).ok()?;
    let mut text = Vec::with_capacity(4096);
    while text.len() < max {
        let wanted = (max - text.len()).min(4096);
        text.reserve(wanted);
        let room = text.capacity() - text.len();
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => break,
            Ok(count) if count < room && shown == Shown::AtOnce => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::HashMap;

    /// Files that are not on any machine, by `controller/name`.
    pub(in crate::stats) struct Sheet {
        files: HashMap<&'static str, &'static str>,
        asked: Cell<usize>,
    }

    impl Sheet {
        pub(in crate::stats) fn new(files: &[(&'static str, &'static str)]) -> Self {
            Self {
                files: files.iter().copied().collect(),
                asked: Cell::new(0),
            }
        }

        /// How many files were asked for.
        pub(in crate::stats) fn asked(&self) -> usize {
            self.asked.get()
        }
    }

    impl Files for Sheet {
        fn read(&self, controller: &str, name: &str) -> Option<Vec<u8>> {
            self.asked.set(self.asked.get() + 1);
            let text = self.files.get(format!("{controller}/{name}").as_str())?;
            Some(text.as_bytes().to_vec())
        }
    }

    #[test]
    fn this_machine_has_hierarchies() {
        let roots = Roots::open().unwrap();
        assert!(!matches!(roots.version, Version::None));
        assert_eq!(
            roots.usage(Path::new("no/such/cgroup"), Detail::Metrics),
            None
        );
        assert_eq!(roots.usage(Path::new(""), Detail::Stats), None);
        assert!(roots.processes(Path::new("no/such")).is_empty());
        assert!(Roots::none().usage(Path::new("x"), Detail::Stats).is_none());
    }

    #[test]
    fn a_cgroup_of_this_machine_is_read() {
        let name = format!("corten-stats-test-{}", std::process::id());
        let roots = cgroup::hierarchies().unwrap();
        for root in &roots {
            let _ = fs::create_dir(root.join(&name));
        }
        let read = Roots::open()
            .unwrap()
            .usage(Path::new(&name), Detail::Metrics);
        cgroup::remove(Path::new(&name)).unwrap();
        let usage = read.expect("needs root and cgroups");
        assert!(usage.cpu.is_some());
        assert!(
            usage
                .memory
                .is_none_or(|memory| memory.working_set() < 1 << 30)
        );
    }

    #[test]
    fn long_files_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("long"), vec![b'1'; 100_000]).unwrap();
        let root = open_dir(dir.path()).unwrap();
        for shown in [Shown::AtOnce, Shown::InParts] {
            let read = |name: &str, max| read_at(&root, Path::new(name), max, shown);
            let length = read("long", 10_000).unwrap().len();
            assert!((10_000..20_000).contains(&length), "{length}");
            assert_eq!(read("long", 200_000).unwrap().len(), 100_000);
            assert_eq!(read("none", 10), None);
        }
    }

    #[test]
    fn one_reading_is_of_one_cgroup() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("pod/c");
        let make = |memory: &str| {
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("memory.current"), memory).unwrap();
            fs::write(place.join("pids.current"), "1").unwrap();
        };
        make("1");
        let roots = Roots {
            version: Version::V2(open_dir(dir.path()).unwrap()),
            page_sizes: Vec::new(),
        };
        let relative = Path::new("pod/c");
        let group = roots.group(relative).unwrap();
        assert_eq!(group.number("", "pids.current"), Some(1));
        // Another takes its place between two files.
        fs::rename(&place, dir.path().join("pod/gone")).unwrap();
        assert!(roots.group(relative).is_none());
        make("2");
        assert_eq!(group.number("", "memory.current"), Some(1));
        let memory = |usage: Option<Usage>| usage.unwrap().memory.unwrap().usage;
        assert_eq!(memory(roots.usage(relative, Detail::Stats)), 2);
        // A link in its place is not followed.
        fs::remove_dir_all(&place).unwrap();
        std::os::unix::fs::symlink("gone", &place).unwrap();
        assert!(roots.group(relative).is_none());
    }

    #[test]
    fn processors_are_read_where_memory_is_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("cpuacct/c")).unwrap();
        fs::create_dir_all(dir.path().join("memory")).unwrap();
        fs::write(dir.path().join("cpuacct/c/cpuacct.usage"), "7").unwrap();
        let open = |name: &str| (name.to_owned(), open_dir(&dir.path().join(name)).unwrap());
        let roots = Roots {
            version: Version::V1([open("cpuacct"), open("memory")].into()),
            page_sizes: Vec::new(),
        };
        let usage = roots.usage(Path::new("c"), Detail::Stats).unwrap();
        assert_eq!(usage.cpu.unwrap().total_ns, 7);
        assert!(usage.memory.is_none());
    }
}
