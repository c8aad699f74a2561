//! An image as it is kept, and as it is shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{config::ImageConfig, digest::Digest};
use crate::{storage::ChainId, store::Record};

/// An image as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its ID: the digest of its configuration.
    pub id: Digest,
    /// Its tags in full, each with the moment it was put there, in nanoseconds.
    ///
    /// When a tag is found on two images after a power cut, the later moment wins.
    pub tags: BTreeMap<String, u64>,
    /// `name@digest` by which it was pulled, with the moment.
    pub digests: BTreeMap<String, u64>,
    /// `name@digest` by which it can be found too: the manifests that an index led to.
    pub inner_digests: BTreeSet<String>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerRecord>,
    /// Its configuration.
    pub config: ImageConfig,
    /// What its configuration and unpacked layers take on disk.
    pub size: u64,
    /// When it was first pulled or loaded, in nanoseconds since 1970.
    pub added_at: u64,
}

/// A layer as an image refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The unpacked layer and all below it.
    pub chain: ChainId,
    /// The blob it came as.
    pub blob: Digest,
    /// Size of the blob.
    pub blob_size: u64,
    /// What it takes on disk.
    pub size: u64,
}

impl Record for ImageRecord {
    const KIND: &'static str = "images";
    const VERSION: u32 = 1;
}

impl ImageRecord {
    /// The chain IDs, lowest first.
    pub fn chains(&self) -> impl Iterator<Item = ChainId> + '_ {
        self.layers.iter().map(|layer| layer.chain)
    }
}

/// An image as it is shown. Immutable: a change makes another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:HEX`, the digest of its configuration.
    pub id: String,
    /// `registry/repository:tag`, sorted.
    pub repo_tags: Vec<String>,
    /// `registry/repository@digest`, sorted.
    pub repo_digests: Vec<String>,
    /// Bytes on disk: its unpacked layers, shared or not, and its configuration.
    ///
    /// This is what the kubelet hopes to free by removing it, so it is the size on disk, not that of
    /// the transfer.
    pub size: u64,
    /// Its layers, lowest first.
    pub layers: Vec<ChainId>,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Not to be removed by the kubelet's garbage collection.
    pub pinned: bool,
    /// When it was first pulled or loaded, in nanoseconds since 1970.
    pub added_at: u64,
}

impl Image {
    /// The image of a record.
    pub(crate) fn of(record: &ImageRecord, pins: &Pins) -> Self {
        let repo_tags: Vec<String> = record.tags.keys().cloned().collect();
        let repo_digests: Vec<String> = record.digests.keys().cloned().collect();
        Self {
            pinned: repo_tags
                .iter()
                .chain(&repo_digests)
                .any(|name| pins.covers(name)),
            id: record.id.to_string(),
            repo_tags,
            repo_digests,
            size: record.size,
            layers: record.chains().collect(),
            config: record.config.clone(),
            added_at: record.added_at,
        }
    }
}

/// Names of images that are pinned: exact, or with a `*` at either end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(Vec<String>);

impl Pins {
    /// Takes patterns as configured; a name without registry is completed.
    pub fn new(patterns: &[String]) -> Self {
        Self(
            patterns
                .iter()
                .filter(|p| !p.is_empty())
                .map(|p| match super::reference::Reference::parse(p) {
                    Ok(reference) => reference.to_string(),
                    Err(_) => p.clone(),
                })
                .collect(),
        )
    }

    fn covers(&self, name: &str) -> bool {
        self.0.iter().any(
            |pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
                (Some(_), Some(_)) => name.contains(pattern.trim_matches('*')) && pattern.len() > 1,
                (Some(end), None) => name.ends_with(end),
                (None, Some(start)) => name.starts_with(start),
                (None, None) => name == pattern,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_exact_or_open_at_an_end() {
        let pins = Pins::new(&[
            "pause".into(),
            "r.example/infra/*".into(),
            "*:pinned".into(),
            "*keep*".into(),
        ]);
        for name in [
            "docker.io/library/pause:latest",
            "r.example/infra/x:1",
            "any.example/x:pinned",
            "r.example/keeper:1",
        ] {
            assert!(pins.covers(name), "{name}");
        }
        assert!(!pins.covers("docker.io/library/pause:3"));
        assert!(!Pins::new(&[String::new()]).covers("x"));
    }
}
