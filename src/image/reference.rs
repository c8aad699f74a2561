//! Names of images.
//!
//! The grammar is that of Docker's references; a name without a registry is *short*, and which
//! registry it belongs to is for the registries' configuration to say.

use std::fmt;

use super::digest::{Digest, DigestError, clip, is_hex};

/// The registry of names that carry none, when nothing is configured.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const LEGACY_DEFAULT_REGISTRY: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// Shortest text that is taken for the beginning of an image ID.
const MIN_ID_PREFIX: usize = 3;

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("image reference is empty")]
    Empty,
    /// The whole name is too long.
    #[error("image name {0:?} is longer than {MAX_NAME} characters")]
    TooLong(String),
    /// The host is malformed.
    #[error("registry {registry:?} in image reference {text:?} is no host or host:port")]
    Registry {
        /// The reference.
        text: String,
        /// The part at fault.
        registry: String,
    },
    /// An upper-case letter in the path, the commonest slip.
    #[error("repository {repository:?} in image reference {text:?} must be lower case")]
    UpperCase {
        /// The reference.
        text: String,
        /// The part at fault.
        repository: String,
    },
    /// The path is malformed.
    #[error("repository {repository:?} in image reference {text:?} is malformed")]
    Repository {
        /// The reference.
        text: String,
        /// The part at fault.
        repository: String,
    },
    /// The tag is malformed.
    #[error("tag {tag:?} in image reference {text:?} is malformed")]
    Tag {
        /// The reference.
        text: String,
        /// The part at fault.
        tag: String,
    },
    /// The digest is malformed.
    #[error("image reference {text:?}")]
    Digest {
        /// The reference.
        text: String,
        /// Why.
        #[source]
        source: DigestError,
    },
    /// An ID where a name is needed.
    #[error("{0:?} is an image ID: a name is needed here")]
    IsId(String),
}

/// A complete image name: a registry, a repository there, and a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A name whose registry is not said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// An image name as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// With a registry.
    Full(Reference),
    /// Without.
    Short(Short),
}

/// Anything by which a caller may refer to an image that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyReference {
    /// A whole image ID.
    Id(Digest),
    /// A name, the beginning of an ID, or a text that may be either.
    Other {
        /// As a name.
        name: Option<Named>,
        /// As the beginning of an ID: hexadecimal digits.
        id_prefix: Option<String>,
    },
}

impl Reference {
    /// Reads a name; a short one belongs to Docker Hub, one without tag and digest means `latest`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Ok(match Named::parse(text)? {
            Named::Full(reference) => reference,
            Named::Short(short) => short.at(DEFAULT_REGISTRY),
        })
    }

    /// Assembles a reference from parts that are known to be well-formed.
    fn new(registry: &str, path: &str, tag: Option<String>, digest: Option<Digest>) -> Self {
        let registry = match registry {
            LEGACY_DEFAULT_REGISTRY => DEFAULT_REGISTRY,
            other => other,
        };
        let repository = match registry {
            DEFAULT_REGISTRY if !path.contains('/') => format!("{OFFICIAL}{path}"),
            _ => path.to_owned(),
        };
        let tag = match (&tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            _ => tag,
        };
        Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        }
    }

    /// Host, with a port where one was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path of the repository in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Digest of a manifest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: what tags and digests are said of.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name with its tag, unless a digest pins it (then a tag is only a remark).
    pub fn tagged(&self) -> Option<String> {
        match (&self.tag, &self.digest) {
            (Some(tag), None) => Some(format!("{}:{tag}", self.name())),
            _ => None,
        }
    }

    /// The name with `digest` in place of what it had.
    pub fn with_digest(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name())
    }

    /// The path element by which a registry finds the manifest.
    pub(crate) fn manifest_key(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl Short {
    /// The path alone.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name at a registry, or below a `host/path` of one.
    pub fn at(&self, registry: &str) -> Reference {
        match registry.split_once('/') {
            None => Reference::new(registry, &self.path, self.tag.clone(), self.digest.clone()),
            Some((host, base)) => Reference::new(
                host,
                &format!("{base}/{}", self.path),
                self.tag.clone(),
                self.digest.clone(),
            ),
        }
    }

    /// The name an alias stands for, with the tag and digest of this one.
    pub fn alias(&self, to: &Reference) -> Reference {
        Reference::new(
            &to.registry,
            &to.repository,
            self.tag.clone(),
            self.digest.clone(),
        )
    }
}

impl Named {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::parse(digest).map_err(|source| ReferenceError::Digest {
                    text: clip(text),
                    source,
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon after the last slash begins a tag; one before it, a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') && !is_open_bracket(name) => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(ReferenceError::Tag {
                text: clip(text),
                tag: clip(tag),
            });
        }
        if name.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if name.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(clip(name)));
        }
        if name.len() == 64 && is_hex(name) {
            return Err(ReferenceError::IsId(name.to_owned()));
        }
        let tag = tag.map(str::to_owned);
        match name.split_once('/') {
            Some((host, path)) if looks_like_host(host) => {
                if !is_host(host) {
                    return Err(ReferenceError::Registry {
                        text: clip(text),
                        registry: clip(host),
                    });
                }
                check_path(text, path)?;
                let reference = Reference::new(host, path, tag, digest);
                if reference.registry.len() + 1 + reference.repository.len() > MAX_NAME {
                    return Err(ReferenceError::TooLong(clip(name)));
                }
                Ok(Self::Full(reference))
            }
            _ => {
                check_path(text, name)?;
                // Room for the default registry, so that its full form can be read back.
                if DEFAULT_REGISTRY.len() + 1 + OFFICIAL.len() + name.len() > MAX_NAME {
                    return Err(ReferenceError::TooLong(clip(name)));
                }
                Ok(Self::Short(Short {
                    path: name.to_owned(),
                    tag,
                    digest,
                }))
            }
        }
    }
}

impl AnyReference {
    /// Reads an ID, the beginning of one, or a name.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if let Some(id) = Digest::from_hex(hex) {
            return Ok(Self::Id(id));
        }
        let id_prefix =
            (hex.len() >= MIN_ID_PREFIX && hex.len() < 64 && is_hex(hex)).then(|| hex.to_owned());
        match Named::parse(text) {
            Ok(name) => Ok(Self::Other {
                name: Some(name),
                id_prefix,
            }),
            Err(_) if id_prefix.is_some() => Ok(Self::Other {
                name: None,
                id_prefix,
            }),
            Err(error) => Err(error),
        }
    }
}

/// Whether `name` ends within the brackets of an IPv6 address.
fn is_open_bracket(name: &str) -> bool {
    name.starts_with('[') && !name.contains(']')
}

/// Whether the first element of a name is a registry, as Docker tells them apart.
fn looks_like_host(host: &str) -> bool {
    host.contains(['.', ':']) || host == "localhost" || host.bytes().any(|b| b.is_ascii_uppercase())
}

/// `host` or `host:port`, where host is a DNS name, an IPv4 address or a bracketed IPv6 address.
pub(crate) fn is_host(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        match text.split_once(']') {
            Some((host, "")) => (&host[1..], None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (&host[1..], Some(port)),
                None => return false,
            },
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let good_host = if text.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        host.split('.').all(is_label)
    };
    good_host && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p != 0)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= MAX_TAG
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn check_path(text: &str, path: &str) -> Result<(), ReferenceError> {
    if path.split('/').all(is_path_component) {
        return Ok(());
    }
    if path.to_ascii_lowercase() != path
        && path.to_ascii_lowercase().split('/').all(is_path_component)
    {
        return Err(ReferenceError::UpperCase {
            text: clip(text),
            repository: clip(path),
        });
    }
    Err(ReferenceError::Repository {
        text: clip(text),
        repository: clip(path),
    })
}

/// Runs of lower-case letters and digits, parted by `.`, `_`, `__` or any number of `-`.
pub(crate) fn is_path_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    bytes
        .split(alnum)
        .all(|run| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn familiar_names_are_completed() {
        for (given, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("me/app", "docker.io/me/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/me/app:x", "docker.io/me/app:x"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000/a/b/c:t"),
            ("[::1]:5000/a:t", "[::1]:5000/a:t"),
            ("[::1]/a", "[::1]/a:latest"),
            ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
            ("Reg/app", "Reg/app:latest"),
            ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest"),
            ("test:5000", "docker.io/library/test:5000"),
        ] {
            assert_eq!(Reference::parse(given).unwrap().to_string(), full);
        }
    }

    #[test]
    fn digests_pin() {
        let r = Reference::parse(&format!("busybox@{D}")).unwrap();
        assert_eq!(r.to_string(), format!("docker.io/library/busybox@{D}"));
        assert_eq!(r.tagged(), None);
        let r = Reference::parse(&format!("quay.io/a/b:t@{D}")).unwrap();
        assert_eq!(r.to_string(), format!("quay.io/a/b:t@{D}"));
        assert_eq!(r.manifest_key(), D);
        assert_eq!(r.tagged(), None);
    }

    #[test]
    fn errors_name_the_value() {
        for (bad, part) in [
            ("UPPER/Case/x", "Case/x"),
            ("Upper", "Upper"),
            ("a//b", "a//b"),
            ("a:", "\"\""),
            ("a:-x", "-x"),
            ("a.b:99999/c", "a.b:99999"),
            ("a.b:0/c", "a.b:0"),
            ("-a.b/c", "-a.b"),
            ("a@sha256:12", "a@sha256:12"),
            ("a\n", "a\\n"),
            ("a/../b", "a/../b"),
            ("a.b/..", ".."),
            ("a b", "a b"),
        ] {
            let error = Named::parse(bad).unwrap_err();
            assert!(error.to_string().contains(part), "{bad}: {error}");
        }
        assert_eq!(Named::parse(""), Err(ReferenceError::Empty));
        assert_eq!(Named::parse(":tag"), Err(ReferenceError::Empty));
        assert!(matches!(
            Named::parse(&D[7..]),
            Err(ReferenceError::IsId(_))
        ));
        assert!(matches!(
            Named::parse(&format!("a.b/{}", "x".repeat(300))),
            Err(ReferenceError::TooLong(_))
        ));
        assert!(matches!(
            Named::parse(&format!("a:{}", "x".repeat(129))),
            Err(ReferenceError::Tag { .. })
        ));
    }

    #[test]
    fn short_names_take_a_registry_or_an_alias() {
        let Named::Short(short) = Named::parse("app:v1").unwrap() else {
            panic!("not short")
        };
        assert_eq!(short.at("quay.io").to_string(), "quay.io/app:v1");
        assert_eq!(short.at("quay.io/base").to_string(), "quay.io/base/app:v1");
        let alias = Reference::parse("r.example/x/y").unwrap();
        assert_eq!(short.alias(&alias).to_string(), "r.example/x/y:v1");
    }

    #[test]
    fn ids_and_their_beginnings() {
        let id = Digest::parse(D).unwrap();
        assert_eq!(AnyReference::parse(D), Ok(AnyReference::Id(id.clone())));
        assert_eq!(AnyReference::parse(&D[7..]), Ok(AnyReference::Id(id)));
        let prefix = |text: &str| match AnyReference::parse(text) {
            Ok(AnyReference::Other { id_prefix, .. }) => id_prefix,
            _ => None,
        };
        assert_eq!(prefix("e3b0"), Some("e3b0".into()));
        assert_eq!(prefix("sha256:e3b0c4"), Some("e3b0c4".into()));
        assert_eq!(prefix("e3"), None);
        assert_eq!(prefix("busybox"), None);
        assert!(AnyReference::parse("").is_err());
        assert!(AnyReference::parse("no spaces").is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_and_written_is_read_the_same(
            text in "([a-zA-Z0-9.-]{1,12}(:[0-9]{1,5})?/)?[a-z0-9._/-]{1,20}(:[a-zA-Z0-9._-]{1,10})?"
        ) {
            if let Ok(reference) = Reference::parse(&text) {
                let written = reference.to_string();
                prop_assert_eq!(Reference::parse(&written).unwrap(), reference);
            }
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,300}") {
            let _ = AnyReference::parse(&text);
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert!(!reference.repository().split('/').any(|p| p == ".." || p.is_empty()));
                prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
            }
        }
    }
}
