//! Images that are the same each time, and what their layers must look like on the disk.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt, path::Path};

use sha2::{Digest, Sha256};

use crate::{
    random::Random,
    support::{Entry, Image, Packing, busybox, busybox_entries},
};

/// How many there are. They share layers.
pub(crate) const COUNT: usize = 6;

/// An image with all that is known of it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) image: Image,
    layers: Vec<Vec<Entry>>,
    /// The names that layers have on the disk.
    chains: Vec<String>,
}

/// All of them.
pub(crate) fn all() -> Vec<Made> {
    (0..COUNT).map(made).collect()
}

fn made(number: usize) -> Made {
    // Packing takes time, over there most of all.
    let packing = match number {
        0 => Packing::Gzip,
        1 => Packing::Zstd,
        _ => Packing::Plain,
    };
    // All share the first layer, two and two the second.
    let layers = vec![
        busybox_entries(),
        noise(number as u64 / 2, 12),
        noise(100 + number as u64, 25),
    ];
    let image = busybox()
        .layer(&layers[1], packing)
        .layer(&layers[2], packing);
    let config: serde_json::Value = serde_json::from_slice(&image.config.bytes).unwrap();
    let diffs = config["rootfs"]["diff_ids"].as_array().unwrap();
    let mut chains: Vec<String> = Vec::new();
    for diff in diffs {
        let diff = diff.as_str().unwrap();
        chains.push(match chains.last() {
            None => diff.to_owned(),
            Some(below) => format!("sha256:{}", hex(format!("{below} {diff}").as_bytes())),
        });
    }
    Made {
        image,
        layers,
        chains,
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Directories, files of many sizes, links.
fn noise(seed: u64, files: usize) -> Vec<Entry> {
    let mut random = Random::new(seed);
    let top = format!("noise-{seed}");
    let mut entries = vec![Entry::dir(&top, 0o750)];
    for number in 0..files {
        let path = format!("{top}/{number}");
        let size = [0, 1, 700, 4096, 30_000, 150_000][random.below(6)];
        let mode = [0o644, 0o4755, 0o600][random.below(3)];
        let content = random.bytes(size);
        entries.push(Entry::file(&path, content, mode).owner(random.next() % 3000, 50));
        match random.below(5) {
            0 => entries.push(Entry::hardlink(&format!("{path}-hard"), &path)),
            1 => entries.push(Entry::symlink(
                &format!("{path}-soft"),
                &format!("../{number}"),
            )),
            2 => entries.push(
                Entry::file(&format!("{path}-marked"), "x", 0o644).xattr("user.mark", b"yes"),
            ),
            _ => {}
        }
    }
    entries
}

impl Made {
    /// The names of its layers.
    pub(crate) fn chains(&self) -> &[String] {
        &self.chains
    }

    /// What is wrong with its layers below a directory of layers.
    pub(crate) fn damage(&self, layers: &Path) -> Vec<String> {
        let mut damage = Vec::new();
        for (entries, chain) in self.layers.iter().zip(&self.chains) {
            let dir = layers.join(chain.trim_start_matches("sha256:"));
            if !dir.join("layer.json").is_file() {
                damage.push(format!("{} has no record", dir.display()));
            }
            let diff = dir.join("diff");
            damage.extend(entries.iter().filter_map(|entry| differs(entry, &diff)));
            let expected: BTreeSet<&str> = entries.iter().map(|e| e.path.as_str()).collect();
            for found in names(&diff, "") {
                if !expected.contains(found.as_str()) {
                    damage.push(format!("{}/{found} is too much", diff.display()));
                }
            }
        }
        damage
    }
}

/// In what the unpacked entry below `root` differs from it, if it does.
fn differs(entry: &Entry, root: &Path) -> Option<String> {
    let path = root.join(&entry.path);
    let differs = |what: &str| Some(format!("{} {what}", path.display()));
    let Ok(metadata) = std::fs::symlink_metadata(&path) else {
        return differs("is missing");
    };
    let link = entry.link.as_deref().unwrap_or_default();
    match entry.kind {
        tar::EntryType::Symlink => {
            let same = std::fs::read_link(&path).is_ok_and(|to| to == Path::new(link));
            return if same {
                None
            } else {
                differs("leads elsewhere")
            };
        }
        tar::EntryType::Link => {
            let to = std::fs::symlink_metadata(root.join(link));
            let same = to.is_ok_and(|to| (to.dev(), to.ino()) == (metadata.dev(), metadata.ino()));
            return if same {
                None
            } else {
                differs("is another file")
            };
        }
        tar::EntryType::Directory if !metadata.is_dir() => return differs("is no directory"),
        tar::EntryType::Regular => match std::fs::read(&path) {
            Ok(content) if content == entry.content => {}
            Ok(content) => return differs(&format!("has {} bytes, other ones", content.len())),
            Err(error) => return differs(&error.to_string()),
        },
        _ => {}
    }
    if metadata.mode() & 0o7777 != entry.mode {
        return differs(&format!("has mode {:o}", metadata.mode()));
    }
    if (u64::from(metadata.uid()), u64::from(metadata.gid())) != entry.owner {
        return differs("has another owner");
    }
    for (name, value) in &entry.xattrs {
        let mut found = [0u8; 256];
        let read = rustix::fs::lgetxattr(&path, name.as_str(), &mut found);
        if !read.is_ok_and(|n| found[..n] == value[..]) {
            return differs(&format!("has another {name}"));
        }
    }
    None
}

/// Every path below a directory.
fn names(dir: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(names(&entry.path(), &format!("{name}/")));
        }
        found.push(name);
    }
    found
}
