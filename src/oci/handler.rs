//! Runtime handlers by name.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{causes::whole, runtime};

use super::{
    cgroup::Driver,
    features::Features,
    run::{self, RuntimeError},
};

/// Which kind of program a handler is, for what its kinds do differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// Speaks the command line of runc.
    #[default]
    Oci,
    /// corten itself, as [`crate::runtime`].
    Embedded,
}

/// Who runs further processes in a handler's containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecBy {
    /// The container's monitor where the containers are known to be plain processes.
    #[default]
    Auto,
    /// The program.
    Runtime,
}

/// A program whose containers are plain processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// runc.
    Runc,
    /// crun.
    Crun,
    /// youki.
    Youki,
    /// corten itself.
    Corten,
}

/// A handler as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HandlerConfig {
    /// Absolute path of the program, or a name to find in `PATH`; empty means the handler's name.
    pub path: PathBuf,
    /// Directory of the runtime's own state; empty means one of its own below the run root.
    pub root: PathBuf,
    /// Kind of program.
    pub kind: RuntimeKind,
    /// Annotations that reach the runtime: whole names, or prefixes that end in `.` or `/`.
    pub allowed_annotations: Vec<String>,
    /// Privileged containers do not get the host's devices.
    pub privileged_without_host_devices: bool,
    /// Arguments put before the command on every call.
    pub extra_args: Vec<String>,
    /// How long a call may take.
    pub call_timeout: Duration,
    /// Who runs further processes.
    pub exec: ExecBy,
}

impl RuntimeKind {
    /// What comes between the program and its arguments.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Self::Oci => None,
            Self::Embedded => Some(runtime::WORD),
        }
    }
}

impl Default for HandlerConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            root: PathBuf::new(),
            kind: RuntimeKind::default(),
            allowed_annotations: Vec::new(),
            privileged_without_host_devices: false,
            extra_args: Vec::new(),
            call_timeout: Duration::from_secs(120),
            exec: ExecBy::default(),
        }
    }
}

/// A handler that is ready to use.
#[derive(Debug, Clone)]
pub struct Handler {
    /// Name it is asked for by.
    pub name: String,
    /// The program, absolute.
    pub path: PathBuf,
    /// Directory of the runtime's own state.
    pub root: PathBuf,
    /// First line of `--version`.
    pub version: String,
    /// What it can do.
    pub features: Features,
    /// Who makes cgroups.
    pub cgroup_driver: Driver,
    /// As configured.
    pub config: HandlerConfig,
}

/// A handler that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HandlerError {
    /// No such name.
    #[error("unknown runtime handler {name:?}: configured are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Configured, and its program does not work.
    #[error("runtime handler {name:?} is unavailable: {reason}")]
    Unavailable {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// The name in the configuration is no name.
    #[error("runtime handler name {0:?} is not made of letters, digits, '.', '_' and '-'")]
    Name(String),
}

/// All handlers of a configuration.
#[derive(Debug, Clone)]
pub struct Handlers {
    default: String,
    map: BTreeMap<String, Result<Arc<Handler>, HandlerError>>,
}

impl Handlers {
    /// Finds and asks the programs of all configured handlers. One that does not work is kept
    /// with its reason, so that the others can be used.
    ///
    /// `run_dir` is where a handler without a `root` of its own keeps its state, in a directory of
    /// its name.
    pub async fn probe(
        configs: &BTreeMap<String, HandlerConfig>,
        default: &str,
        run_dir: &Path,
        cgroup_driver: Driver,
    ) -> Self {
        let mut map = BTreeMap::new();
        for (name, config) in configs {
            let found = Handler::probe(name, config, run_dir, cgroup_driver)
                .await
                .map(Arc::new);
            map.insert(name.clone(), found);
        }
        Self {
            default: default.to_owned(),
            map,
        }
    }

    /// The handler of that name; the default one for an empty name.
    pub fn get(&self, name: &str) -> Result<Arc<Handler>, HandlerError> {
        let name = if name.is_empty() { &self.default } else { name };
        self.map.get(name).cloned().unwrap_or_else(|| {
            Err(HandlerError::Unknown {
                name: name.to_owned(),
                known: self.map.keys().cloned().collect::<Vec<_>>().join(", "),
            })
        })
    }

    /// Name of the default handler.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// All by name, usable or not.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Result<Arc<Handler>, HandlerError>)> {
        self.map.iter().map(|(name, found)| (name.as_str(), found))
    }
}

impl Handler {
    /// Finds the program, and asks it for its version and features.
    pub async fn probe(
        name: &str,
        config: &HandlerConfig,
        run_dir: &Path,
        cgroup_driver: Driver,
    ) -> Result<Self, HandlerError> {
        check_name(name)?;
        let unavailable = |reason: String| HandlerError::Unavailable {
            name: name.to_owned(),
            reason,
        };
        let path = match config.kind {
            RuntimeKind::Oci => find(name, config, std::env::var_os("PATH")),
            RuntimeKind::Embedded => runtime::program()
                .map_err(|e| format!("making a read-only mount of this program: {e}")),
        };
        let path = path.map_err(unavailable)?;
        let told = ask(&path, config.kind).await;
        let told = told.map_err(|e| unavailable(whole(&e)))?;
        if cgroup_driver == Driver::Systemd && !told.features.systemd_cgroup {
            return Err(unavailable(format!(
                "{} cannot use the systemd cgroup driver",
                path.display()
            )));
        }
        let root = if config.root.as_os_str().is_empty() {
            run_dir.join(name)
        } else {
            config.root.clone()
        };
        Ok(Self {
            name: name.to_owned(),
            path,
            root,
            version: told.version,
            features: told.features,
            cgroup_driver,
            config: config.clone(),
        })
    }
}

impl Handler {
    /// Which of the programs it is whose containers a further process can be put into by anyone; `None` where it is
    /// another, or is to do that itself.
    pub fn plain(&self) -> Option<Plain> {
        if self.config.exec == ExecBy::Runtime {
            return None;
        }
        let (name, rest) = self.version.split_once(' ')?;
        match name {
            "runc" if rest.starts_with("version ") => Some(Plain::Runc),
            "crun" if rest.starts_with("version ") => Some(Plain::Crun),
            "youki" => Some(Plain::Youki),
            "corten-runtime" if rest.starts_with("version ") => Some(Plain::Corten),
            _ => None,
        }
    }
}

fn check_name(name: &str) -> Result<(), HandlerError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 63 || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(HandlerError::Name(name.to_owned()));
    }
    Ok(())
}

/// The program's absolute path.
fn find(name: &str, config: &HandlerConfig, path: Option<OsString>) -> Result<PathBuf, String> {
    let wanted = if config.path.as_os_str().is_empty() {
        Path::new(name)
    } else {
        &config.path
    };
    if wanted.is_absolute() {
        return is_program(wanted)
            .then(|| wanted.to_owned())
            .ok_or_else(|| format!("{} is not a program", wanted.display()));
    }
    if wanted.components().count() != 1 {
        return Err(format!(
            "path {wanted:?} is neither absolute nor a plain name"
        ));
    }
    let path = path.unwrap_or_default();
    std::env::split_paths(&path)
        // A service's PATH often lacks these, and runtimes are installed there.
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(wanted))
        .find(|candidate| is_program(candidate))
        .ok_or_else(|| format!("{wanted:?} is not in PATH ({})", path.to_string_lossy()))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|data| data.is_file() && data.mode() & 0o111 != 0)
}

#[derive(Debug, Clone)]
struct Told {
    version: String,
    features: Features,
}

/// What identifies one build of a program on disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Build {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

fn cache() -> &'static Mutex<HashMap<Build, Told>> {
    static CACHE: OnceLock<Mutex<HashMap<Build, Told>>> = OnceLock::new();
    CACHE.get_or_init(Mutex::default)
}

/// Asks a program once for as long as it is the same file.
async fn ask(path: &Path, kind: RuntimeKind) -> Result<Told, RuntimeError> {
    let build = path.metadata().ok().map(|data| Build {
        path: path.to_owned(),
        device: data.dev(),
        inode: data.ino(),
        size: data.size(),
        modified: (data.mtime(), data.mtime_nsec()),
    });
    if let Some(build) = &build {
        let cache = cache().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = cache.get(build) {
            return Ok(told.clone());
        }
    }
    let version = run::ask(path, kind, "--version").await?;
    let version = String::from_utf8_lossy(&version)
        .lines()
        .next()
        .unwrap_or("")
        .trim()
        .to_owned();
    // A runtime without this command fails, or prints its help: both mean that it cannot tell.
    let features = match run::ask(path, kind, "features").await {
        Ok(json) => Features::parse(&json).unwrap_or_else(|_| Features::untold(&version)),
        Err(RuntimeError::Failed { .. }) => Features::untold(&version),
        Err(e) => return Err(e),
    };
    let told = Told { version, features };
    if let Some(build) = build {
        let mut cache = cache().lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(build, told.clone());
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn config(path: impl Into<PathBuf>) -> HandlerConfig {
        HandlerConfig {
            path: path.into(),
            ..HandlerConfig::default()
        }
    }

    async fn probe(name: &str, config: &HandlerConfig) -> Result<Handler, HandlerError> {
        Handler::probe(name, config, Path::new("/run/x"), Driver::Cgroupfs).await
    }

    #[test]
    fn programs_are_found_by_path_or_name() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(dir.path(), "myrunc", "");
        std::fs::write(dir.path().join("plain"), "").unwrap();
        let path = Some(dir.path().as_os_str().to_owned());
        assert_eq!(find("h", &config(&program), None), Ok(program.clone()));
        assert_eq!(
            find("h", &config("myrunc"), path.clone()),
            Ok(program.clone())
        );
        assert_eq!(find("myrunc", &config(""), path.clone()), Ok(program));
        assert!(find("h", &config("plain"), path.clone()).is_err());
        assert!(find("h", &config("./myrunc"), path.clone()).is_err());
        assert!(find("h", &config(dir.path()), path).is_err());
    }

    #[tokio::test]
    async fn runc_tells_and_crun_is_taken_to_do_little() {
        let runc = probe("runc", &config("runc")).await.unwrap();
        assert!(runc.version.starts_with("runc version"), "{}", runc.version);
        assert!(runc.features.told && runc.features.recursive_read_only);
        assert_eq!(runc.root, Path::new("/run/x/runc"));
        let crun = probe("crun", &config("crun")).await.unwrap();
        assert!(crun.version.starts_with("crun version"), "{}", crun.version);
        assert!(!crun.features.oci_version.is_empty());
    }

    #[test]
    fn containers_of_what_is_known_are_plain_processes_unless_the_operator_says_so() {
        let handler = |version: &str, exec| Handler {
            name: "h".into(),
            path: "/bin/h".into(),
            root: "/run/h".into(),
            version: version.into(),
            features: Features::default(),
            cgroup_driver: Driver::Cgroupfs,
            config: HandlerConfig {
                exec,
                ..HandlerConfig::default()
            },
        };
        for (version, plain) in [
            ("runc version 1.1.5+ds1", Some(Plain::Runc)),
            ("crun version 1.8.1", Some(Plain::Crun)),
            ("youki 0.5.3", Some(Plain::Youki)),
            ("corten-runtime version 0.1.0", Some(Plain::Corten)),
            ("runsc version release-1", None),
            ("kata-runtime  : 3.0", None),
            ("krun version 1.8.1", None),
            ("", None),
        ] {
            assert_eq!(handler(version, ExecBy::Auto).plain(), plain, "{version}");
            assert_eq!(handler(version, ExecBy::Runtime).plain(), None, "{version}");
        }
    }

    #[tokio::test]
    async fn a_changed_program_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = script(dir.path(), "rt", "#!/bin/sh\necho one\n");
        assert_eq!(probe("rt", &config(&path)).await.unwrap().version, "one");
        let new = script(dir.path(), "new", "#!/bin/sh\necho two and more\n");
        std::fs::rename(new, &path).unwrap();
        let again = probe("rt", &config(&path)).await.unwrap();
        assert_eq!(again.version, "two and more");
        assert!(!again.features.told);
    }

    #[tokio::test]
    async fn one_that_fails_leaves_the_others() {
        let configs = BTreeMap::from([
            ("bad".to_owned(), config("/nonexistent")),
            ("runc".to_owned(), config("runc")),
            ("a b".to_owned(), config("runc")),
        ]);
        let handlers =
            Handlers::probe(&configs, "runc", Path::new("/run/x"), Driver::Cgroupfs).await;
        assert_eq!(handlers.get("").unwrap().name, "runc");
        assert!(matches!(
            handlers.get("bad"),
            Err(HandlerError::Unavailable { .. })
        ));
        assert!(matches!(handlers.get("a b"), Err(HandlerError::Name(_))));
        assert_eq!(
            handlers.get("nope").unwrap_err().to_string(),
            "unknown runtime handler \"nope\": configured are a b, bad, runc"
        );
        assert_eq!(handlers.iter().count(), 3);
    }
}
