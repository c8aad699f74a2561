//! OCI image layouts.

use std::{collections::BTreeMap, collections::HashMap, sync::Arc};

use super::{
    ArchiveError, Found, archive, config_bytes,
    files::{Files, LocalBlobs, blob_path},
    names::Namer,
};
use crate::image::{
    digest::{Digest, clip},
    error::ImageError,
    manifest::{Descriptor, Document, Entry, MAX_MANIFEST, Manifest, ManifestError},
    platform::Platform,
    pull::manifest_error,
    reference::Reference,
    remote::choose,
};

const MAX_NESTING: usize = 3;

/// The images of a layout, each with its names.
pub(super) fn find(
    files: &Arc<dyn Files>,
    namer: &Namer,
    platform: &Platform,
    docker_tags: &HashMap<Digest, Vec<Reference>>,
) -> Result<Vec<Found>, ImageError> {
    let index = files
        .read("index.json", MAX_MANIFEST as u64)
        .map_err(archive)?;
    let entries = match Document::parse(&index, "").map_err(|e| manifest_error("index.json", e))? {
        Document::Index(entries) => entries,
        Document::Image(_) => {
            return Err(archive(ArchiveError::Json {
                file: "index.json".into(),
                reason: "it is a manifest, not an index".into(),
            }));
        }
    };
    let blobs = Arc::new(LocalBlobs {
        files: files.clone(),
        paths: HashMap::new(),
    });
    let mut found = Vec::new();
    for (name, entry) in select(&entries, platform)? {
        let reference = namer.name(name).map_err(archive)?;
        let label = reference
            .as_ref()
            .map_or_else(|| entry.digest.to_string(), Reference::to_string);
        let (manifest, inner) = descend(files.as_ref(), &label, entry, platform)?;
        let config = verified(files.as_ref(), &manifest.config)?;
        let mut tags: Vec<String> = reference.iter().filter_map(Reference::tagged).collect();
        let extra = docker_tags.get(&manifest.config.digest);
        tags.extend(extra.into_iter().flatten().filter_map(Reference::tagged));
        let of = |digest: &Digest| reference.as_ref().map(|r| r.with_digest(digest));
        found.push(Found {
            digests: of(&entry.digest).into_iter().collect(),
            inner_digests: inner.iter().filter_map(of).collect(),
            label,
            tags,
            manifest,
            config,
            blobs: blobs.clone(),
        });
    }
    if found.is_empty() {
        return Err(archive(ArchiveError::Empty));
    }
    Ok(found)
}

/// Of the entries under one name, the one for the platform; those without a name or platform, all.
fn select<'a>(
    entries: &'a [Entry],
    platform: &Platform,
) -> Result<Vec<(Option<&'a str>, &'a Descriptor)>, ImageError> {
    let mut groups: BTreeMap<Option<&str>, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        let name = entry.image_name.as_deref().or(entry.ref_name.as_deref());
        groups.entry(name).or_default().push(entry);
    }
    let mut selected = Vec::new();
    for (name, group) in groups {
        let (silent, speaking): (Vec<&Entry>, Vec<&Entry>) =
            group.into_iter().partition(|e| e.platform.is_none());
        let mut taken: Vec<&Descriptor> = match name {
            None => silent.iter().map(|e| &e.manifest).collect(),
            Some(_) => silent.last().map(|e| &e.manifest).into_iter().collect(),
        };
        if !speaking.is_empty() {
            let best = platform.choose(speaking.iter().map(|e| (*e, e.platform.as_ref())));
            match best {
                Some(best) if name.is_some() => taken = vec![&best.manifest],
                Some(best) => taken.push(&best.manifest),
                None if taken.is_empty() => {
                    let all: Vec<Entry> = speaking.into_iter().cloned().collect();
                    return Err(choose(name.unwrap_or("(unnamed)"), &all, platform)
                        .err()
                        .unwrap_or_else(|| archive(ArchiveError::Empty)));
                }
                None => {}
            }
        }
        selected.extend(taken.into_iter().map(|d| (name, d)));
    }
    Ok(selected)
}

/// Follows an entry through indexes to a manifest.
fn descend(
    files: &dyn Files,
    label: &str,
    entry: &Descriptor,
    platform: &Platform,
) -> Result<(Manifest, Vec<Digest>), ImageError> {
    let mut inner = Vec::new();
    let mut at = entry.clone();
    for _ in 0..=MAX_NESTING {
        let bytes = verified(files, &at)?;
        let document =
            Document::parse(&bytes, &at.media_type).map_err(|e| manifest_error(label, e))?;
        match document {
            Document::Image(manifest) => return Ok((manifest, inner)),
            Document::Index(entries) => at = choose(label, &entries, platform)?.clone(),
        }
        inner.push(at.digest.clone());
    }
    Err(manifest_error(label, ManifestError::Nested))
}

/// Reads a small blob, and checks that it is the one.
fn verified(files: &dyn Files, blob: &Descriptor) -> Result<Vec<u8>, ImageError> {
    let path = blob_path(&blob.digest);
    let bytes = config_bytes(files, &path).map_err(archive)?;
    if Digest::of(&bytes) != blob.digest {
        return Err(archive(ArchiveError::Blob { path: clip(&path) }));
    }
    Ok(bytes)
}
