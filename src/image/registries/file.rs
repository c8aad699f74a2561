//! Reading the registries' configuration.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Location, Mirror, MirrorFor, Registry, ShortNameMode};
use crate::image::{
    digest::clip,
    reference::{Named, Reference, is_host, is_path_component},
};

const MAX_FILE: u64 = 1 << 20;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// It cannot be read.
    #[error("reading {path}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too large.
    #[error("{0} is larger than {MAX_FILE} bytes")]
    TooLarge(PathBuf),
    /// It is not TOML, or a key has another type.
    #[error("{path}: {reason}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// Line, key and reason.
        reason: String,
    },
    /// The format of long ago.
    #[error(
        "{path}: key \"registries\" belongs to version 1 of the format, which is not supported"
    )]
    Version1 {
        /// The file.
        path: PathBuf,
    },
    /// A value that makes no sense.
    #[error("{path}: {key} = {value:?}: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// What one file says.
pub(super) struct Parsed {
    pub(super) registries: Vec<Registry>,
    pub(super) search: Option<Vec<String>>,
    /// An empty alias takes an earlier one back.
    pub(super) aliases: BTreeMap<String, Option<Reference>>,
    pub(super) mode: Option<ShortNameMode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawFile {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    #[serde(default)]
    registry: Vec<RawRegistry>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    registries: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawRegistry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    insecure: Option<bool>,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<RawMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMirror {
    #[serde(default)]
    location: String,
    insecure: Option<bool>,
    #[serde(default)]
    pull_from_mirror: String,
}

/// The text of a file; `None` when it is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, ConfError> {
    let failed = |source| ConfError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(ConfError::TooLarge(path.to_owned()));
    }
    Ok(Some(text))
}

/// The drop-ins of a directory, in the order in which they apply.
pub(super) fn drop_ins(dir: &Path) -> Result<Vec<PathBuf>, ConfError> {
    let failed = |source| ConfError::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(e) => return Err(failed(e)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "conf") && p.is_file());
    paths.sort();
    Ok(paths)
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Parsed, ConfError> {
    let raw: RawFile = toml::from_str(text).map_err(|e| ConfError::Toml {
        path: path.to_owned(),
        reason: clip(e.to_string().trim_end()),
    })?;
    if raw.registries.is_some() {
        return Err(ConfError::Version1 {
            path: path.to_owned(),
        });
    }
    let at = File { path };
    let registries = raw
        .registry
        .into_iter()
        .map(|r| at.registry(r))
        .collect::<Result<_, _>>()?;
    if let Some(search) = &raw.unqualified_search_registries {
        for host in search {
            at.check_location("unqualified-search-registries", host)?;
        }
    }
    let mode = raw
        .short_name_mode
        .map(|mode| match mode.as_str() {
            "enforcing" => Ok(ShortNameMode::Enforcing),
            "permissive" => Ok(ShortNameMode::Permissive),
            "disabled" => Ok(ShortNameMode::Disabled),
            _ => Err(at.value(
                "short-name-mode",
                &mode,
                "it is enforcing, permissive or disabled",
            )),
        })
        .transpose()?;
    let aliases = raw
        .aliases
        .into_iter()
        .map(|(name, target)| at.alias(name, &target))
        .collect::<Result<_, _>>()?;
    Ok(Parsed {
        registries,
        search: raw.unqualified_search_registries,
        aliases,
        mode,
    })
}

struct File<'a> {
    path: &'a Path,
}

impl File<'_> {
    fn value(&self, key: impl Into<String>, value: &str, reason: &'static str) -> ConfError {
        ConfError::Value {
            path: self.path.to_owned(),
            key: key.into(),
            value: clip(value),
            reason,
        }
    }

    fn registry(&self, raw: RawRegistry) -> Result<Registry, ConfError> {
        let prefix = match (raw.prefix.as_str(), raw.location.as_str()) {
            ("", "") => {
                return Err(self.value(
                    "registry.location",
                    "",
                    "a registry needs a prefix or a location",
                ));
            }
            ("", location) => trim(location),
            (prefix, _) => trim(prefix),
        };
        let key = |name: &str| format!("registry[{prefix:?}].{name}");
        match prefix.strip_prefix("*.") {
            Some(host) if is_host(host) => {}
            Some(_) => {
                return Err(self.value(
                    key("prefix"),
                    prefix,
                    "only a host may follow the wildcard",
                ));
            }
            None if raw.prefix.is_empty() => self.check_location(&key("location"), prefix)?,
            None => self.check_location(&key("prefix"), prefix)?,
        }
        let location = match trim(&raw.location) {
            "" if prefix.starts_with("*.") => "",
            "" => prefix,
            location => {
                self.check_location(&key("location"), location)?;
                location
            }
        };
        let mut mirrors = Vec::with_capacity(raw.mirror.len());
        for mirror in raw.mirror {
            let location = trim(&mirror.location);
            self.check_location(&key("mirror.location"), location)?;
            let serves = match (mirror.pull_from_mirror.as_str(), raw.mirror_by_digest_only) {
                ("", true) => MirrorFor::DigestOnly,
                ("" | "all", false) => MirrorFor::All,
                ("digest-only", false) => MirrorFor::DigestOnly,
                ("tag-only", false) => MirrorFor::TagOnly,
                (value @ ("all" | "digest-only" | "tag-only"), true) => {
                    return Err(self.value(
                        key("mirror.pull-from-mirror"),
                        value,
                        "it cannot be combined with mirror-by-digest-only",
                    ));
                }
                (value, _) => {
                    return Err(self.value(
                        key("mirror.pull-from-mirror"),
                        value,
                        "it is all, digest-only or tag-only",
                    ));
                }
            };
            mirrors.push(Mirror {
                at: Location {
                    location: location.to_owned(),
                    insecure: mirror.insecure,
                },
                serves,
            });
        }
        Ok(Registry {
            prefix: prefix.to_owned(),
            at: Location {
                location: location.to_owned(),
                insecure: raw.insecure,
            },
            blocked: raw.blocked,
            mirrors,
            file: self.path.to_owned(),
        })
    }

    fn check_location(&self, key: &str, location: &str) -> Result<(), ConfError> {
        let (host, path) = location.split_once('/').unwrap_or((location, ""));
        if location.contains("://") {
            return Err(self.value(key, location, "no scheme belongs here"));
        }
        if !is_host(host) {
            return Err(self.value(key, location, "it does not begin with a host or host:port"));
        }
        if !path.is_empty() && !path_and_tag(path) {
            return Err(self.value(key, location, "its path is malformed"));
        }
        Ok(())
    }

    fn alias(&self, name: String, target: &str) -> Result<(String, Option<Reference>), ConfError> {
        let key = || format!("aliases.{name:?}");
        match Named::parse(&name) {
            Ok(Named::Short(short)) if short.path() == name => {}
            _ => return Err(self.value(key(), target, "the alias is no short name")),
        }
        if target.is_empty() {
            return Ok((name, None));
        }
        match Named::parse(target) {
            Ok(Named::Full(reference))
                if reference.digest().is_none()
                    && !target[reference.registry().len()..].contains(':') =>
            {
                Ok((name, Some(reference)))
            }
            _ => Err(self.value(
                key(),
                target,
                "it is no name with a registry and without tag and digest",
            )),
        }
    }
}

/// A prefix may go down to a tag or a digest.
fn path_and_tag(path: &str) -> bool {
    let path = path.split(['@', ':']).next().unwrap_or_default();
    path.split('/').all(is_path_component)
}

fn trim(location: &str) -> &str {
    location.trim_end_matches('/')
}
