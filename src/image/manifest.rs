//! Manifests and indexes, of OCI and of Docker's schema 2 (pure).

use serde::Deserialize;

use super::{
    digest::{Digest, DigestError, clip},
    platform::Platform,
};

/// Largest manifest or index that is read.
pub const MAX_MANIFEST: usize = 4 << 20;
/// Largest image configuration that is read.
pub const MAX_CONFIG: usize = 4 << 20;
/// Most layers an image may have: the kernel stacks no more in one overlay.
pub const MAX_LAYERS: usize = 500;
/// Most entries of an index that are looked at.
const MAX_ENTRIES: usize = 2000;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_SCHEMA1: &[&str] = &[
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// What a client accepts, for the `Accept` header.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// A manifest that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or of another shape.
    #[error("manifest is malformed: {0}")]
    Json(String),
    /// Both an image and an index: which one is meant would depend on the reader.
    #[error("manifest is ambiguous: it has both {0:?} and {1:?}")]
    Ambiguous(&'static str, &'static str),
    /// The registry says one thing and the document another.
    #[error("manifest is ambiguous: it was sent as {sent:?} but calls itself {own:?}")]
    TypeDiffers {
        /// Media type in the reply or the descriptor.
        sent: String,
        /// Media type in the document.
        own: String,
    },
    /// Docker's old schema, without content addresses.
    #[error("manifest of Docker's schema 1 is not supported")]
    Schema1,
    /// A version we don't know.
    #[error("manifest has schemaVersion {0}, only 2 is supported")]
    SchemaVersion(i64),
    /// Something else than an image.
    #[error("media type {0:?} is no image manifest or index")]
    MediaType(String),
    /// A malformed digest.
    #[error("{field} of the manifest")]
    Digest {
        /// Which descriptor.
        field: String,
        /// Why.
        #[source]
        source: DigestError,
    },
    /// A size that cannot be.
    #[error("{field} of the manifest has size {size}")]
    Size {
        /// Which descriptor.
        field: String,
        /// Its size.
        size: i64,
    },
    /// Too many layers or entries.
    #[error("manifest has {count} {what}, at most {most} are supported")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        most: usize,
    },
    /// A layer that we cannot unpack.
    #[error("layer {digest} has media type {media_type:?}, which is no layer")]
    LayerType {
        /// The layer.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// The configuration is not an image's: an artifact of another kind.
    #[error("this is an artifact of type {0:?}, not a container image")]
    Artifact(String),
    /// A layer that lies elsewhere.
    #[error("layer {0} is to be fetched from foreign URLs, which is not allowed")]
    Foreign(Digest),
    /// Manifest and configuration disagree.
    #[error("manifest has {layers} layers, but the configuration has {diff_ids} diff_ids")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// Indexes in indexes, beyond reason.
    #[error("index leads to an index again and again")]
    Nested,
    /// The document is larger than allowed.
    #[error("manifest is larger than {MAX_MANIFEST} bytes")]
    TooLarge,
}

/// A reference to a blob or a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type; empty where none is given.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A layer as it is transferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Where it is.
    pub blob: Descriptor,
    /// Where else it is offered.
    pub urls: Vec<String>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The manifest.
    pub manifest: Descriptor,
    /// What it is for, where it says so.
    pub platform: Option<Platform>,
    /// The name it bears in a layout on disk.
    pub ref_name: Option<String>,
    /// The full name that containerd and Docker write beside it.
    pub image_name: Option<String>,
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Image(Manifest),
    /// Images for several platforms.
    Index(Vec<Entry>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    #[serde(default)]
    schema_version: Option<i64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(default, rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: Option<String>,
    digest: String,
    size: i64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    platform: Option<RawPlatform>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Document {
    /// Reads a document that was sent, or described, as `sent` (empty when nothing was said).
    pub fn parse(bytes: &[u8], sent: &str) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST {
            return Err(ManifestError::TooLarge);
        }
        let raw: RawDocument =
            serde_json::from_slice(bytes).map_err(|e| ManifestError::Json(clip(&e.to_string())))?;
        let sent = sent.split(';').next().unwrap_or_default().trim();
        let own = raw.media_type.as_deref().unwrap_or_default();
        if raw.fs_layers.is_some()
            || DOCKER_SCHEMA1.contains(&own)
            || DOCKER_SCHEMA1.contains(&sent)
        {
            return Err(ManifestError::Schema1);
        }
        match raw.schema_version {
            Some(2) => {}
            Some(1) => return Err(ManifestError::Schema1),
            other => return Err(ManifestError::SchemaVersion(other.unwrap_or(0))),
        }
        // A reply may carry a general type, which says nothing.
        if is_document_type(sent) && !own.is_empty() && own != sent {
            return Err(ManifestError::TypeDiffers {
                sent: clip(sent),
                own: clip(own),
            });
        }
        let media_type = if own.is_empty() { sent } else { own };
        if !own.is_empty() && !is_document_type(own) {
            return Err(ManifestError::MediaType(clip(own)));
        }
        match (raw.layers, raw.manifests) {
            (Some(_), Some(_)) => Err(ManifestError::Ambiguous("layers", "manifests")),
            (None, Some(_)) if raw.config.is_some() => {
                Err(ManifestError::Ambiguous("config", "manifests"))
            }
            (None, Some(manifests)) => {
                expect_type(media_type, &[OCI_INDEX, DOCKER_LIST], "manifests")?;
                index(manifests)
            }
            (layers, None) => {
                expect_type(media_type, &[OCI_MANIFEST, DOCKER_MANIFEST], "layers")?;
                let config = raw
                    .config
                    .ok_or_else(|| ManifestError::Json("it has no \"config\"".into()))?;
                let layers =
                    layers.ok_or_else(|| ManifestError::Json("it has no \"layers\"".into()))?;
                image(config, layers)
            }
        }
    }
}

impl Manifest {
    /// Refuses layers that can be had from foreign URLs alone.
    pub(crate) fn refuse_foreign(&self) -> Result<(), ManifestError> {
        match self.layers.iter().find(|layer| !layer.urls.is_empty()) {
            Some(layer) => Err(ManifestError::Foreign(layer.blob.digest.clone())),
            None => Ok(()),
        }
    }
}

fn is_document_type(media_type: &str) -> bool {
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&media_type)
}

fn expect_type(
    media_type: &str,
    expected: &[&str],
    has: &'static str,
) -> Result<(), ManifestError> {
    if is_document_type(media_type) && !expected.contains(&media_type) {
        return Err(ManifestError::TypeDiffers {
            sent: clip(media_type),
            own: format!("a document with {has:?}"),
        });
    }
    Ok(())
}

fn descriptor(
    raw: &RawDescriptor,
    field: impl Fn() -> String,
) -> Result<Descriptor, ManifestError> {
    let digest = Digest::parse(&raw.digest).map_err(|source| ManifestError::Digest {
        field: field(),
        source,
    })?;
    let size = u64::try_from(raw.size).map_err(|_| ManifestError::Size {
        field: field(),
        size: raw.size,
    })?;
    Ok(Descriptor {
        media_type: raw.media_type.clone().unwrap_or_default(),
        digest,
        size,
    })
}

fn image(config: RawDescriptor, layers: Vec<RawDescriptor>) -> Result<Document, ManifestError> {
    if layers.len() > MAX_LAYERS {
        return Err(ManifestError::TooMany {
            what: "layers",
            count: layers.len(),
            most: MAX_LAYERS,
        });
    }
    let config = descriptor(&config, || "config".into())?;
    match config.media_type.as_str() {
        "application/vnd.oci.image.config.v1+json"
        | "application/vnd.docker.container.image.v1+json"
        | "application/octet-stream"
        | "" => {}
        other => return Err(ManifestError::Artifact(clip(other))),
    }
    if config.size > MAX_CONFIG as u64 {
        return Err(ManifestError::Size {
            field: "config".into(),
            size: i64::try_from(config.size).unwrap_or(i64::MAX),
        });
    }
    let layers = layers
        .into_iter()
        .enumerate()
        .map(|(n, raw)| {
            let blob = descriptor(&raw, || format!("layers[{n}]"))?;
            if !is_layer_type(&blob.media_type) {
                return Err(ManifestError::LayerType {
                    digest: blob.digest,
                    media_type: clip(&blob.media_type),
                });
            }
            Ok(Layer {
                blob,
                urls: raw.urls.unwrap_or_default(),
            })
        })
        .collect::<Result<_, ManifestError>>()?;
    Ok(Document::Image(Manifest { config, layers }))
}

fn index(manifests: Vec<RawDescriptor>) -> Result<Document, ManifestError> {
    if manifests.len() > MAX_ENTRIES {
        return Err(ManifestError::TooMany {
            what: "manifests",
            count: manifests.len(),
            most: MAX_ENTRIES,
        });
    }
    let mut entries = Vec::with_capacity(manifests.len());
    for (n, mut raw) in manifests.into_iter().enumerate() {
        let manifest = descriptor(&raw, || format!("manifests[{n}]"))?;
        // Signatures, attestations and the like stand beside the images.
        if !manifest.media_type.is_empty() && !is_document_type(&manifest.media_type) {
            continue;
        }
        let mut annotations = raw.annotations.take().unwrap_or_default();
        entries.push(Entry {
            manifest,
            platform: raw.platform.map(|p| Platform {
                os: p.os,
                architecture: p.architecture,
                variant: p.variant.unwrap_or_default(),
            }),
            ref_name: annotations.remove("org.opencontainers.image.ref.name"),
            image_name: annotations.remove("io.containerd.image.name"),
        });
    }
    Ok(Document::Index(entries))
}

/// A tar, plain or compressed by a method that we know.
fn is_layer_type(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    )
}

/// The entry of an index for `wanted`, or the platforms that are there instead.
pub fn choose<'a>(entries: &'a [Entry], wanted: &Platform) -> Result<&'a Entry, Vec<String>> {
    wanted
        .choose(entries.iter().map(|e| (e, e.platform.as_ref())))
        .ok_or_else(|| {
            let mut there: Vec<String> = entries
                .iter()
                .filter_map(|e| e.platform.as_ref())
                .filter(|p| p.os != "unknown")
                .map(|p| clip(&p.to_string()))
                .collect();
            there.sort();
            there.dedup();
            there.truncate(30);
            there
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn config() -> Value {
        json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": D, "size": 2})
    }

    fn read(value: Value) -> Result<Document, ManifestError> {
        Document::parse(value.to_string().as_bytes(), "")
    }

    #[test]
    fn reads_images_of_both_kinds() {
        for (kind, layer) in [
            (OCI_MANIFEST, GZIP),
            (OCI_MANIFEST, "application/vnd.oci.image.layer.v1.tar+zstd"),
            (OCI_MANIFEST, "application/vnd.oci.image.layer.v1.tar"),
            (
                DOCKER_MANIFEST,
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
        ] {
            let Ok(Document::Image(m)) = read(json!({
                "schemaVersion": 2, "mediaType": kind, "config": config(),
                "layers": [{"mediaType": layer, "digest": D, "size": 10}],
            })) else {
                panic!("{kind}")
            };
            assert_eq!(m.layers[0].blob.media_type, layer);
        }
    }

    #[test]
    fn reads_indexes_and_chooses() {
        let Ok(Document::Index(entries)) = read(json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [
                {"mediaType": OCI_MANIFEST, "digest": D, "size": 1,
                 "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
                {"mediaType": OCI_MANIFEST, "digest": D, "size": 2,
                 "platform": {"os": "unknown", "architecture": "unknown"}},
                {"mediaType": "application/vnd.in-toto+json", "digest": D, "size": 3},
            ],
        })) else {
            panic!("no index")
        };
        assert_eq!(entries.len(), 2);
        let arm = Platform::parse("linux/arm64").unwrap();
        assert_eq!(choose(&entries, &arm).unwrap().manifest.size, 1);
        let amd = Platform::parse("linux/amd64").unwrap();
        assert_eq!(choose(&entries, &amd), Err(vec!["linux/arm64/v8".into()]));
    }

    #[test]
    fn ambiguity_is_refused() {
        let both = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config(),
            "layers": [], "manifests": [],
        });
        assert!(matches!(read(both), Err(ManifestError::Ambiguous(..))));
        let config_and_manifests = json!({"schemaVersion": 2, "config": config(), "manifests": []});
        assert!(matches!(
            read(config_and_manifests),
            Err(ManifestError::Ambiguous(..))
        ));
        let image = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": config(), "layers": []});
        assert!(matches!(
            Document::parse(image.to_string().as_bytes(), OCI_INDEX),
            Err(ManifestError::TypeDiffers { .. })
        ));
        let untyped = json!({"schemaVersion": 2, "config": config(), "layers": []});
        assert!(matches!(
            Document::parse(untyped.to_string().as_bytes(), OCI_INDEX),
            Err(ManifestError::TypeDiffers { .. })
        ));
        assert!(Document::parse(untyped.to_string().as_bytes(), "application/json").is_ok());
        // The same key twice is the same trick.
        let twice = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[],"layers":[]}}"#,
            config()
        );
        assert!(matches!(
            Document::parse(twice.as_bytes(), ""),
            Err(ManifestError::Json(_))
        ));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let layer = |v: Value| {
            read(json!({"schemaVersion": 2, "config": config(), "layers": [v]})).unwrap_err()
        };
        assert!(matches!(
            layer(json!({"mediaType": GZIP, "digest": "sha256:../../x", "size": 1})),
            ManifestError::Digest { .. }
        ));
        assert!(matches!(
            layer(json!({"mediaType": GZIP, "digest": D, "size": -1})),
            ManifestError::Size { .. }
        ));
        assert!(matches!(
            layer(json!({"mediaType": "text/plain", "digest": D, "size": 1})),
            ManifestError::LayerType { .. }
        ));
        assert_eq!(
            read(json!({"schemaVersion": 1, "fsLayers": []})),
            Err(ManifestError::Schema1)
        );
        assert_eq!(
            read(json!({"layers": []})),
            Err(ManifestError::SchemaVersion(0))
        );
        assert!(matches!(
            read(json!({"schemaVersion": 2, "layers": [],
                "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": D, "size": 1}})),
            Err(ManifestError::Artifact(_))
        ));
        let many: Vec<Value> = (0..=MAX_LAYERS)
            .map(|_| json!({"mediaType": GZIP, "digest": D, "size": 1}))
            .collect();
        assert!(matches!(
            read(json!({"schemaVersion": 2, "config": config(), "layers": many})),
            Err(ManifestError::TooMany { .. })
        ));
        assert_eq!(
            Document::parse(&vec![b' '; MAX_MANIFEST + 1], ""),
            Err(ManifestError::TooLarge)
        );
    }

    #[test]
    fn foreign_layers_are_seen() {
        let Ok(Document::Image(m)) = read(json!({
            "schemaVersion": 2, "config": config(),
            "layers": [{"mediaType": GZIP, "digest": D, "size": 1, "urls": ["https://x.example/l"]}],
        })) else {
            panic!()
        };
        assert!(matches!(m.refuse_foreign(), Err(ManifestError::Foreign(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), sent in ".{0,40}") {
            let _ = Document::parse(&bytes, &sent);
        }
    }
}
