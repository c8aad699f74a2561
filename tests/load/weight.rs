//! What the daemon and its pods weigh, so that two moments with the same pods can be compared.

use std::{fmt, path::Path};

use crate::support::{Node, processes_naming};

/// What there is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    /// The daemon's memory: its proportional set size, in KiB.
    pub(crate) memory: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// What pods and containers are made of.
    pub(crate) parts: Parts,
}

/// Processes, mounts and files of all pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) processes: usize,
    pub(crate) mounts: usize,
    pub(crate) files: usize,
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            processes,
            mounts,
            files,
        } = self.parts;
        write!(
            f,
            "{:.1} MB, {} descriptors, {} threads; {processes} processes, {mounts} mounts, {files} files",
            self.memory as f64 / 1024.0,
            self.descriptors,
            self.threads,
        )
    }
}

impl Weight {
    /// Now.
    pub(crate) fn of(node: &Node) -> Self {
        let pid = node.pid();
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let memory = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB"))
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("no Pss in {rollup}"));
        let count = |name: &str| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/{name}")).unwrap();
            entries.count()
        };
        Self {
            memory,
            descriptors: count("fd"),
            threads: count("task"),
            parts: Parts::of(node),
        }
    }

    /// What is wrong when there was `before`, and the same pods are there again now.
    pub(crate) fn growth_since(&self, before: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut say = |what: &str| wrong.push(format!("{what}: {before}, then {self}"));
        if self.parts != before.parts {
            say("something of pods stays");
        }
        if self.descriptors > before.descriptors + 8 {
            say("descriptors leak");
        }
        // The pool of those that wait for the disk shrinks a while after it was needed.
        if self.threads > before.threads + 8 {
            say("threads leak");
        }
        if self.memory > before.memory + before.memory / 8 + 4096 {
            say("memory leaks");
        }
        wrong
    }
}

impl Parts {
    fn of(node: &Node) -> Self {
        let scratch = node.scratch.path().to_str().unwrap();
        Self {
            processes: processes_naming(scratch).len(),
            mounts: node.scratch.mounts().len(),
            files: files(&node.root()) + files(&node.runroot()),
        }
    }
}

/// How many entries there are below a directory, but for what lies in layers and in containers' own file systems.
fn files(dir: &Path) -> usize {
    let skipped = [
        "layers", "upper", "merged", "rootfs", "work", "trash", "staging",
    ];
    let mut count = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        count += 1;
        let name = entry.file_name();
        let skipped = skipped.iter().any(|skipped| name == *skipped);
        if !skipped && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            count += files(&entry.path());
        }
    }
    count
}
