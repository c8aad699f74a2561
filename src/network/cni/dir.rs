//! The directory of network configurations: reading it and choosing one.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    conf::{ConfError, ConfList, MAX_PLUGINS, PluginConf},
    plugin::{PluginError, Runner},
};
use crate::network::native::plugin::{Usage, Way, ways};

/// Largest configuration file.
const MAX_FILE: u64 = 1 << 20;
/// Most configuration files.
const MAX_FILES: usize = 256;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The directory cannot be read.
    #[error("cannot be read")]
    List(#[source] io::Error),
    /// A file cannot be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// A file is no file.
    #[error("is not a regular file")]
    NotFile,
    /// Too much.
    #[error("is larger than {MAX_FILE} bytes")]
    TooLarge,
    /// Too many.
    #[error("has more than {0} files")]
    TooMany(usize),
    /// What it says is wrong.
    #[error(transparent)]
    Conf(#[from] ConfError),
    /// It has no plugins.
    #[error("plugins: is empty, and {} has none", .0.display())]
    NoPlugins(PathBuf),
    /// A plugin's own file is wrong.
    #[error("{}", path.display())]
    PluginFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<DirError>,
    },
    /// A plugin is not installed.
    #[error("plugin {kind}")]
    Plugin {
        /// Which.
        kind: String,
        /// Where it was looked for.
        #[source]
        source: PluginError,
    },
}

/// A configuration that cannot be used and why.
#[derive(Debug)]
pub struct Problem {
    /// The file, or the directory.
    pub path: PathBuf,
    /// Why.
    pub error: DirError,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Scan {
    /// The configurations that can be used, by file name.
    pub usable: Vec<(PathBuf, ConfList)>,
    /// The others.
    pub problems: Vec<Problem>,
    /// The directory is there.
    pub exists: bool,
}

impl Scan {
    /// Reads all configurations in `dir`; one counts as usable when all its plugins are installed, but for those that
    /// are done natively. Blocking.
    pub fn read(dir: &Path, runner: &Runner, usage: Usage) -> Self {
        let mut scan = Self::default();
        let files = match files(dir, &["conf", "conflist", "json"]) {
            Ok(Some(files)) => files,
            Ok(None) => return scan,
            Err(error) => {
                scan.exists = true;
                scan.problems.push(Problem {
                    path: dir.to_owned(),
                    error,
                });
                return scan;
            }
        };
        scan.exists = true;
        for path in files {
            match load(&path).and_then(|list| installed(list, runner, usage)) {
                Ok(list) => scan.usable.push((path, list)),
                Err(error) => scan.problems.push(Problem { path, error }),
            }
        }
        scan
    }

    /// The one to use: the first, or the one whose network is called `name`.
    pub fn choose(&self, name: Option<&str>) -> Option<&ConfList> {
        self.usable
            .iter()
            .map(|(_, list)| list)
            .find(|list| name.is_none_or(|name| list.name == name))
    }

    /// Says why there is nothing to use.
    pub fn complaint(&self, dir: &Path, name: Option<&str>) -> String {
        let mut text = match name {
            Some(name) => format!("no usable CNI configuration of the network {name:?} in "),
            None => "no usable CNI configuration in ".to_owned(),
        };
        text.push_str(&dir.display().to_string());
        if !self.exists {
            text.push_str(": there is no such directory");
        } else if self.usable.is_empty() && self.problems.is_empty() {
            text.push_str(": it has no .conflist, .conf or .json file");
        } else if !self.usable.is_empty() {
            let names: Vec<_> = self.usable.iter().map(|(_, l)| l.name.as_str()).collect();
            text.push_str(&format!(": it has {}", names.join(", ")));
        }
        for problem in &self.problems {
            text.push_str(&format!("; {problem}"));
        }
        text
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        let mut error: Option<&dyn std::error::Error> = Some(&self.error);
        while let Some(e) = error {
            write!(f, ": {e}")?;
            error = e.source();
        }
        Ok(())
    }
}

/// The files of `dir` with one of `extensions`, in order of their names; `None` when there is no such directory.
fn files(dir: &Path, extensions: &[&str]) -> Result<Option<Vec<PathBuf>>, DirError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DirError::List(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(DirError::List)?.path();
        let wanted = |e: &OsStr| extensions.iter().any(|x| e == OsStr::new(x));
        if path.extension().is_some_and(wanted) {
            found.push(path);
        }
        if found.len() > MAX_FILES {
            return Err(DirError::TooMany(MAX_FILES));
        }
    }
    found.sort_unstable();
    Ok(Some(found))
}

fn load(path: &Path) -> Result<ConfList, DirError> {
    let bytes = read_capped(path)?;
    if path.extension() != Some(OsStr::new("conflist")) {
        return Ok(ConfList::parse_single(&bytes)?);
    }
    let parsed = ConfList::parse_list(&bytes)?;
    let mut list = parsed.list;
    if parsed.load_more
        && let Some(dir) = path.parent().map(|p| p.join(&list.name))
    {
        for path in files(&dir, &["conf"])?.unwrap_or_default() {
            let plugin = read_capped(&path).and_then(|b| Ok(PluginConf::parse_file(&b)?));
            list.plugins
                .push(plugin.map_err(|source| DirError::PluginFile {
                    path,
                    source: Box::new(source),
                })?);
        }
        if list.plugins.is_empty() {
            return Err(DirError::NoPlugins(dir));
        }
        if list.plugins.len() > MAX_PLUGINS {
            return Err(DirError::TooMany(MAX_PLUGINS));
        }
    }
    Ok(list)
}

fn installed(list: ConfList, runner: &Runner, usage: Usage) -> Result<ConfList, DirError> {
    let ways = ways(&list, usage);
    let programs = list.plugins.iter().zip(&ways);
    for (plugin, _) in programs.filter(|(_, way)| matches!(way, Way::Program(_))) {
        runner
            .find(&plugin.kind)
            .map_err(|source| DirError::Plugin {
                kind: plugin.kind.clone(),
                source,
            })?;
    }
    Ok(list)
}

fn read_capped(path: &Path) -> Result<Vec<u8>, DirError> {
    // Not blocking: a fifo would have us wait for a writer.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(DirError::Read)?;
    if !file.metadata().map_err(DirError::Read)?.is_file() {
        return Err(DirError::NotFile);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(DirError::Read)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(DirError::TooLarge),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    struct Dirs(tempfile::TempDir);

    impl Dirs {
        fn new() -> Self {
            let dirs = Self(tempfile::tempdir().unwrap());
            fs::create_dir(dirs.conf()).unwrap();
            for name in ["bin/good", "bin/other"] {
                let path = dirs.0.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, "#!/bin/sh\n").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            dirs
        }
        fn conf(&self) -> PathBuf {
            self.0.path().join("conf")
        }
        fn put(&self, name: &str, text: &str) {
            let path = self.conf().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fn scan(&self) -> Scan {
            let runner = Runner::new(&[self.0.path().join("bin")], Duration::from_secs(9), 1);
            Scan::read(&self.conf(), &runner, Usage::Auto)
        }
    }

    const GOOD: &str = r#"{"cniVersion":"1.0.0","name":"good","plugins":[{"type":"good"}]}"#;

    #[test]
    fn the_first_that_can_be_used_is_chosen() {
        let dirs = Dirs::new();
        dirs.put("10-broken.conflist", "{");
        dirs.put(
            "15-missing.conflist",
            r#"{"name":"m","plugins":[{"type":"absent"}]}"#,
        );
        dirs.put("20-good.conflist", GOOD);
        dirs.put("05-readme.txt", "hello");
        dirs.put("30-one.conf", r#"{"name":"one","type":"other"}"#);
        dirs.put("40-two.json", r#"{"name":"two","type":"other"}"#);
        fs::create_dir(dirs.conf().join("50-dir.conf")).unwrap();
        nix::unistd::mkfifo(
            &dirs.conf().join("60-fifo.conf"),
            nix::sys::stat::Mode::S_IRWXU,
        )
        .unwrap();
        let scan = dirs.scan();
        assert_eq!(scan.choose(None).unwrap().name, "good");
        assert_eq!(scan.choose(Some("two")).unwrap().name, "two");
        assert!(scan.choose(Some("three")).is_none());
        let text = scan.complaint(&dirs.conf(), Some("three"));
        for part in [
            "no usable CNI configuration of the network \"three\" in /",
            "it has good, one, two",
            "10-broken.conflist: not a JSON object: EOF",
            "15-missing.conflist: plugin absent: not found in /",
            "50-dir.conf: is not a regular file",
            "60-fifo.conf: is not a regular file",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn says_why_there_is_none() {
        let dirs = Dirs::new();
        let text = dirs.scan().complaint(&dirs.conf(), None);
        assert!(text.ends_with("it has no .conflist, .conf or .json file"));
        fs::remove_dir(dirs.conf()).unwrap();
        let text = dirs.scan().complaint(&dirs.conf(), None);
        assert!(text.ends_with("there is no such directory"));
        dirs.put("a.conflist", &" ".repeat((MAX_FILE + 1) as usize));
        let text = dirs.scan().complaint(&dirs.conf(), None);
        assert!(
            text.ends_with("a.conflist: is larger than 1048576 bytes"),
            "{text}"
        );
    }

    #[test]
    fn plugins_lie_beside_the_list() {
        let dirs = Dirs::new();
        dirs.put("a.conflist", r#"{"cniVersion":"1.1.0","name":"net"}"#);
        assert!(dirs.scan().usable.is_empty());
        dirs.put("net/20-b.conf", r#"{"type":"other"}"#);
        dirs.put("net/10-a.conf", r#"{"type":"good"}"#);
        dirs.put("net/30-c.json", r#"{"type":"absent"}"#);
        let scan = dirs.scan();
        let kinds: Vec<_> = scan
            .choose(None)
            .unwrap()
            .plugins
            .iter()
            .map(|p| &p.kind)
            .collect();
        assert_eq!(kinds, ["good", "other"]);
        dirs.put("net/40-d.conf", "{}");
        let text = dirs.scan().complaint(&dirs.conf(), None);
        assert!(text.contains("net/40-d.conf: type: is missing"), "{text}");
        dirs.put(
            "a.conflist",
            r#"{"name":"net","loadOnlyInlinedPlugins":true,"plugins":[{"type":"good"}]}"#,
        );
        assert_eq!(dirs.scan().choose(None).unwrap().plugins.len(), 1);
    }
}
