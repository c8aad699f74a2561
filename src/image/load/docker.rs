//! What `docker save` writes: `manifest.json` with configurations, layers and tags.

use std::{collections::HashMap, io::Read, sync::Arc};

use serde::Deserialize;

use super::{
    ArchiveError, Found, archive, config_bytes,
    files::{Files, LocalBlobs, hash},
    names::Namer,
};
use crate::image::{
    config,
    digest::{Digest, clip},
    error::ImageError,
    manifest::{Descriptor, Layer, MAX_LAYERS, MAX_MANIFEST, Manifest, ManifestError},
    pull::manifest_error,
    reference::Reference,
};

const FILE: &str = "manifest.json";
/// Most images in one archive.
const MAX_IMAGES: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

fn entries(files: &dyn Files) -> Result<Vec<Entry>, ArchiveError> {
    let bytes = files.read(FILE, MAX_MANIFEST as u64)?;
    let entries: Vec<Entry> = serde_json::from_slice(&bytes).map_err(|e| ArchiveError::Json {
        file: FILE.into(),
        reason: clip(&e.to_string()),
    })?;
    if entries.len() > MAX_IMAGES {
        return Err(ArchiveError::TooMany(MAX_IMAGES));
    }
    Ok(entries)
}

fn references(entry: &Entry) -> Result<Vec<Reference>, ArchiveError> {
    entry
        .repo_tags
        .iter()
        .flatten()
        .map(|tag| {
            Reference::parse(tag).map_err(|source| ArchiveError::Name {
                name: clip(tag),
                source,
            })
        })
        .collect()
}

/// The tags by image ID, for an archive that is a layout too; none when it is a layout alone.
pub(super) fn tags(files: &dyn Files) -> Result<HashMap<Digest, Vec<Reference>>, ArchiveError> {
    if !files.has(FILE) {
        return Ok(HashMap::new());
    }
    let mut tags: HashMap<Digest, Vec<Reference>> = HashMap::new();
    for entry in entries(files)? {
        let id = Digest::of(&config_bytes(files, &entry.config)?);
        tags.entry(id).or_default().extend(references(&entry)?);
    }
    Ok(tags)
}

/// The images of the archive.
pub(super) fn find(files: &Arc<dyn Files>, namer: &Namer) -> Result<Vec<Found>, ImageError> {
    let mut found = Vec::new();
    for entry in entries(files.as_ref()).map_err(archive)? {
        found.push(image(files, namer, &entry)?);
    }
    if found.is_empty() {
        return Err(archive(ArchiveError::Empty));
    }
    Ok(found)
}

fn image(files: &Arc<dyn Files>, namer: &Namer, entry: &Entry) -> Result<Found, ImageError> {
    let mut names = references(entry).map_err(archive)?;
    if names.is_empty() {
        names.extend(namer.name(None).map_err(archive)?);
    }
    let label = names
        .first()
        .map_or_else(|| clip(&entry.config), Reference::to_string);
    if entry.layers.len() > MAX_LAYERS {
        return Err(manifest_error(
            &label,
            ManifestError::TooMany {
                what: "layers",
                count: entry.layers.len(),
                most: MAX_LAYERS,
            },
        ));
    }
    let config = config_bytes(files.as_ref(), &entry.config).map_err(archive)?;
    let parsed = config::parse(&config).map_err(|source| ImageError::Config {
        image: label.clone(),
        source,
    })?;
    if parsed.diff_ids.len() != entry.layers.len() {
        return Err(manifest_error(
            &label,
            ManifestError::LayerCount {
                layers: entry.layers.len(),
                diff_ids: parsed.diff_ids.len(),
            },
        ));
    }
    let mut paths = HashMap::new();
    let mut layers = Vec::with_capacity(entry.layers.len());
    for (path, diff) in entry.layers.iter().zip(&parsed.diff_ids) {
        let blob = descriptor(files.as_ref(), path, diff).map_err(archive)?;
        paths.insert(blob.digest.clone(), path.clone());
        layers.push(Layer {
            blob,
            urls: Vec::new(),
        });
    }
    Ok(Found {
        label,
        tags: names.iter().filter_map(Reference::tagged).collect(),
        digests: Vec::new(),
        inner_digests: Vec::new(),
        manifest: Manifest {
            config: Descriptor {
                media_type: String::new(),
                digest: Digest::of(&config),
                size: config.len() as u64,
            },
            layers,
        },
        config,
        blobs: Arc::new(LocalBlobs {
            files: files.clone(),
            paths,
        }),
    })
}

/// What a layer's file is. A plain tar has the digest that the configuration promises.
fn descriptor(files: &dyn Files, path: &str, diff: &Digest) -> Result<Descriptor, ArchiveError> {
    let file = files.open(path)?;
    let size = file.len();
    let mut start = Vec::new();
    files
        .open(path)?
        .take(4)
        .read_to_end(&mut start)
        .map_err(|e| ArchiveError::io("reading the archive", e))?;
    let compressed =
        start.starts_with(&[0x1f, 0x8b]) || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    Ok(Descriptor {
        media_type: String::new(),
        digest: if compressed {
            hash(file)?
        } else {
            diff.clone()
        },
        size,
    })
}
