//! The tables `[runtimes.NAME]`.

use std::{collections::BTreeMap, path::PathBuf};

use toml::Value;

use super::{
    table::options,
    types::{ExecBy, Program, RuntimeKind},
    value::{Setting, Shape},
};

options! {
    /// One OCI runtime.
    pub struct Runtime;

    "runtimes.NAME" {
        /// What it is: "oci", a program that speaks the command line of runc, or "embedded", the runtime
        /// that corten itself is, which has no path.
        kind: RuntimeKind = RuntimeKind::Oci, "" "";

        /// The program: a name looked up in PATH, or an absolute path. Empty: the handler's name.
        path: Option<Program> = None, "" "";

        /// Its state directory. Empty: runtimes/NAME below runroot.
        root: Option<PathBuf> = None, "" "";

        /// Further arguments, put before the runtime's command.
        args: Vec<String> = Vec::new(), "" "";

        /// Annotations of pods that are passed on to it: exact names, or prefixes that end in *.
        allowed_annotations: Vec<String> = Vec::new(), "" "";

        /// Privileged containers get no devices of the host.
        privileged_without_host_devices: bool = false, "" "";

        /// Who runs further processes in its containers: "auto" has the container's monitor do it where the
        /// runtime is runc, crun, youki or corten itself, whose containers are plain processes; "runtime" always it.
        exec: ExecBy = ExecBy::Auto, "" "";
    }
}

impl Runtime {
    /// The program to run for the handler `name`.
    pub fn program(&self, name: &str) -> Program {
        self.path.clone().unwrap_or_else(|| Program(name.into()))
    }
}

/// OCI runtimes by handler name.
#[derive(Debug, Clone, PartialEq)]
pub struct Runtimes(pub BTreeMap<String, Runtime>);

impl Default for Runtimes {
    fn default() -> Self {
        let embedded = Runtime {
            kind: RuntimeKind::Embedded,
            ..Runtime::default()
        };
        Self(BTreeMap::from([
            ("corten".to_owned(), embedded),
            ("runc".to_owned(), Runtime::default()),
        ]))
    }
}

impl Runtimes {
    /// Whether a runtime is only there because it is by default.
    pub fn is_only_implied(&self, name: &str) -> bool {
        self.0.get(name) == Self::default().0.get(name)
    }
}

impl std::ops::Deref for Runtimes {
    type Target = BTreeMap<String, Runtime>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A key inside the tables and what is wrong with it.
#[derive(Debug, PartialEq)]
pub(super) struct TableProblem {
    /// Dotted key.
    pub(super) key: String,
    /// The value found there.
    pub(super) value: Value,
    /// `None` when there is no such key.
    pub(super) problem: Option<String>,
}

impl Runtimes {
    /// Lays tables over what is there; calls `seen` with each dotted key set.
    pub(super) fn overlay(
        &mut self,
        value: &Value,
        mut seen: impl FnMut(String),
    ) -> Result<(), TableProblem> {
        let wrong = |key: &str, value: &Value, problem: Option<String>| TableProblem {
            key: key.to_owned(),
            value: value.clone(),
            problem,
        };
        let tables = value.as_table().ok_or_else(|| {
            let problem = "is no set of tables; write [runtimes.NAME], or NAME=PATH as a flag";
            wrong("runtimes", value, Some(problem.into()))
        })?;
        for (name, table) in tables {
            let at = format!("runtimes.{name}");
            if let Err(problem) = check_name(name) {
                return Err(wrong(&at, table, Some(problem)));
            }
            let Some(fields) = table.as_table() else {
                let problem = format!("is no table; write [{at}] and path = … below it");
                return Err(wrong(&at, table, Some(problem)));
            };
            let runtime = self.0.entry(name.clone()).or_default();
            for (key, value) in fields {
                let dotted = format!("{at}.{key}");
                match runtime.set(key, value) {
                    Some(Ok(())) => seen(dotted),
                    Some(Err(problem)) => return Err(wrong(&dotted, value, Some(problem))),
                    None => return Err(wrong(&dotted, value, None)),
                }
            }
        }
        Ok(())
    }

    /// Reads `NAME=PATH`, or several with commas between, into tables.
    pub(super) fn tables_from_text(text: &str) -> Value {
        let mut tables = toml::Table::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, path) = part.split_once('=').unwrap_or((part, ""));
            let field = ("path".to_owned(), Value::String(path.to_owned()));
            tables.insert(name.to_owned(), Value::Table([field].into_iter().collect()));
        }
        Value::Table(tables)
    }
}

/// A handler's name becomes a directory and the value of an API field.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 63 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(
            "is not a handler name; write up to 63 letters, digits, '-', '_' or '.'".into(),
        );
    }
    Ok(())
}

impl Setting for Runtimes {
    const SHAPE: Shape = Shape::Tables;
    fn read(value: &Value) -> Result<Self, String> {
        let mut runtimes = Self::default();
        runtimes
            .overlay(value, drop)
            .map(|()| runtimes)
            .map_err(|e| format!("has a key {} that is wrong", e.key))
    }
    fn write(&self) -> Value {
        let table = |runtime: &Runtime| {
            let fields = Runtime::OPTIONS
                .iter()
                .filter_map(|spec| Some((spec.key.to_owned(), runtime.get(spec.key)?)));
            Value::Table(fields.collect())
        };
        Value::Table(
            self.0
                .iter()
                .map(|(name, runtime)| (name.clone(), table(runtime)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_merge_by_key() {
        let mut runtimes = Runtimes::default();
        let mut seen = Vec::new();
        let layer = |text: &str| Value::Table(toml::from_str(text).unwrap());
        runtimes
            .overlay(&layer("[runc]\nargs = ['--debug']"), drop)
            .unwrap();
        runtimes
            .overlay(&layer("[runc]\npath = '/opt/runc'\n[crun]"), |key| {
                seen.push(key)
            })
            .unwrap();
        assert_eq!(runtimes["runc"].args, ["--debug"]);
        assert_eq!(
            runtimes["runc"].program("runc"),
            Program("/opt/runc".into())
        );
        assert_eq!(runtimes["crun"].program("crun"), Program("crun".into()));
        assert_eq!(seen, ["runtimes.runc.path"]);
    }

    #[test]
    fn names_and_keys_are_checked() {
        let problem = |text: &str| {
            Runtimes::default()
                .overlay(&Value::Table(toml::from_str(text).unwrap()), drop)
                .unwrap_err()
        };
        assert_eq!(problem("['../x']").key, "runtimes.../x");
        assert_eq!(problem("[runc]\npaht = ''").problem, None);
        assert_eq!(problem("[runc]\nargs = 3").key, "runtimes.runc.args");
        assert!(
            problem("runc = '/bin/runc'")
                .problem
                .unwrap()
                .contains("[runtimes.runc]")
        );
    }

    #[test]
    fn flags_name_a_program() {
        let mut runtimes = Runtimes::default();
        let value = Runtimes::tables_from_text("crun=/usr/bin/crun, youki");
        runtimes.overlay(&value, drop).unwrap();
        assert_eq!(
            runtimes["crun"].program("crun"),
            Program("/usr/bin/crun".into())
        );
        assert_eq!(runtimes["youki"].program("youki"), Program("youki".into()));
    }
}
