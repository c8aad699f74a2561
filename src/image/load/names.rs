//! What images from an archive are called (pure).

use std::path::Path;

use super::ArchiveError;
use crate::image::{
    digest::clip,
    error::ImageError,
    reference::{Named, Reference},
};

/// Names images that have no full name of their own.
#[derive(Debug, Clone)]
pub(super) struct Namer {
    /// As the caller wants.
    given: Option<Reference>,
    given_has_tag: bool,
    /// From the archive's own name.
    stem: String,
}

impl Namer {
    pub(super) fn new(given: Option<&str>, stem: Option<String>) -> Result<Self, ImageError> {
        let given_has_tag = given.is_some_and(|name| {
            let last = name.rsplit('/').next().unwrap_or_default();
            last.contains(':')
        });
        let given = given.map(Reference::parse).transpose().map_err(|source| {
            ImageError::InvalidReference {
                value: clip(given.unwrap_or_default()),
                source,
            }
        })?;
        Ok(Self {
            given,
            given_has_tag,
            stem: stem.unwrap_or_else(|| "loaded".into()),
        })
    }

    /// The name of an image that is annotated with `name`, a full name or a mere tag.
    pub(super) fn name(&self, name: Option<&str>) -> Result<Option<Reference>, ArchiveError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(self.given.clone());
        };
        let bad = |source| ArchiveError::Name {
            name: clip(name),
            source,
        };
        if name.contains(['/', ':', '@']) {
            return Reference::parse(name).map(Some).map_err(bad);
        }
        let text = match &self.given {
            Some(given) if self.given_has_tag => return Ok(Some(given.clone())),
            Some(given) => format!("{}:{name}", given.name()),
            None => format!("localhost/{}:{name}", self.stem),
        };
        match Named::parse(&text).map_err(bad)? {
            Named::Full(reference) => Ok(Some(reference)),
            Named::Short(short) => Ok(Some(short.at("localhost"))),
        }
    }
}

/// A repository's name made of the name of a file or directory.
pub(super) fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = [".tar.gz", ".tgz", ".tar.zst", ".tar"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(&name);
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name = name.trim_matches('-');
    (!name.is_empty() && name.len() <= 100).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tags_and_neither() {
        let name = |given: Option<&str>, stem: Option<&str>, own: Option<&str>| {
            Namer::new(given, stem.map(str::to_owned))
                .unwrap()
                .name(own)
                .unwrap()
                .map(|r| r.to_string())
        };
        assert_eq!(
            name(None, None, Some("r.example/x:1")).as_deref(),
            Some("r.example/x:1")
        );
        assert_eq!(
            name(Some("ignored"), None, Some("busybox:1")).as_deref(),
            Some("docker.io/library/busybox:1")
        );
        assert_eq!(
            name(None, Some("my-app"), Some("v1")).as_deref(),
            Some("localhost/my-app:v1")
        );
        assert_eq!(
            name(None, None, Some("v1")).as_deref(),
            Some("localhost/loaded:v1")
        );
        assert_eq!(
            name(Some("r.example/app"), None, Some("v1")).as_deref(),
            Some("r.example/app:v1")
        );
        assert_eq!(
            name(Some("r.example/app:v9"), None, Some("v1")).as_deref(),
            Some("r.example/app:v9")
        );
        assert_eq!(
            name(Some("r.example/app"), None, None).as_deref(),
            Some("r.example/app:latest")
        );
        assert_eq!(name(None, Some("x"), None), None);
        assert!(Namer::new(Some("Bad Name"), None).is_err());
        assert!(
            Namer::new(None, None)
                .unwrap()
                .name(Some("a/../b"))
                .is_err()
        );
    }

    #[test]
    fn stems() {
        let stem = |p: &str| stem(Path::new(p));
        assert_eq!(stem("/x/My App_1.tar.gz").as_deref(), Some("my-app-1"));
        assert_eq!(stem("/x/layout").as_deref(), Some("layout"));
        assert_eq!(stem("/x/---"), None);
        assert_eq!(stem("/"), None);
    }
}
