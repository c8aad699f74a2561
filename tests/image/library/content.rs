//! Images made on the spot.

use std::{collections::HashMap, io::Write};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// `sha256:HEX` of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Which of the two families of media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Oci,
    Docker,
}

/// A file of a layer.
pub(crate) struct Entry {
    path: String,
    mode: u32,
    data: Vec<u8>,
}

pub(crate) fn file(path: &str, data: impl AsRef<[u8]>) -> Entry {
    Entry {
        path: path.into(),
        mode: 0o644,
        data: data.as_ref().to_vec(),
    }
}

/// Bytes that do not compress.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.data.len() as u64);
        header.set_mode(entry.mode);
        builder
            .append_data(&mut header, &entry.path, entry.data.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn pack(tar: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => tar.to_vec(),
        Packing::Gzip => {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(tar).unwrap();
            gz.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(tar, 1).unwrap(),
    }
}

/// A layer, packed, and what it is unpacked.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) tar: Vec<u8>,
    pub(crate) blob: Vec<u8>,
    packing: Packing,
}

pub(crate) fn layer(packing: Packing, entries: &[Entry]) -> Layer {
    let tar = tar(entries);
    Layer {
        blob: pack(&tar, packing),
        tar,
        packing,
    }
}

/// One image: blobs, and its manifest.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) layers: Vec<Layer>,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) media_type: &'static str,
}

impl Image {
    pub(crate) fn id(&self) -> String {
        digest(&self.config)
    }

    pub(crate) fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// The manifest after a change.
    pub(crate) fn edited(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).unwrap();
        edit(&mut manifest);
        self.manifest = serde_json::to_vec(&manifest).unwrap();
        self
    }

    pub(crate) fn blobs(&self) -> Vec<Vec<u8>> {
        self.layers
            .iter()
            .map(|l| l.blob.clone())
            .chain([self.config.clone()])
            .collect()
    }
}

/// An image of these layers.
pub(crate) fn image(family: Family, layers: Vec<Layer>) -> Image {
    image_with(family, layers, json!({"User": "1000", "Cmd": ["/bin/sh"]}))
}

pub(crate) fn image_with(family: Family, layers: Vec<Layer>, config: Value) -> Image {
    image_for(family, layers, config, std::env::consts::ARCH)
}

pub(crate) fn image_for(family: Family, layers: Vec<Layer>, config: Value, arch: &str) -> Image {
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let diffs: Vec<String> = layers.iter().map(|l| digest(&l.tar)).collect();
    let config = serde_json::to_vec(&json!({
        "architecture": arch, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }))
    .unwrap();
    let (media_type, config_type) = match family {
        Family::Oci => (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json"),
        Family::Docker => (
            DOCKER_MANIFEST,
            "application/vnd.docker.container.image.v1+json",
        ),
    };
    let descriptors: Vec<Value> = layers
        .iter()
        .map(|l| {
            let media_type = match (family, l.packing) {
                (Family::Oci, Packing::Plain) => "application/vnd.oci.image.layer.v1.tar",
                (Family::Oci, Packing::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
                (Family::Oci, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
                (Family::Docker, Packing::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
                (Family::Docker, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            };
            json!({"mediaType": media_type, "digest": digest(&l.blob), "size": l.blob.len()})
        })
        .collect();
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": media_type,
        "config": {"mediaType": config_type, "digest": digest(&config), "size": config.len()},
        "layers": descriptors,
    }))
    .unwrap();
    Image {
        layers,
        config,
        manifest,
        media_type,
    }
}

/// A small image whose content depends on `seed`.
pub(crate) fn small(seed: &str) -> Image {
    image(
        Family::Oci,
        vec![layer(Packing::Gzip, &[file("seed", seed)])],
    )
}

/// An index of images by platform.
pub(crate) fn index(images: &[(&Image, &str)]) -> Vec<u8> {
    let manifests: Vec<Value> = images
        .iter()
        .map(|(image, arch)| {
            json!({"mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len(),
                "platform": {"os": "linux", "architecture": arch}})
        })
        .collect();
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}))
        .unwrap()
}

/// What a scripted registry holds.
#[derive(Clone, Default)]
pub(crate) struct Content {
    pub(crate) blobs: HashMap<String, Vec<u8>>,
    /// By tag or digest: media type and bytes.
    pub(crate) manifests: HashMap<String, (String, Vec<u8>)>,
}

impl Content {
    pub(crate) fn with(mut self, tag: &str, image: &Image) -> Self {
        for blob in image.blobs() {
            self.blobs.insert(digest(&blob), blob);
        }
        let manifest = (image.media_type.to_owned(), image.manifest.clone());
        self.manifests.insert(image.digest(), manifest.clone());
        self.manifests.insert(tag.into(), manifest);
        self
    }
}

/// The name of this machine's processor in images.
pub(crate) fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
