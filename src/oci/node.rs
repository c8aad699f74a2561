//! What this node can do and may set: looked up once, then handed to everything that builds.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::capability::CapSet;
use crate::lsm::{apparmor, selinux};

/// Version of the cgroup interface in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy per controller.
    V1,
    /// One hierarchy.
    #[default]
    V2,
}

/// Resources whose use can be limited per process, with their names in the runtime specification.
pub const RLIMITS: [(&str, rustix::process::Resource); 16] = {
    use rustix::process::Resource as R;
    [
        ("AS", R::As),
        ("CORE", R::Core),
        ("CPU", R::Cpu),
        ("DATA", R::Data),
        ("FSIZE", R::Fsize),
        ("LOCKS", R::Locks),
        ("MEMLOCK", R::Memlock),
        ("MSGQUEUE", R::Msgqueue),
        ("NICE", R::Nice),
        ("NOFILE", R::Nofile),
        ("NPROC", R::Nproc),
        ("RSS", R::Rss),
        ("RTPRIO", R::Rtprio),
        ("RTTIME", R::Rttime),
        ("SIGPENDING", R::Sigpending),
        ("STACK", R::Stack),
    ]
};

/// The resource that the runtime specification means; `None` for one that is not known.
pub fn resource(kind: oci_spec::runtime::PosixRlimitType) -> Option<rustix::process::Resource> {
    let name = kind.to_string();
    let name = name.strip_prefix("RLIMIT_")?;
    let found = RLIMITS.iter().find(|(known, _)| *known == name);
    found.map(|(_, resource)| *resource)
}

/// Facts about this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Capabilities this daemon can hand on.
    pub capabilities: CapSet,
    /// The lowest OOM killer preference that may be set.
    pub lowest_oom_score_adj: i32,
    /// The highest hard limit that may be set, by name.
    pub highest_rlimits: BTreeMap<&'static str, u64>,
    /// cgroup version.
    pub cgroup: CgroupVersion,
    /// Controllers by name.
    pub controllers: Vec<String>,
    /// Swap is counted.
    pub swap: bool,
    /// Sizes of huge pages that are counted, like `2MB`.
    pub hugepage_sizes: Vec<String>,
    /// Kernel version.
    pub kernel: (u32, u32),
    /// Actions of system call filters; empty where there are no filters.
    pub seccomp_actions: Vec<String>,
    /// AppArmor is enforced.
    pub apparmor: bool,
    /// SELinux is on, with a policy that is enforced or logged.
    pub selinux: bool,
}

/// A fact that cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file of the kernel's.
    #[error("cannot read {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the kernel's with unexpected content.
    #[error("{path:?} has no {what}")]
    Missing {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
}

impl Node {
    /// Looks everything up. Blocks on the file system.
    pub fn detect() -> Result<Self, NodeError> {
        let status_path = Path::new("/proc/self/status");
        let status = read(status_path)?;
        let set = |field: &'static str| {
            mask(&status, field).ok_or(NodeError::Missing {
                path: status_path.to_owned(),
                what: field,
            })
        };
        // Either set alone would promise what the runtime, our child, cannot keep.
        let capabilities = set("CapBnd:")?.intersection(set("CapPrm:")?);
        let raises_limits = set("CapEff:")?.has("SYS_RESOURCE");
        let lowest_oom_score_adj = if raises_limits {
            -1000
        } else {
            let path = Path::new("/proc/self/oom_score_adj");
            read(path)?.trim().parse().map_err(|_| NodeError::Missing {
                path: path.to_owned(),
                what: "number",
            })?
        };
        let cgroup = Cgroups::detect(Path::new("/sys/fs/cgroup"), &read_or_empty("/proc/cgroups"));
        Ok(Self {
            capabilities,
            lowest_oom_score_adj,
            highest_rlimits: highest_rlimits(raises_limits),
            hugepage_sizes: if cgroup.controllers.iter().any(|c| c == "hugetlb") {
                hugepage_sizes(Path::new("/sys/kernel/mm/hugepages"))
            } else {
                Vec::new()
            },
            cgroup: cgroup.version,
            controllers: cgroup.controllers,
            swap: cgroup.swap,
            kernel: kernel(&rustix::system::uname().release().to_string_lossy()),
            seccomp_actions: read_or_empty("/proc/sys/kernel/seccomp/actions_avail")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            apparmor: apparmor::is_enabled(),
            selinux: selinux::is_enabled(),
        })
    }

    /// Whether system calls can be filtered.
    pub fn seccomp(&self) -> bool {
        !self.seccomp_actions.is_empty()
    }

    /// Whether a mount can be made read-only together with all below it.
    pub fn recursive_read_only(&self) -> bool {
        self.kernel >= (5, 12)
    }
}

fn read(path: &Path) -> Result<String, NodeError> {
    fs::read_to_string(path).map_err(|source| NodeError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_or_empty(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn mask(status: &str, field: &str) -> Option<CapSet> {
    let hex = status
        .lines()
        .find_map(|line| line.strip_prefix(field))?
        .trim();
    u64::from_str_radix(hex, 16).ok().map(CapSet::from_bits)
}

fn highest_rlimits(raises_limits: bool) -> BTreeMap<&'static str, u64> {
    let nr_open = read_or_empty("/proc/sys/fs/nr_open").trim().parse().ok();
    RLIMITS
        .iter()
        .map(|(name, resource)| {
            let highest = if raises_limits {
                // Even the most privileged cannot open more files than the kernel allows.
                (*name == "NOFILE").then_some(nr_open).flatten()
            } else {
                rustix::process::getrlimit(*resource).maximum
            };
            (*name, highest.unwrap_or(u64::MAX))
        })
        .collect()
}

fn kernel(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

struct Cgroups {
    version: CgroupVersion,
    controllers: Vec<String>,
    swap: bool,
}

impl Cgroups {
    fn detect(root: &Path, proc_cgroups: &str) -> Self {
        if let Ok(text) = fs::read_to_string(root.join("cgroup.controllers")) {
            return Self {
                version: CgroupVersion::V2,
                controllers: text.split_whitespace().map(str::to_owned).collect(),
                swap: swap_v2(root),
            };
        }
        let controllers = proc_cgroups
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| root.join(name).is_dir())
            .map(str::to_owned)
            .collect();
        Self {
            version: CgroupVersion::V1,
            controllers,
            swap: root.join("memory/memory.memsw.limit_in_bytes").exists(),
        }
    }
}

/// The root itself has no files of memory; the cgroups below it that count memory tell. Where there
/// are none, the kernel's having swap at all does.
fn swap_v2(root: &Path) -> bool {
    let mut counting = subdirectories(root)
        .filter(|dir| dir.join("memory.max").exists())
        .peekable();
    if counting.peek().is_none() {
        return Path::new("/proc/swaps").exists();
    }
    counting.any(|dir| dir.join("memory.swap.max").exists())
}

fn subdirectories(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
}

/// `hugepages-2048kB` is `2MB` to the runtimes.
fn hugepage_sizes(dir: &Path) -> Vec<String> {
    let mut sizes: Vec<u64> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()
        })
        .collect();
    sizes.sort_unstable();
    sizes.into_iter().map(hugepage_name).collect()
}

fn hugepage_name(kib: u64) -> String {
    const UNITS: [&str; 3] = ["KB", "MB", "GB"];
    let (mut size, mut unit) = (kib, 0);
    while unit + 1 < UNITS.len() && size >= 1024 && size % 1024 == 0 {
        size /= 1024;
        unit += 1;
    }
    format!("{size}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_node_has_the_facts() {
        let node = Node::detect().unwrap();
        assert!(!node.capabilities.is_empty());
        assert!((-1000..=1000).contains(&node.lowest_oom_score_adj));
        assert_eq!(node.highest_rlimits.len(), RLIMITS.len());
        assert!(node.kernel >= (4, 0));
        assert!(!node.controllers.is_empty());
    }

    #[test]
    fn pieces_are_read() {
        assert_eq!(kernel("6.18.44-x"), (6, 18));
        assert_eq!(kernel(""), (0, 0));
        assert_eq!(hugepage_name(2048), "2MB");
        assert_eq!(hugepage_name(1048576), "1GB");
        assert_eq!(hugepage_name(64), "64KB");
        assert_eq!(hugepage_name(16777216), "16GB");
        let set = mask("A:\t1\nCapBnd:\t0000000000000003\n", "CapBnd:").unwrap();
        assert_eq!(set.names().collect::<Vec<_>>(), ["CHOWN", "DAC_OVERRIDE"]);
        assert_eq!(mask("CapBnd: xyz", "CapBnd:"), None);
    }

    #[test]
    fn every_limit_of_the_specification_is_a_resource_of_the_kernels() {
        for (name, resource) in RLIMITS {
            let kind = serde_json::from_value(format!("RLIMIT_{name}").into()).unwrap();
            assert_eq!(super::resource(kind), Some(resource), "{name}");
        }
        let number = |kind| super::resource(kind).unwrap() as u32;
        use oci_spec::runtime::PosixRlimitType as Kind;
        for (kind, expected) in [
            (Kind::RlimitCpu, libc::RLIMIT_CPU),
            (Kind::RlimitNofile, libc::RLIMIT_NOFILE),
            (Kind::RlimitRttime, libc::RLIMIT_RTTIME),
        ] {
            assert_eq!(number(kind), expected, "{kind}");
        }
    }

    #[test]
    fn both_cgroup_layouts_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("memory")).unwrap();
        let listed = "#subsys_name\thierarchy\ncpu\t1\t1\t1\nmemory\t2\t1\t1\n";
        let v1 = Cgroups::detect(dir.path(), listed);
        assert_eq!((v1.version, v1.swap), (CgroupVersion::V1, false));
        assert_eq!(v1.controllers, ["memory"]);
        fs::write(dir.path().join("cgroup.controllers"), "cpu io memory\n").unwrap();
        let v2 = Cgroups::detect(dir.path(), listed);
        assert_eq!(v2.version, CgroupVersion::V2);
        assert_eq!(v2.controllers.len(), 3);
    }
}
