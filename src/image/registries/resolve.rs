//! From a name to the places to ask for it, in order (pure).

use std::path::PathBuf;

use super::{Location, MirrorFor, Registries, Registry, ShortNameMode};
use crate::image::reference::{DEFAULT_REGISTRY, Named, Reference, Short};

/// Where the API of Docker Hub is served.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// A name that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The administrator forbids the registry.
    #[error("registry {prefix:?} is blocked in {file}")]
    Blocked {
        /// The prefix that matched.
        prefix: String,
        /// The file that says so.
        file: PathBuf,
    },
    /// No registry to look in.
    #[error("short name {0:?} has no alias, and unqualified-search-registries is empty")]
    NoSearch(String),
    /// Several registries, and none may be guessed.
    #[error(
        "short name {name:?} is ambiguous: it has no alias, and short-name-mode is enforcing with several unqualified-search-registries ({registries})"
    )]
    Enforced {
        /// The name.
        name: String,
        /// The candidates.
        registries: String,
    },
}

/// A place to ask for a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `host[:port]` that is connected to.
    pub host: String,
    /// Path of the repository there.
    pub repository: String,
    /// Accept any certificate, and plain HTTP.
    pub insecure: bool,
    /// Accept plain HTTP: insecure ones, and those on this machine unless told otherwise.
    pub plain_http: bool,
}

/// A name, and the places to ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The complete name.
    pub reference: Reference,
    /// Mirrors first.
    pub endpoints: Vec<Endpoint>,
}

impl Registries {
    /// The complete names that a given name may stand for, the likeliest first.
    pub fn candidates(&self, name: &Named) -> Result<Vec<Reference>, ResolveError> {
        let short = match name {
            Named::Full(reference) => return Ok(vec![reference.clone()]),
            Named::Short(short) => short,
        };
        if let Some(target) = self.aliases.get(short.path()) {
            return Ok(vec![short.alias(target)]);
        }
        let search = match &self.search {
            None => return Ok(vec![short.at(DEFAULT_REGISTRY)]),
            Some(search) => search,
        };
        match (search.len(), self.mode) {
            (0, _) => Err(ResolveError::NoSearch(short.path().to_owned())),
            (2.., ShortNameMode::Enforcing) => Err(ResolveError::Enforced {
                name: short.path().to_owned(),
                registries: search.join(", "),
            }),
            _ => Ok(at_each(short, search)),
        }
    }

    /// Where to ask for `reference`.
    pub fn resolve(&self, reference: Reference) -> Result<Resolution, ResolveError> {
        let name = reference.to_string();
        let matched = self
            .registries
            .iter()
            .filter_map(|r| match_len(&r.prefix, &name).map(|n| (n, r)))
            .max_by_key(|(n, r)| (r.prefix.len(), *n));
        let Some((len, registry)) = matched else {
            let endpoint = endpoint(&reference, &unconfigured(), 0);
            return Ok(Resolution {
                reference,
                endpoints: vec![endpoint],
            });
        };
        if registry.blocked {
            return Err(ResolveError::Blocked {
                prefix: registry.prefix.clone(),
                file: registry.file.clone(),
            });
        }
        let endpoints = places(registry, &reference)
            .map(|location| endpoint(&reference, location, len))
            .collect();
        Ok(Resolution {
            reference,
            endpoints,
        })
    }
}

impl Resolution {
    /// Marks the endpoints at these hosts as insecure.
    pub fn allowing(mut self, insecure: &[String]) -> Self {
        for endpoint in &mut self.endpoints {
            if insecure.contains(&endpoint.host) {
                (endpoint.insecure, endpoint.plain_http) = (true, true);
            }
        }
        self
    }
}

fn unconfigured() -> Location {
    Location {
        location: String::new(),
        insecure: None,
    }
}

fn at_each(short: &Short, search: &[String]) -> Vec<Reference> {
    search.iter().map(|registry| short.at(registry)).collect()
}

/// The mirrors that serve such a reference, then the registry itself.
fn places<'a>(
    registry: &'a Registry,
    reference: &Reference,
) -> impl Iterator<Item = &'a Location> + use<'a> {
    let by_digest = reference.digest().is_some();
    registry
        .mirrors
        .iter()
        .filter(move |mirror| match mirror.serves {
            MirrorFor::All => true,
            MirrorFor::DigestOnly => by_digest,
            MirrorFor::TagOnly => !by_digest,
        })
        .map(|mirror| &mirror.at)
        .chain([&registry.at])
}

/// How much of `name` the prefix covers, where it does.
fn match_len(prefix: &str, name: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        // `*.example.com` covers any host that ends so.
        Some(suffix) => {
            let host = name.split('/').next().unwrap_or_default();
            let bare = match suffix.rsplit_once(':') {
                Some(_) => host,
                None => host.split(':').next().unwrap_or_default(),
            };
            if !bare.ends_with(suffix) || bare.len() == suffix.len() {
                return None;
            }
            // The port goes with the host.
            host.len()
        }
        None => {
            if !name.starts_with(prefix) {
                return None;
            }
            prefix.len()
        }
    };
    match name.as_bytes().get(end) {
        // Only `host` may be followed by a port, and that is another host.
        Some(b':') if !prefix.contains('/') => None,
        None | Some(b'/' | b':' | b'@') => Some(end),
        _ => None,
    }
}

/// The endpoint at `location`, in place of the first `len` bytes of the name.
fn endpoint(reference: &Reference, location: &Location, len: usize) -> Endpoint {
    let name = reference.name();
    let rest = name.get(len..).unwrap_or_default();
    let placed = if location.location.is_empty() {
        name.clone()
    } else {
        // A prefix down to the tag is replaced by a location down to the tag.
        let (host, path) = location
            .location
            .split_once('/')
            .unwrap_or((&location.location, ""));
        let path = path.split(['@', ':']).next().unwrap_or_default();
        format!("{host}/{path}{rest}")
    };
    let (host, repository) = placed.split_once('/').unwrap_or((&placed, ""));
    let repository = repository.trim_matches('/');
    let host = match host {
        DEFAULT_REGISTRY => DOCKER_HUB_HOST,
        other => other,
    };
    Endpoint {
        insecure: location.insecure == Some(true),
        plain_http: location.insecure.unwrap_or_else(|| is_loopback(host)),
        host: host.to_owned(),
        repository: repository.to_owned(),
    }
}

/// Whether a host is this machine, which no one else can listen in on.
fn is_loopback(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[') {
        return v6
            .split(']')
            .next()
            .and_then(|a| a.parse::<std::net::Ipv6Addr>().ok())
            .is_some_and(|a| a.is_loopback());
    }
    let bare = host.split(':').next().unwrap_or_default();
    bare == "localhost"
        || bare
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::registries::ConfError;
    use proptest::prelude::*;

    fn conf(text: &str) -> Registries {
        Registries::parse(text).unwrap()
    }

    fn places(conf: &Registries, name: &str) -> Vec<String> {
        conf.resolve(Reference::parse(name).unwrap())
            .unwrap()
            .endpoints
            .iter()
            .map(|e| format!("{}/{}", e.host, e.repository))
            .collect()
    }

    #[test]
    fn hosts_may_be_allowed_to_be_insecure() {
        let conf = Registries::default();
        let resolution = conf
            .resolve(Reference::parse("r.example:5000/x").unwrap())
            .unwrap();
        assert!(!resolution.endpoints[0].insecure);
        let other = resolution.clone().allowing(&["r.example".to_owned()]);
        assert!(!other.endpoints[0].insecure && !other.endpoints[0].plain_http);
        let this = resolution.allowing(&["r.example:5000".to_owned()]);
        assert!(this.endpoints[0].insecure && this.endpoints[0].plain_http);
    }

    #[test]
    fn without_configuration() {
        let conf = Registries::default();
        assert_eq!(
            places(&conf, "busybox"),
            ["registry-1.docker.io/library/busybox"]
        );
        assert_eq!(places(&conf, "r.example:5/a/b:t"), ["r.example:5/a/b"]);
        let at = |name: &str| conf.resolve(Reference::parse(name).unwrap()).unwrap();
        assert!(at("127.0.0.1:5000/x").endpoints[0].plain_http);
        assert!(at("[::1]:5000/x").endpoints[0].plain_http);
        assert!(!at("127.0.0.1:5000/x").endpoints[0].insecure);
        assert!(!at("r.example/x").endpoints[0].plain_http);
    }

    #[test]
    fn the_longest_prefix_wins_at_boundaries() {
        let conf = conf(
            r#"
            [[registry]]
            location = "r.example"
            [[registry]]
            prefix = "r.example/team"
            location = "other.example:5000/copy"
            [[registry]]
            prefix = "*.wild.example"
            location = "tame.example"
            [[registry]]
            prefix = "*.deep.wild.example"
            blocked = true
            "#,
        );
        assert_eq!(places(&conf, "r.example/x"), ["r.example/x"]);
        assert_eq!(
            places(&conf, "r.example/team/x"),
            ["other.example:5000/copy/x"]
        );
        assert_eq!(
            places(&conf, "r.example/team:t"),
            ["other.example:5000/copy"]
        );
        assert_eq!(places(&conf, "r.example/teams/x"), ["r.example/teams/x"]);
        assert_eq!(
            places(&conf, "r.example:5000/team/x"),
            ["r.example:5000/team/x"]
        );
        assert_eq!(places(&conf, "a.wild.example/x/y"), ["tame.example/x/y"]);
        assert_eq!(places(&conf, "a.wild.example:5000/x"), ["tame.example/x"]);
        assert_eq!(places(&conf, "wild.example/x"), ["wild.example/x"]);
        assert_eq!(
            places(&conf, "a.wild.example.com/x"),
            ["a.wild.example.com/x"]
        );
        let error = conf
            .resolve(Reference::parse("a.deep.wild.example/x").unwrap())
            .unwrap_err();
        assert!(error.to_string().contains("*.deep.wild.example"), "{error}");
    }

    #[test]
    fn mirrors_come_first_and_serve_what_they_may() {
        let conf = conf(
            r#"
            [[registry]]
            prefix = "docker.io"
            [[registry.mirror]]
            location = "m1.example/hub"
            insecure = true
            [[registry.mirror]]
            location = "m2.example"
            pull-from-mirror = "digest-only"
            [[registry.mirror]]
            location = "m3.example"
            pull-from-mirror = "tag-only"
            "#,
        );
        let hub = "registry-1.docker.io/library/busybox";
        assert_eq!(
            places(&conf, "busybox"),
            [
                "m1.example/hub/library/busybox",
                "m3.example/library/busybox",
                hub
            ]
        );
        let pinned = format!("busybox@sha256:{}", "a".repeat(64));
        assert_eq!(
            places(&conf, &pinned),
            [
                "m1.example/hub/library/busybox",
                "m2.example/library/busybox",
                hub
            ]
        );
        let resolution = conf.resolve(Reference::parse("busybox").unwrap()).unwrap();
        assert!(resolution.endpoints[0].insecure && !resolution.endpoints[1].insecure);
    }

    #[test]
    fn short_names() {
        let names = |conf: &Registries, name: &str| {
            conf.candidates(&Named::parse(name).unwrap()).map(|found| {
                found
                    .iter()
                    .map(Reference::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(
            names(&Registries::default(), "app").unwrap(),
            "docker.io/library/app:latest"
        );
        let searching = conf(
            r#"
            unqualified-search-registries = ["quay.io", "docker.io"]
            [aliases]
            "tool" = "r.example/x/tool"
            "#,
        );
        assert_eq!(
            names(&searching, "app:v1").unwrap(),
            "quay.io/app:v1 docker.io/library/app:v1"
        );
        assert_eq!(names(&searching, "tool:v2").unwrap(), "r.example/x/tool:v2");
        assert_eq!(names(&searching, "r.io/tool").unwrap(), "r.io/tool:latest");
        let strict = conf(
            "short-name-mode = \"enforcing\"\nunqualified-search-registries = [\"a.b\", \"c.d\"]",
        );
        assert!(matches!(
            names(&strict, "app"),
            Err(ResolveError::Enforced { .. })
        ));
        let none = conf("unqualified-search-registries = []");
        assert!(matches!(
            names(&none, "app"),
            Err(ResolveError::NoSearch(_))
        ));
    }

    #[test]
    fn drop_ins_lie_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registries.conf");
        assert_eq!(Registries::load(&path).unwrap(), Registries::default());
        std::fs::write(
            &path,
            "unqualified-search-registries = [\"a.b\"]\n[[registry]]\nlocation = \"r.example\"\ninsecure = true\n[aliases]\nx = \"a.b/x\"\ny = \"a.b/y\"",
        )
        .unwrap();
        let d = dir.path().join("registries.conf.d");
        std::fs::create_dir(&d).unwrap();
        std::fs::write(
            d.join("20-b.conf"),
            "[[registry]]\nlocation = \"r.example\"",
        )
        .unwrap();
        std::fs::write(
            d.join("10-a.conf"),
            "[[registry]]\nlocation = \"r.example\"\nblocked = true\n[aliases]\nx = \"\"",
        )
        .unwrap();
        std::fs::write(d.join("30-c.off"), "not toml at all [").unwrap();
        let conf = Registries::load(&path).unwrap();
        let e = conf
            .resolve(Reference::parse("r.example/x").unwrap())
            .unwrap();
        assert!(!e.endpoints[0].insecure);
        assert!(!conf.aliases.contains_key("x") && conf.aliases.contains_key("y"));
        std::fs::write(d.join("40-d.conf"), "[[registry]]\nlocation = 5").unwrap();
        let error = Registries::load(&path).unwrap_err().to_string();
        assert!(
            error.contains("40-d.conf") && error.contains("location"),
            "{error}"
        );
    }

    #[test]
    fn errors_name_the_key_and_value() {
        for (text, key, value) in [
            ("short-name-mode = \"x\"", "short-name-mode", "x"),
            ("[[registry]]\nblocked = true", "registry.location", ""),
            (
                "[[registry]]\nlocation = \"https://a.b\"",
                "location",
                "https://a.b",
            ),
            ("[[registry]]\nprefix = \"*.a.b/c\"", "prefix", "*.a.b/c"),
            ("[[registry]]\nprefix = \"a b\"", "prefix", "a b"),
            (
                "[[registry]]\nlocation = \"a.b\"\n[[registry.mirror]]\nlocation = \"c.d\"\npull-from-mirror = \"some\"",
                "pull-from-mirror",
                "some",
            ),
            (
                "[[registry]]\nlocation = \"a.b\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"c.d\"\npull-from-mirror = \"all\"",
                "pull-from-mirror",
                "all",
            ),
            ("[aliases]\nx = \"y\"", "aliases", "y"),
            ("[aliases]\nx = \"a.b/y:t\"", "aliases", "a.b/y:t"),
            (
                "unqualified-search-registries = [\"/x\"]",
                "unqualified-search-registries",
                "/x",
            ),
        ] {
            let error = Registries::parse(text).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        assert!(matches!(
            Registries::parse("[registries.search]\nregistries = []"),
            Err(ConfError::Version1 { .. })
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}") {
            let _ = Registries::parse(&text);
        }

        #[test]
        fn endpoints_are_hosts_and_paths(
            prefix in "[a-z]{1,4}\\.[a-z]{1,3}(/[a-z]{1,3}){0,2}",
            location in "[a-z]{1,4}\\.[a-z]{1,3}(/[a-z]{1,3}){0,2}",
            name in "[a-z]{1,4}\\.[a-z]{1,3}(/[a-z]{1,3}){1,3}",
        ) {
            let conf = conf(&format!("[[registry]]\nprefix = {prefix:?}\nlocation = {location:?}"));
            if let Ok(found) = conf.resolve(Reference::parse(&name).unwrap()) {
                for e in found.endpoints {
                    prop_assert!(!e.host.contains('/') && !e.repository.starts_with('/'));
                    prop_assert!(!e.repository.contains("//"));
                }
            }
        }
    }
}
