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
        let group = Group {
            roots: self,
            relative,
        };
        let usage = match self.version {
            Version::V1(_) => v1::read(&group, detail, &self.page_sizes),
            Version::V2(_) => v2::read(&group, detail, &self.page_sizes),
            Version::None => return None,
        };
        (usage.cpu.is_some() || usage.memory.is_some()).then_some(usage)
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
        let text = read_at(root, &relative.join("cgroup.procs"), PROCS_MAX).unwrap_or_default();
        text.split(|byte| *byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok())
            .filter(|pid| *pid > 0)
            .collect()
    }
}

/// One cgroup.
struct Group<'a> {
    roots: &'a Roots,
    relative: &'a Path,
}

impl Files for Group<'_> {
    fn read(&self, controller: &str, name: &str) -> Option<Vec<u8>> {
        let root = match &self.roots.version {
            Version::V1(roots) => roots.get(controller)?,
            Version::V2(root) => root,
            Version::None => return None,
        };
        read_at(root, &self.relative.join(name), FILE_MAX)
    }
}

fn open_dir(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// The first `max` bytes of a file.
fn read_at(root: &OwnedFd, path: &Path, max: usize) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(root, path, flags, Mode::empty()).ok()?;
    let mut text = Vec::with_capacity(4096);
    while text.len() < max {
        let room = (max - text.len()).min(4096);
        text.reserve(room);
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => break,
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
        let read = read_at(&root, Path::new("long"), 10_000).unwrap();
        assert!((10_000..20_000).contains(&read.len()), "{}", read.len());
        assert_eq!(read_at(&root, Path::new("none"), 10), None);
    }
}
