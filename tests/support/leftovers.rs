//! What a daemon left on the machine: everything of it carries the name of its scratch directory, of its
//! cgroups, its bridge or its network.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{
    process::{Process, monitors},
    run,
    scratch::mounts_below,
};

/// What to look for.
#[derive(Debug, Clone)]
pub(crate) struct Leftovers {
    /// Directory that every path of the daemon begins with.
    pub(crate) scratch: PathBuf,
    /// Mount points that are the daemon's own, whatever pods there are.
    pub(crate) own_mounts: Vec<PathBuf>,
    /// Directories in which nothing may carry the name of a pod or container.
    pub(crate) roots: Vec<PathBuf>,
    /// Names of the cgroups whose children are the daemon's.
    pub(crate) cgroups: Vec<String>,
    /// The bridge of its pods.
    pub(crate) bridge: String,
    /// Name of its network, part of the comments of firewall rules.
    pub(crate) network: String,
    /// Where host-local keeps its reservations.
    pub(crate) ipam: PathBuf,
    /// IDs the daemon gave out.
    pub(crate) ids: BTreeSet<String>,
    /// Sockets that are the daemon's own, whatever pods there are.
    pub(crate) sockets: Vec<PathBuf>,
    /// The packet filter's tables of host ports and of pods that call the world.
    pub(crate) tables: [String; 2],
}

impl Leftovers {
    /// A line for each thing that should be gone. `but` are processes that may be there.
    pub(crate) async fn find(&self, but: &[u32]) -> Vec<String> {
        let mut found = Vec::new();
        for (pid, why) in processes_naming(self.scratch.to_str().unwrap()) {
            if !but.contains(&pid) {
                found.push(format!("process {pid}: {why}"));
            }
        }
        for Process(pid) in monitors(&self.ids) {
            found.push(format!("process {pid} is a monitor"));
        }
        for mount in mounts_below(&self.scratch) {
            if self.own_mounts.contains(&mount) {
                continue;
            }
            found.push(format!("mount {}", mount.display()));
        }
        for name in &self.cgroups {
            for dir in cgroup_directories(name) {
                // The parent itself is the daemon's for as long as it has a root directory.
                found.extend(
                    children(&dir)
                        .iter()
                        .map(|child| format!("cgroup {}", child.display())),
                );
            }
        }
        found.extend(self.sockets_bound());
        found.extend(self.links().await);
        found.extend(self.rules().await);
        for entry in files_below(&self.ipam) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if name.parse::<std::net::IpAddr>().is_ok() {
                found.push(format!("address {name}"));
            }
        }
        for root in &self.roots {
            for entry in files_below(root) {
                let path = entry.to_string_lossy();
                if self.ids.iter().any(|id| path.contains(id.as_str())) {
                    found.push(format!("file {path}"));
                }
            }
        }
        found
    }

    /// Sockets that somebody still holds, by the paths they were bound to.
    fn sockets_bound(&self) -> BTreeSet<String> {
        let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
        table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(7).map(Path::new))
            .filter(|path| path.starts_with(&self.scratch))
            .filter(|path| !self.sockets.iter().any(|own| own == path))
            .map(|path| format!("socket {}", path.display()))
            .collect()
    }

    async fn links(&self) -> Vec<String> {
        let shown = run(&["ip", "-o", "link", "show", "master", &self.bridge]).await;
        shown
            .stdout
            .lines()
            .map(|line| format!("link {line}"))
            .collect()
    }

    async fn rules(&self) -> Vec<String> {
        let mut found = Vec::new();
        let listed = run(&["nft", "list", "ruleset"]).await.stdout;
        let legacy = run(&["iptables-legacy-save"]).await.stdout;
        for table in &self.tables {
            if listed.contains(&format!("table inet {table} ")) {
                found.push(format!("table {table}"));
            }
        }
        for line in listed.lines().chain(legacy.lines()) {
            if line.contains(&self.network) || self.ids.iter().any(|id| line.contains(id)) {
                found.push(format!("rule {}", line.trim()));
            }
        }
        found
    }
}

/// Every entry below a directory, links not followed.
pub(super) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&path));
        }
        found.push(path);
    }
    found
}

fn children(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The directories of a cgroup at the top of every hierarchy that has it.
pub(crate) fn cgroup_directories(name: &str) -> Vec<PathBuf> {
    let mut hierarchies = vec![PathBuf::from("/sys/fs/cgroup")];
    hierarchies.extend(children(Path::new("/sys/fs/cgroup")));
    let mut found: Vec<PathBuf> = hierarchies
        .iter()
        .filter_map(|dir| dir.join(name.trim_start_matches('/')).canonicalize().ok())
        .collect();
    found.dedup();
    found
}

/// Processes that have `text` in their command line, environment, program, directories or mounts, and
/// what it was found in.
pub(crate) fn processes_naming(text: &str) -> Vec<(u32, String)> {
    let own_mounts = std::fs::read_link("/proc/self/ns/mnt").ok();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let dir = entry.path();
        let read = |name: &str| {
            std::fs::read(dir.join(name))
                .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
                .unwrap_or_default()
        };
        let link = |name: &str| {
            std::fs::read_link(dir.join(name))
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let command = read("cmdline");
        let mut places = vec![
            ("command line", command.clone()),
            ("environment", read("environ")),
            ("program", link("exe")),
            ("directory", link("cwd")),
            ("root", link("root")),
        ];
        if std::fs::read_link(dir.join("ns/mnt")).ok() != own_mounts {
            // A copy of this table has the mounts of other tests too: only its root file system counts.
            let root = root_mount(&dir.join("mountinfo"));
            places.push(("root mount", root.unwrap_or_default()));
        }
        if let Some((place, _)) = places.iter().find(|(_, value)| value.contains(text)) {
            found.push((pid, format!("{command:?} has it in its {place}")));
        }
    }
    found
}

/// The line of a mount table that is about its root, which is among the first. The rest is not read: on a machine with
/// hundreds of containers that is many megabytes.
fn root_mount(table: &Path) -> Option<String> {
    let table = BufReader::new(File::open(table).ok()?);
    let mut lines = table.split(b'\n').map_while(Result::ok);
    lines.find_map(|line| {
        let line = String::from_utf8_lossy(&line).into_owned();
        (line.split(' ').nth(4) == Some("/")).then_some(line)
    })
}
