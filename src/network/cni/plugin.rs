//! Calling one plugin.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    result::CniError,
    version::{UnknownVersion, Version},
};
use crate::network::process::{self, ProcessError};

/// Where plugins look for programs of their own, such as iptables.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a question that is about no pod may take.
const QUESTION: Duration = Duration::from_secs(20);
/// How long a call counts among those that run side by side.
const SLOW: Duration = Duration::from_secs(2);
/// Most characters of a complaint shown in an error.
const SHOWN: usize = 4000;

/// What a plugin is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Attach a pod.
    Add,
    /// Detach it.
    Del,
    /// See whether it still is attached as it was.
    Check,
    /// Forget all pods but those named.
    Gc,
    /// Tell whether pods could be attached.
    Status,
    /// Tell the versions spoken.
    Version,
}

impl Verb {
    /// As plugins know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

/// Why a plugin did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Not installed.
    #[error("not found in {}", list(dirs))]
    Missing {
        /// Where it was looked for.
        dirs: Vec<PathBuf>,
    },
    /// Its own words.
    #[error("{0}")]
    Refused(CniError),
    /// It failed without the error object it owes.
    #[error("ended with {status} and no CNI error{}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed.
        said: String,
    },
    /// It answered something else.
    #[error("answered {said:?}")]
    Answer {
        /// The start of it.
        said: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It did not run to its end.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

fn list(dirs: &[PathBuf]) -> String {
    match dirs {
        [] => "any directory: none is configured".into(),
        dirs => dirs
            .iter()
            .map(|d| d.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// Calls plugins, a bounded number at a time but for those that take long.
#[derive(Debug, Clone)]
pub struct Runner {
    dirs: Arc<[PathBuf]>,
    limit: Duration,
    slots: Arc<Semaphore>,
}

/// The pod a call is about.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Identifier of the sandbox.
    pub id: &'a str,
    /// Its network namespace; `None` when it is gone.
    pub netns: Option<&'a Path>,
    /// Name of the link in the pod.
    pub interface: &'a str,
    /// `CNI_ARGS`.
    pub args: &'a str,
}

impl Runner {
    /// `limit` is the time each call may take, `at_once` how many run side by side.
    pub fn new(dirs: &[PathBuf], limit: Duration, at_once: usize) -> Self {
        Self {
            dirs: dirs.into(),
            limit,
            slots: Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// Where the program of a plugin is.
    pub fn find(&self, kind: &str) -> Result<PathBuf, PluginError> {
        self.dirs
            .iter()
            .map(|dir| dir.join(kind))
            .find(|path| {
                path.metadata()
                    .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
            })
            .ok_or_else(|| PluginError::Missing {
                dirs: self.dirs.to_vec(),
            })
    }

    /// Calls a plugin; returns what it printed.
    pub async fn call(
        &self,
        kind: &str,
        verb: Verb,
        target: Option<Target<'_>>,
        conf: &[u8],
    ) -> Result<Vec<u8>, PluginError> {
        let program = self.find(kind)?;
        let dirs: Vec<_> = self.dirs.iter().map(|d| d.to_string_lossy()).collect();
        let mut env = vec![
            ("PATH", PATH.to_owned()),
            ("CNI_COMMAND", verb.as_str().to_owned()),
            ("CNI_PATH", dirs.join(":")),
        ];
        if let Some(target) = target {
            let netns = target.netns.map(Path::to_string_lossy).unwrap_or_default();
            env.push(("CNI_CONTAINERID", target.id.to_owned()));
            env.push(("CNI_NETNS", netns.into_owned()));
            env.push(("CNI_IFNAME", target.interface.to_owned()));
            env.push(("CNI_ARGS", target.args.to_owned()));
        }
        // Questions that are about no pod come one at a time, and are not to wait for pods.
        let (slot, limit) = match target {
            Some(_) => (self.slots.acquire().await.ok(), self.limit),
            None => (None, self.limit.min(QUESTION)),
        };
        let running = process::run(&program, &[], &env, conf, limit);
        tokio::pin!(running);
        let output = match timeout(SLOW, &mut running).await {
            Ok(ended) => ended?,
            Err(_) => {
                // One that hangs computes nothing: others may begin in its place.
                drop(slot);
                running.await?
            }
        };
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(match CniError::parse(&output.stdout) {
            Some(error) => PluginError::Refused(error),
            None => PluginError::Failed {
                status: output.status,
                said: format!(
                    "{} {}",
                    output.stderr,
                    String::from_utf8_lossy(&output.stdout)
                )
                .trim()
                .chars()
                .take(SHOWN)
                .collect(),
            },
        })
    }

    /// The versions a plugin speaks, among those this runtime does.
    pub async fn versions(&self, kind: &str) -> Result<Vec<Version>, PluginError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            supported_versions: Vec<String>,
        }
        // The answer does not depend on the version asked in, but the field must be there.
        let conf = format!("{{\"cniVersion\":\"{}\"}}", Version::V1_0);
        let output = self
            .call(kind, Verb::Version, None, conf.as_bytes())
            .await?;
        let answer: Answer = serde_json::from_slice(&output).map_err(|e| bad_answer(&output, e))?;
        Ok(answer
            .supported_versions
            .iter()
            .map(|text| Version::parse(text))
            .filter_map(|v: Result<_, UnknownVersion>| v.ok())
            .collect())
    }
}

/// An answer that cannot be understood.
pub(super) fn bad_answer(
    output: &[u8],
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PluginError {
    let said = String::from_utf8_lossy(output);
    PluginError::Answer {
        said: said.trim().chars().take(200).collect(),
        source: source.into(),
    }
}
