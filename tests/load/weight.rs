//! What the daemon and its pods weigh, so that two moments with the same pods can be compared.

use std::{collections::BTreeMap, fmt, path::Path};

use crate::support::{Node, Process, processes_naming};

/// What there is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    /// The daemon's memory: its proportional set size, in KiB.
    pub(crate) memory: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// What pods and containers are made of.
    pub(crate) parts: Parts,
}

/// Processes, mounts and files of all pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) processes: usize,
    pub(crate) mounts: usize,
    /// How many files there are of each kind: by their paths, with a star for each number and ID.
    pub(crate) files: BTreeMap<String, usize>,
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            processes,
            mounts,
            files,
        } = &self.parts;
        let files: usize = files.values().sum();
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
        let count = |name: &str| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/{name}")).unwrap();
            entries.count()
        };
        Self {
            memory: Process(pid).memory("Pss").unwrap(),
            descriptors: count("fd"),
            threads: count("task"),
            parts: Parts::of(node),
        }
    }

    /// What is wrong when there was `before`, and the same pods are there again now.
    pub(crate) fn growth_since(&self, before: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(change) = self.parts.change_since(&before.parts) {
            wrong.push(format!(
                "something of pods stays: {before}, then {self}{change}"
            ));
        }
        let mut say = |what: &str| wrong.push(format!("{what}: {before}, then {self}"));
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
        let mut files = BTreeMap::new();
        for (name, dir) in [("root", node.root()), ("runroot", node.runroot())] {
            count(&dir, name, &mut files);
        }
        Self {
            processes: processes_naming(scratch).len(),
            mounts: node.scratch.mounts().len(),
            files,
        }
    }

    /// Which files there are more or fewer of than `before`; `None` where everything is the same.
    pub(crate) fn change_since(&self, before: &Self) -> Option<String> {
        if self == before {
            return None;
        }
        let kinds = self.files.keys().chain(before.files.keys());
        let mut change: Vec<_> = kinds
            .filter_map(|kind| {
                let number = |parts: &Self| parts.files.get(kind).copied().unwrap_or(0);
                let (then, now) = (number(before), number(self));
                (then != now).then(|| format!("\n{kind}: {then}, then {now}"))
            })
            .collect();
        change.sort();
        change.dedup();
        Some(change.concat())
    }
}

/// Counts the entries below a directory, but for what lies in layers and in containers' own file systems.
fn count(dir: &Path, kind: &str, counted: &mut BTreeMap<String, usize>) {
    let skipped = [
        "layers", "upper", "merged", "rootfs", "work", "trash", "staging",
    ];
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let kind = format!("{kind}/{}", kind_of(&name.to_string_lossy()));
        *counted.entry(kind.clone()).or_default() += 1;
        let skipped = skipped.iter().any(|skipped| name == *skipped);
        if !skipped && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            count(&entry.path(), &kind, counted);
        }
    }
}

/// A name without what differs between things of a kind: words of digits and of hexadecimal digits become stars.
fn kind_of(name: &str) -> String {
    let number = |word: &str| {
        let digits = word.chars().all(|c| c.is_ascii_digit());
        digits || word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit())
    };
    let mut kind = String::new();
    for word in name.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match !bare.is_empty() && number(bare) {
            true => kind.push('*'),
            false => kind.push_str(bare),
        }
        kind.push_str(&word[bare.len()..]);
    }
    kind
}
