//! The images as they are published: immutable, and looked up in memory.

use std::{collections::HashMap, sync::Arc};

use super::{
    digest::Digest,
    error::ImageError,
    plan::Records,
    record::{Image, Pins},
    reference::{AnyReference, Named, Reference},
    registries::Registries,
};

/// One snapshot of all images.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    records: Records,
    /// In the order of their IDs, which never changes.
    images: Vec<Arc<Image>>,
    by_id: HashMap<String, usize>,
    by_name: HashMap<String, usize>,
}

impl Catalogue {
    pub(crate) fn new(records: Records, pins: &Pins) -> Self {
        let images: Vec<Arc<Image>> = records
            .values()
            .map(|record| Arc::new(Image::of(record, pins)))
            .collect();
        let mut by_id = HashMap::new();
        let mut by_name = HashMap::new();
        for (n, record) in records.values().enumerate() {
            by_id.insert(record.id.to_string(), n);
            for name in &record.inner_digests {
                by_name.entry(name.clone()).or_insert(n);
            }
        }
        for (n, record) in records.values().enumerate() {
            for name in record.tags.keys().chain(record.digests.keys()) {
                by_name.insert(name.clone(), n);
            }
        }
        Self {
            records,
            images,
            by_id,
            by_name,
        }
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    pub(crate) fn images(&self) -> &[Arc<Image>] {
        &self.images
    }

    pub(crate) fn by_id(&self, id: &Digest) -> Option<&Arc<Image>> {
        self.images.get(*self.by_id.get(id.as_str())?)
    }

    /// The image that a caller means by `text`.
    ///
    /// A name goes before the beginning of an ID: an image must not come in place of another because
    /// its ID happens to begin like a name.
    pub(crate) fn find(
        &self,
        text: &str,
        registries: &Registries,
    ) -> Result<Option<&Arc<Image>>, ImageError> {
        let parsed = AnyReference::parse(text).map_err(|source| ImageError::InvalidReference {
            value: super::digest::clip(text),
            source,
        })?;
        let (name, id_prefix) = match parsed {
            AnyReference::Id(id) => return Ok(self.by_id(&id)),
            AnyReference::Other { name, id_prefix } => (name, id_prefix),
        };
        if let Some(name) = name
            && let Some(image) = self.by_name(&name, registries)
        {
            return Ok(Some(image));
        }
        match id_prefix {
            Some(prefix) => self.by_prefix(text, &prefix),
            None => Ok(None),
        }
    }

    fn by_name(&self, name: &Named, registries: &Registries) -> Option<&Arc<Image>> {
        let mut candidates = registries.candidates(name).unwrap_or_default();
        if let Named::Short(short) = name {
            // What was loaded under a bare name.
            candidates.push(short.at("localhost"));
        }
        candidates
            .iter()
            .find_map(|reference| self.images.get(*self.by_name.get(&key(reference))?))
    }

    fn by_prefix(&self, text: &str, prefix: &str) -> Result<Option<&Arc<Image>>, ImageError> {
        let Some(first) = Digest::from_hex(&format!("{prefix:0<64}")) else {
            return Ok(None);
        };
        let found: Vec<&Digest> = self
            .records
            .range(first..)
            .map(|(id, _)| id)
            .take_while(|id| id.hex().starts_with(prefix))
            .take(5)
            .collect();
        match found.as_slice() {
            [] => Ok(None),
            [only] => Ok(self.by_id(only)),
            several => Err(ImageError::Ambiguous {
                value: text.to_owned(),
                candidates: several
                    .iter()
                    .map(|id| &id.hex()[..12])
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }
}

/// What an image is filed under: a digest where there is one, the tag otherwise.
fn key(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest),
        None => reference.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{config::ImageConfig, record::ImageRecord};

    fn record(id: &str, tags: &[&str], digests: &[&str]) -> ImageRecord {
        ImageRecord {
            id: Digest::from_hex(&format!("{id:0<64}")).unwrap(),
            tags: tags.iter().map(|t| ((*t).to_owned(), 1)).collect(),
            digests: digests.iter().map(|t| ((*t).to_owned(), 1)).collect(),
            inner_digests: ["r.example/inner@sha256:".to_owned() + &"3".repeat(64)].into(),
            layers: Vec::new(),
            config: ImageConfig::default(),
            size: 0,
            added_at: 0,
        }
    }

    fn catalogue(records: Vec<ImageRecord>) -> Catalogue {
        Catalogue::new(
            records.into_iter().map(|r| (r.id.clone(), r)).collect(),
            &Pins::default(),
        )
    }

    #[test]
    fn by_every_kind_of_reference() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let c = catalogue(vec![
            record(
                "abc1",
                &[
                    "docker.io/library/busybox:latest",
                    "docker.io/library/busybox:1.36",
                ],
                &[&format!("docker.io/library/busybox@{digest}")],
            ),
            record("abc2", &["localhost/loaded:latest"], &[]),
            record("beef", &["docker.io/library/abc2:latest"], &[]),
        ]);
        let id = |text: &str| {
            c.find(text, &Registries::default())
                .unwrap()
                .map(|i| i.id[7..11].to_owned())
        };
        let full = format!("{:0<64}", "abc1");
        for text in [
            &full,
            &format!("sha256:{full}"),
            "abc1",
            "sha256:abc1",
            "busybox",
            "busybox:1.36",
            "library/busybox",
            "docker.io/library/busybox:latest",
            "index.docker.io/busybox",
            &format!("busybox@{digest}"),
            &format!("busybox:any@{digest}"),
            &format!("r.example/inner@sha256:{}", "3".repeat(64)),
        ] {
            assert_eq!(id(text).as_deref(), Some("abc1"), "{text}");
        }
        assert_eq!(id("loaded").as_deref(), Some("abc2"));
        // A name wins over the beginning of an ID.
        assert_eq!(id("abc2").as_deref(), Some("beef"));
        for text in ["busybox:2", "quay.io/busybox", "bead", &"d".repeat(64)] {
            assert_eq!(id(text), None, "{text}");
        }
        assert!(matches!(
            c.find("abc", &Registries::default()),
            Err(ImageError::Ambiguous { .. })
        ));
        assert!(matches!(
            c.find("", &Registries::default()),
            Err(ImageError::InvalidReference { .. })
        ));
    }

    #[test]
    fn the_order_is_stable() {
        let a = catalogue(vec![record("b", &[], &[]), record("a", &[], &[])]);
        let b = catalogue(vec![record("a", &["x.y/z:1"], &[]), record("b", &[], &[])]);
        let ids = |c: &Catalogue| c.images().iter().map(|i| i.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&a), ids(&b));
    }
}
