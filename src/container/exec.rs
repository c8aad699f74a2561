//! Running a further process in a container, to its end.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use oci_spec::runtime::{Process, Spec};

use super::{LiveContainer, create, error::ContainerError, remove::failed};
use crate::{
    id::Id,
    monitor::{ExecRequest, ExecResult, MonitorError},
    oci::{command, message, spec},
    services::Services,
};

/// How long an end may take to be known once a process could not be run for it.
const DYING: Duration = Duration::from_secs(1);

/// What the names of an exec's files begin with.
const PREFIX: &str = "exec-";

/// A process that is ready to be run.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Command line of the OCI runtime.
    pub(crate) runtime_argv: Vec<OsString>,
    /// The process as a file, which is there, and which whoever has this removes.
    pub(crate) process_json: PathBuf,
    /// File the runtime writes the process's number to.
    pub(crate) pid_file: PathBuf,
    /// Socket the runtime sends a terminal to, where one was asked for.
    pub(crate) console: PathBuf,
}

/// Runs `command` in a running container, and kills it after `timeout`.
pub async fn exec_sync(
    services: &Arc<Services>,
    live: &LiveContainer,
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecResult, ContainerError> {
    let prepared = prepare(services, live, command, false).await?;
    let done = live
        .monitor
        .exec(ExecRequest {
            runtime_argv: prepared.runtime_argv,
            process_json: prepared.process_json,
            pid_file: prepared.pid_file,
            timeout,
            output_cap: usize::try_from(services.settings.exec_output_max).unwrap_or(usize::MAX),
            drain: ExecRequest::DRAIN,
            leaving: services.leaving.clone(),
        })
        .await;
    match done {
        Ok(result) => Ok(result),
        Err(error) => {
            let source = create::in_runtimes_words(error);
            Err(match has_ended(live, &source).await {
                true => ContainerError::EndedMeanwhile(source),
                false => ContainerError::Exec(source),
            })
        }
    }
}

/// Whether the container has ended, which is then why a process in it failed, whatever the error says. The runtime may
/// stumble over a dying init before the monitor has buried that.
async fn has_ended(live: &LiveContainer, error: &MonitorError) -> bool {
    let may_be_why = match error {
        MonitorError::Gone => return true,
        MonitorError::ExecRuntime { stderr, .. } => {
            message::meaning(stderr) != message::Meaning::NoCommand
        }
        MonitorError::ExecNoProcess | MonitorError::Refused { .. } => true,
        _ => false,
    };
    may_be_why
        && tokio::time::timeout(DYING, live.monitor.exited())
            .await
            .is_ok()
}

/// Prepares `command` to be run in a running container.
pub(crate) async fn prepare(
    services: &Arc<Services>,
    live: &LiveContainer,
    command: Vec<String>,
    tty: bool,
) -> Result<Prepared, ContainerError> {
    live.check_running()?;
    let handler = services.handler(&live.handler)?;
    let bundle = services.layout.bundle(&live.id);
    // The names are the execs' own, so that any number can run at a time.
    let exec = Id::random();
    let name = |kind: &str| format!("{PREFIX}{}.{kind}", &exec.as_str()[..16]);
    let process_json = bundle.join(name("json"));
    let pid_file = bundle.join(name("pid"));
    // Relative to the bundle, where the runtime runs: the path of a socket has room for 107 bytes only.
    let console = PathBuf::from(name("sock"));
    let runtime_argv = handler.exec_command(&command::Exec {
        id: &live.id,
        process: &process_json,
        pid_file: &pid_file,
        console_socket: tty.then_some(console.as_path()),
        log: Path::new("/dev/stderr"),
    });
    {
        let (bundle, process_json) = (bundle.clone(), process_json.clone());
        tokio::task::spawn_blocking(move || write_process(&bundle, &process_json, command, tty))
            .await
            .map_err(|e| ContainerError::Panicked(e.to_string()))??;
    }
    Ok(Prepared {
        runtime_argv,
        process_json,
        pid_file,
        console: bundle.join(console),
    })
}

/// Removes what an earlier daemon left in a bundle of its execs, which may go on. Their process numbers are the monitor's
/// own to keep; a process whose number is not there yet may still be to be read, and the monitor removes it at the end.
pub(crate) fn remove_leftovers(bundle: &Path) {
    for entry in fs::read_dir(bundle).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        let needed = match path.extension().and_then(OsStr::to_str) {
            Some("pid") => true,
            Some("json") => !path.with_extension("pid").exists(),
            _ => false,
        };
        if ours
            && !needed
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove an exec's file");
        }
    }
}

fn write_process(
    bundle: &Path,
    file: &Path,
    command: Vec<String>,
    tty: bool,
) -> Result<(), ContainerError> {
    let config = bundle.join("config.json");
    let text = fs::read(&config).map_err(failed("reading", &config))?;
    let spec: Spec = serde_json::from_slice(&text).map_err(|source| ContainerError::SpecFile {
        path: config,
        source,
    })?;
    let process: Process =
        spec::exec_process(&spec, &command, tty).map_err(ContainerError::Spec)?;
    let text = serde_json::to_vec(&process).map_err(|source| ContainerError::SpecFile {
        path: file.to_owned(),
        source,
    })?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut f| f.write_all(&text))
        .map_err(failed("writing", file))
}
