//! What follows from several options together: checks, and defaults that depend on others.

use std::path::{Path, PathBuf};

use super::{
    error::{ConfigError, Origin},
    options::Config,
    runtime::Runtime,
    sources::Loaded,
    types::{CgroupManager, Program, RuntimeKind, Size},
};

/// Name of the monitor program.
const MONITOR: &str = "corten-conmon";

impl Config {
    /// The parent cgroup of pods that name none.
    pub fn pods_cgroup(&self) -> &str {
        match (&self.cgroup_parent, self.cgroup_manager) {
            (Some(given), _) => given,
            (None, CgroupManager::Cgroupfs) => "/corten",
            (None, CgroupManager::Systemd) => "corten.slice",
        }
    }

    /// The cgroup of the monitors.
    pub fn monitors_cgroup(&self) -> &str {
        match (&self.monitor_cgroup, self.cgroup_manager) {
            (Some(given), _) => given,
            (None, CgroupManager::Cgroupfs) => "/corten-monitors",
            (None, CgroupManager::Systemd) => "corten-monitors.slice",
        }
    }

    /// The state directory of the runtime handler `name`.
    pub fn runtime_root(&self, name: &str) -> PathBuf {
        self.runtimes
            .get(name)
            .and_then(|runtime| runtime.root.clone())
            .unwrap_or_else(|| self.runroot.join("runtimes").join(name))
    }

    /// Finds the monitor program: as configured, or beside this program, in libexec, in PATH.
    pub fn find_monitor(&self) -> Result<PathBuf, ConfigError> {
        let beside = std::env::current_exe()
            .ok()
            .and_then(|exe| exe.parent().map(Path::to_owned));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut directories: Vec<PathBuf> = Vec::new();
        if self.conmon.is_none() {
            if let Some(beside) = beside {
                directories.extend(beside.parent().map(|up| up.join("libexec/corten")));
                directories.insert(0, beside);
            }
            directories.push("/usr/local/libexec/corten".into());
            directories.push("/usr/libexec/corten".into());
        }
        directories.extend(std::env::split_paths(&path));
        let program = self
            .conmon
            .clone()
            .unwrap_or_else(|| Program(MONITOR.into()));
        program
            .locate(directories.iter().map(PathBuf::as_path))
            .ok_or_else(|| ConfigError::NoMonitor {
                program: program.to_string(),
                looked: match program.0.is_absolute() {
                    true => "that path, for an executable file".into(),
                    false => directories
                        .iter()
                        .map(|dir| dir.display().to_string())
                        .collect::<Vec<_>>()
                        .join(", "),
                },
            })
    }
}

impl Loaded {
    /// Checks what no single option can tell.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let config = &self.config;
        if !config.runtimes.contains_key(&config.default_runtime) {
            let name = &config.default_runtime;
            let known: Vec<&str> = config.runtimes.keys().map(String::as_str).collect();
            let problem = format!(
                "is not configured (known: {}); add [runtimes.{name}] or --runtime {name}=PATH",
                known.join(", ")
            );
            return Err(self.wrong("default_runtime", problem));
        }
        let embedded = config.runtimes[&config.default_runtime].kind == RuntimeKind::Embedded;
        if embedded && config.cgroup_manager == CgroupManager::Systemd {
            let problem = "is the runtime built into corten, which cannot use \
                           cgroup_manager = \"systemd\"; name an external one, such as runc";
            return Err(self.wrong("default_runtime", problem.into()));
        }
        let pathless =
            |runtime: &Runtime| runtime.kind == RuntimeKind::Embedded && runtime.path.is_some();
        if let Some((name, _)) = config.runtimes.iter().find(|(_, r)| pathless(r)) {
            let key = format!("runtimes.{name}.path");
            let problem = "is given for a runtime that is corten itself; leave it out, \
                           or give the external runtime another name";
            return Err(self.wrong(&key, problem.into()));
        }
        if config.root.starts_with(&config.runroot) || config.runroot.starts_with(&config.root) {
            let problem = format!(
                "lies inside root = {} or around it; choose directories apart from each other",
                config.root.display()
            );
            return Err(self.wrong("runroot", problem));
        }
        self.check_cgroup("cgroup_parent", config.cgroup_parent.as_deref())?;
        self.check_cgroup("monitor_cgroup", config.monitor_cgroup.as_deref())?;
        if config.max_parallel_downloads == 0 {
            return Err(self.wrong("max_parallel_downloads", "must be at least 1".into()));
        }
        for (key, size) in [
            ("shm_size", config.shm_size),
            ("exec_output_max", config.exec_output_max),
        ] {
            if size < Size(4096) {
                return Err(self.wrong(key, "must be at least 4KiB".into()));
            }
        }
        for (key, span) in [
            ("create_timeout", config.create_timeout),
            ("runtime_timeout", config.runtime_timeout),
            ("cni_timeout", config.cni_timeout),
            ("stream_creation_timeout", config.stream_creation_timeout),
        ] {
            if span.is_zero() {
                return Err(self.wrong(key, "must be longer than nothing".into()));
            }
        }
        let cert = config.stream_tls_cert.is_some();
        if cert != config.stream_tls_key.is_some() {
            let problem = "goes together with stream_tls_key; set both or neither";
            return Err(self.wrong("stream_tls_cert", problem.into()));
        }
        if config.stream_tls_client_ca.is_some() && !cert {
            let problem = "is of no use without stream_tls_cert and stream_tls_key";
            return Err(self.wrong("stream_tls_client_ca", problem.into()));
        }
        Ok(())
    }

    fn check_cgroup(&self, key: &str, given: Option<&str>) -> Result<(), ConfigError> {
        let Some(given) = given else { return Ok(()) };
        let problem = match self.config.cgroup_manager {
            CgroupManager::Cgroupfs if !given.starts_with('/') || given.ends_with(".slice") => {
                "is no cgroup path; with cgroup_manager = \"cgroupfs\" write one like /corten"
            }
            CgroupManager::Systemd if given.contains('/') || !given.ends_with(".slice") => {
                "is no slice; with cgroup_manager = \"systemd\" write one like corten.slice"
            }
            _ if given.split('/').any(|part| part == "..") => "holds \"..\"; write it without",
            _ => return Ok(()),
        };
        Err(self.wrong(key, problem.into()))
    }

    fn wrong(&self, key: &str, problem: String) -> ConfigError {
        ConfigError::Value {
            origin: self.origins.get(key).cloned().unwrap_or(Origin::Default),
            key: key.to_owned(),
            value: self
                .config
                .get(key)
                .map(|value| value.to_string())
                .unwrap_or_default(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Runtimes;

    fn problem(change: impl FnOnce(&mut Config)) -> String {
        let mut loaded = Loaded::default();
        change(&mut loaded.config);
        loaded
            .check()
            .map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn the_defaults_pass() {
        assert_eq!(problem(|_| {}), "");
    }

    #[test]
    fn options_must_fit_together() {
        let text = problem(|c| c.default_runtime = "crun".into());
        assert!(
            text.contains("known: corten, runc") && text.contains("--runtime crun=PATH"),
            "{text}"
        );
        assert!(problem(|c| c.runroot = c.root.join("run")).contains("/var/lib/corten/run"));
        assert!(problem(|c| c.cgroup_parent = Some("pods.slice".into())).contains("cgroupfs"));
        assert!(problem(|c| c.cgroup_parent = Some("/a/../b".into())).contains(".."));
        let systemd = |c: &mut Config| {
            c.cgroup_manager = CgroupManager::Systemd;
            c.default_runtime = "runc".into();
            c.monitor_cgroup = Some("/x".into());
        };
        assert!(problem(systemd).contains("corten.slice"));
        let text = problem(|c| c.cgroup_manager = CgroupManager::Systemd);
        assert!(
            text.contains("default_runtime") && text.contains("systemd") && text.contains("runc"),
            "{text}"
        );
        assert!(problem(|c| c.max_parallel_downloads = 0).contains("at least 1"));
        assert!(problem(|c| c.runtimes = Runtimes([].into())).contains("corten"));
        let lone = problem(|c| c.stream_tls_key = Some("/key".into()));
        assert!(lone.contains("set both"), "{lone}");
        let lone = problem(|c| c.stream_tls_client_ca = Some("/ca".into()));
        assert!(lone.contains("no use"), "{lone}");
    }

    #[test]
    fn cgroups_follow_the_manager() {
        let mut config = Config::default();
        assert_eq!(config.pods_cgroup(), "/corten");
        config.cgroup_manager = CgroupManager::Systemd;
        assert_eq!(config.pods_cgroup(), "corten.slice");
        assert_eq!(config.monitors_cgroup(), "corten-monitors.slice");
        config.cgroup_parent = Some("x.slice".into());
        assert_eq!(config.pods_cgroup(), "x.slice");
    }

    #[test]
    fn a_monitor_that_is_not_there_is_named() {
        let config = Config {
            conmon: Some(Program("/nowhere/conmon".into())),
            ..Config::default()
        };
        let text = config.find_monitor().unwrap_err().to_string();
        assert!(
            text.contains("/nowhere/conmon") && text.contains("--conmon"),
            "{text}"
        );
        let config = Config {
            conmon: Some(Program("sh".into())),
            ..Config::default()
        };
        assert!(config.find_monitor().unwrap().ends_with("sh"));
    }
}
