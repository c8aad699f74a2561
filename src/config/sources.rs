//! Reading the layers of the configuration in order.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use toml::Value;

use super::{
    error::{ConfigError, Origin},
    options::Config,
    runtime::{Runtime, Runtimes, TableProblem},
    table::OptionSpec,
    value::{Shape, from_text},
};

/// The file read where none is named.
pub(super) const DEFAULT_FILE: &str = "/etc/corten/corten.toml";

/// The most of a file that is read.
const FILE_MAX: u64 = 1 << 20;

/// Where to look for settings.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file; `None` takes `/etc/corten/corten.toml`, if it is there.
    pub file: Option<PathBuf>,
    /// The directory of drop-ins; `None` takes the file's path with `.d` for `.toml`, if it is there.
    pub directory: Option<PathBuf>,
    /// Environment variables by name.
    pub variables: BTreeMap<String, OsString>,
    /// Flags by option key, with their values in order.
    pub flags: Vec<(&'static str, Vec<String>)>,
}

/// A configuration, and where each of its values comes from.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Origin by key; an option that is not here has its default.
    pub origins: BTreeMap<String, Origin>,
}

impl Sources {
    /// The process's own environment; `CORTEN_CONFIG` and `CORTEN_CONFIG_DIR` name the file and the drop-ins.
    pub fn from_environment() -> Self {
        let variables: BTreeMap<String, OsString> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, value)| name.starts_with("CORTEN_") && !value.is_empty())
            .collect();
        let path = |name: &str| variables.get(name).map(PathBuf::from);
        Self {
            file: path("CORTEN_CONFIG"),
            directory: path("CORTEN_CONFIG_DIR"),
            variables,
            flags: Vec::new(),
        }
    }

    /// Variables that look like ours and set nothing: slips, most likely.
    pub fn unknown_variables(&self) -> impl Iterator<Item = &str> {
        let known = |name: &str| {
            ["CORTEN_CONFIG", "CORTEN_CONFIG_DIR"].contains(&name)
                || Config::OPTIONS.iter().any(|spec| spec.variable() == name)
        };
        self.variables
            .keys()
            .map(String::as_str)
            .filter(move |name| !known(name))
    }

    /// Reads every layer and checks the result.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = Loaded::default();
        let file = self.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        loaded.file(&file, self.file.is_some())?;
        let directory = self
            .directory
            .clone()
            .unwrap_or_else(|| file.with_extension("d"));
        for drop_in in drop_ins(&directory, self.directory.is_some())? {
            loaded.file(&drop_in, true)?;
        }
        for spec in Config::OPTIONS {
            let name = spec.variable();
            if let Some(text) = self.variables.get(&name) {
                let text = text
                    .to_str()
                    .ok_or_else(|| ConfigError::NotText(name.clone()))?;
                loaded.texts(spec, &[text], Origin::Variable(name.clone()))?;
            }
        }
        for (key, texts) in &self.flags {
            if let Some(spec) = Config::OPTIONS.iter().find(|spec| spec.key == *key) {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                loaded.texts(spec, &texts, Origin::Flag(spec.flag.to_owned()))?;
            }
        }
        loaded.check()?;
        Ok(loaded)
    }
}

/// The drop-ins of a directory in order of their names.
fn drop_ins(directory: &Path, required: bool) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e)
            if !required && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && name.as_encoded_bytes().ends_with(b".toml") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn read_capped(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    File::open(path)
        .map_err(failed)?
        .take(FILE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > FILE_MAX {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit: FILE_MAX,
        });
    }
    Ok(text)
}

impl Loaded {
    fn file(&mut self, path: &Path, required: bool) -> Result<(), ConfigError> {
        let text = match read_capped(path) {
            Err(ConfigError::Read { source, .. })
                if !required && source.kind() == ErrorKind::NotFound =>
            {
                return Ok(());
            }
            other => other?,
        };
        let table: toml::Table = toml::from_str(&text).map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let origin = Origin::File(path.to_owned());
        table
            .iter()
            .try_for_each(|(key, value)| self.set(key, value, &origin))
    }

    /// Sets an option from the values of its flag, or the one of its variable.
    fn texts(
        &mut self,
        spec: &OptionSpec,
        texts: &[&str],
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let value = match spec.shape {
            Shape::List | Shape::Tables => {
                let joined = texts.join(",");
                match spec.shape {
                    Shape::Tables => Runtimes::tables_from_text(&joined),
                    shape => from_text(shape, &joined),
                }
            }
            shape => from_text(shape, texts.last().copied().unwrap_or_default()),
        };
        self.set(spec.key, &value, &origin)
    }

    fn set(&mut self, key: &str, value: &Value, origin: &Origin) -> Result<(), ConfigError> {
        if key == "runtimes" {
            let origins = &mut self.origins;
            return self
                .config
                .runtimes
                .overlay(value, |key| {
                    origins.insert(key, origin.clone());
                })
                .map_err(|wrong| table_error(wrong, origin));
        }
        match self.config.set(key, value) {
            Some(Ok(())) => {
                self.origins.insert(key.to_owned(), origin.clone());
                Ok(())
            }
            Some(Err(problem)) => Err(ConfigError::Value {
                origin: origin.clone(),
                key: key.to_owned(),
                value: value.to_string(),
                problem,
            }),
            None => Err(ConfigError::UnknownKey {
                origin: origin.clone(),
                key: key.to_owned(),
                hint: hint(key, Config::OPTIONS),
            }),
        }
    }
}

fn table_error(wrong: TableProblem, origin: &Origin) -> ConfigError {
    let origin = origin.clone();
    match wrong.problem {
        Some(problem) => ConfigError::Value {
            origin,
            value: wrong.value.to_string(),
            key: wrong.key,
            problem,
        },
        None => {
            let last = wrong.key.rsplit('.').next().unwrap_or_default();
            ConfigError::UnknownKey {
                origin,
                hint: hint(last, Runtime::OPTIONS),
                key: wrong.key,
            }
        }
    }
}

/// Names the option nearest to `key`, when one is near enough to have been meant.
fn hint(key: &str, options: &[OptionSpec]) -> String {
    options
        .iter()
        .map(|spec| (distance(key, spec.key), spec.key))
        .min()
        .filter(|(edits, name)| *edits <= 1 + name.len() / 4)
        .map_or_else(
            || "\"corten config\" prints those there are".to_owned(),
            |(_, name)| format!("do you mean {name}?"),
        )
}

/// How many characters must be added, removed or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Fixture {
        dir: tempfile::TempDir,
        sources: Sources,
    }

    fn fixture(file: &str, drop_ins: &[(&str, &str)]) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("corten.toml");
        std::fs::write(&path, file).unwrap();
        std::fs::create_dir(dir.path().join("corten.d")).unwrap();
        for (name, text) in drop_ins {
            std::fs::write(dir.path().join("corten.d").join(name), text).unwrap();
        }
        let sources = Sources {
            file: Some(path),
            ..Sources::default()
        };
        Fixture { dir, sources }
    }

    fn message(sources: &Sources) -> String {
        sources.load().unwrap_err().to_string()
    }

    #[test]
    fn later_layers_win_key_by_key() {
        let mut fixture = fixture(
            "root = '/a'\nrunroot = '/b'\nstop_timeout = '1s'\npids_limit = 5\n[runtimes.runc]\nargs = ['-x']",
            &[
                (
                    "20.toml",
                    "runroot = '/d'\n[runtimes.crun]\npath = '/bin/crun'",
                ),
                (
                    "10.toml",
                    "runroot = '/c'\nstop_timeout = '2s'\npids_limit = 6",
                ),
                ("30.toml.bak", "runroot = '/e'"),
                (".40.toml", "runroot = '/e'"),
            ],
        );
        let variables = [("CORTEN_STOP_TIMEOUT", "3s"), ("CORTEN_PIDS_LIMIT", "7")];
        fixture.sources.variables = variables
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into();
        fixture.sources.flags = vec![("pids_limit", vec!["8".into()])];
        let loaded = fixture.sources.load().unwrap();
        let config = &loaded.config;
        assert_eq!(config.root, PathBuf::from("/a"));
        assert_eq!(config.runroot, PathBuf::from("/d"));
        assert_eq!(config.stop_timeout, Duration::from_secs(3));
        assert_eq!(config.pids_limit, Some(8));
        assert_eq!(config.runtimes["runc"].args, ["-x"]);
        assert!(config.runtimes.contains_key("crun"));
        assert_eq!(
            loaded.origins["runroot"],
            Origin::File(fixture.dir.path().join("corten.d/20.toml"))
        );
        assert_eq!(
            loaded.origins["pids_limit"],
            Origin::Flag("pids-limit".into())
        );
        assert!(!loaded.origins.contains_key("listen"));
    }

    #[test]
    fn lists_come_from_repeated_flags_and_commas() {
        let mut fixture = fixture("", &[]);
        fixture.sources.flags = vec![
            ("cni_plugin_dirs", vec!["/a".into(), "/b,/c".into()]),
            ("runtimes", vec!["crun=/bin/crun".into(), "kata".into()]),
        ];
        let config = fixture.sources.load().unwrap().config;
        assert_eq!(
            config.cni_plugin_dirs,
            ["/a", "/b", "/c"].map(PathBuf::from)
        );
        assert_eq!(
            config.runtimes.keys().collect::<Vec<_>>(),
            ["corten", "crun", "kata", "runc"]
        );
    }

    #[test]
    fn errors_name_file_key_value_and_remedy() {
        let fixture_ = fixture("stop_timeout = '5 minutes'", &[]);
        let text = message(&fixture_.sources);
        assert!(
            text.contains("corten.toml sets stop_timeout = \"5 minutes\""),
            "{text}"
        );
        assert!(text.contains("like 30s"), "{text}");

        let fixture_ = fixture("", &[("5.toml", "lisen = '/x'")]);
        let text = message(&fixture_.sources);
        assert!(text.contains("5.toml sets lisen"), "{text}");
        assert!(text.contains("do you mean listen?"), "{text}");

        let fixture_ = fixture("[runtimes.runc]\npth = '/x'", &[]);
        let text = message(&fixture_.sources);
        assert!(
            text.contains("runtimes.runc.pth") && text.contains("path?"),
            "{text}"
        );

        let fixture_ = fixture("completely_else = 1", &[]);
        assert!(message(&fixture_.sources).contains("corten config"));

        let fixture_ = fixture("root = ", &[]);
        assert!(message(&fixture_.sources).contains("line 1"));

        let mut fixture_ = fixture("", &[]);
        fixture_.sources.flags = vec![("host_ports", vec!["perhaps".into()])];
        let text = message(&fixture_.sources);
        assert!(
            text.contains("--host-ports") && text.contains("true or false"),
            "{text}"
        );
    }

    #[test]
    fn files_that_were_named_must_be_there() {
        let sources = Sources {
            file: Some("/nowhere/corten.toml".into()),
            ..Sources::default()
        };
        assert!(message(&sources).contains("/nowhere/corten.toml"));
        let mut fixture = fixture("", &[]);
        fixture.sources.directory = Some("/nowhere".into());
        assert!(message(&fixture.sources).contains("/nowhere"));
        fixture.sources.file = Some("/dev/null".into());
        fixture.sources.directory = None;
        assert_eq!(fixture.sources.load().unwrap().config, Config::default());
    }

    #[test]
    fn variables_that_set_nothing_are_told() {
        let names = ["CORTEN_ROOT", "CORTEN_CONFIG", "CORTEN_STOP_TIMOUT"];
        let sources = Sources {
            variables: names.map(|name| (name.to_owned(), "/x".into())).into(),
            ..Sources::default()
        };
        assert_eq!(
            sources.unknown_variables().collect::<Vec<_>>(),
            ["CORTEN_STOP_TIMOUT"]
        );
    }

    #[test]
    fn counts_edits() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lisen", "listen"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
