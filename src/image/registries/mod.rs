//! Where images are pulled from: containers-registries.conf(5), version 2.

mod file;
mod resolve;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use file::ConfError;
pub use resolve::{Endpoint, Resolution, ResolveError};

use super::reference::Reference;

/// What to do with a short name that several registries may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShortNameMode {
    /// Refuse it.
    Enforcing,
    /// Try them all.
    #[default]
    Permissive,
    /// Try them all, without a thought for aliases' absence.
    Disabled,
}

/// Which references a mirror serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MirrorFor {
    /// All.
    #[default]
    All,
    /// Those by digest.
    DigestOnly,
    /// Those by tag.
    TagOnly,
}

/// A host, a path below it, and whether TLS is demanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// `host[:port][/path]`; empty leaves the name as it is.
    pub location: String,
    /// Accept any certificate, and plain HTTP; `None` where the file doesn't say.
    pub insecure: Option<bool>,
}

/// A mirror of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where it is.
    pub at: Location,
    /// What it serves.
    pub serves: MirrorFor,
}

/// A `[[registry]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// What names it is about: `host[:port][/path…]` or `*.host`.
    pub prefix: String,
    /// Where they are.
    pub at: Location,
    /// Not to be pulled from at all.
    pub blocked: bool,
    /// Tried before, in order.
    pub mirrors: Vec<Mirror>,
    /// The file that says so, for messages.
    pub file: PathBuf,
}

/// The configuration of registries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registries {
    registries: Vec<Registry>,
    /// `None` when no file says: then Docker Hub is meant.
    search: Option<Vec<String>>,
    aliases: BTreeMap<String, Reference>,
    mode: ShortNameMode,
}

impl Registries {
    /// Reads a file and the drop-ins beside it (`FILE.d/*.conf`); what is missing says nothing.
    pub fn load(path: &Path) -> Result<Self, ConfError> {
        let mut conf = Self::default();
        if let Some(text) = file::read(path)? {
            conf.merge(&text, path)?;
        }
        let mut dir = path.as_os_str().to_owned();
        dir.push(".d");
        for drop_in in file::drop_ins(Path::new(&dir))? {
            if let Some(text) = file::read(&drop_in)? {
                conf.merge(&text, &drop_in)?;
            }
        }
        Ok(conf)
    }

    /// Reads a configuration from a text.
    pub fn parse(text: &str) -> Result<Self, ConfError> {
        let mut conf = Self::default();
        conf.merge(text, Path::new("registries.conf"))?;
        Ok(conf)
    }

    /// Lays what `text` says over what is there.
    fn merge(&mut self, text: &str, path: &Path) -> Result<(), ConfError> {
        let parsed = file::parse(text, path)?;
        for registry in parsed.registries {
            self.registries.retain(|r| r.prefix != registry.prefix);
            self.registries.push(registry);
        }
        if parsed.search.is_some() {
            self.search = parsed.search;
        }
        if let Some(mode) = parsed.mode {
            self.mode = mode;
        }
        for (name, alias) in parsed.aliases {
            match alias {
                Some(reference) => self.aliases.insert(name, reference),
                None => self.aliases.remove(&name),
            };
        }
        Ok(())
    }
}
