//! Running a further process in a container, to its end.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use oci_spec::runtime::{Process, Spec};

use super::{LiveContainer, create, error::ContainerError, remove::failed};
use crate::{
    id::Id,
    monitor::{ExecRequest, ExecResult},
    oci::{command, spec},
    services::Services,
};

/// Runs `command` in a running container, and kills it after `timeout`.
pub async fn exec_sync(
    services: &Arc<Services>,
    live: &LiveContainer,
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecResult, ContainerError> {
    if !live.running {
        return Err(ContainerError::WrongState {
            id: live.id.clone(),
            state: "created",
            wanted: "running",
        });
    }
    let handler = services.handler(&live.handler)?;
    let bundle = services.layout.bundle(&live.id);
    // The names are the execs' own, so that any number can run at a time.
    let exec = Id::random();
    let process_json = bundle.join(format!("exec-{}.json", &exec.as_str()[..16]));
    let pid_file = bundle.join(format!("exec-{}.pid", &exec.as_str()[..16]));
    let runtime_argv = handler.exec_command(&command::Exec {
        id: &live.id,
        process: &process_json,
        pid_file: &pid_file,
        console_socket: None,
        log: Path::new("/dev/stderr"),
    });
    {
        let (bundle, process_json) = (bundle.clone(), process_json.clone());
        tokio::task::spawn_blocking(move || write_process(&bundle, &process_json, command))
            .await
            .map_err(|e| ContainerError::Panicked(e.to_string()))??;
    }
    live.monitor
        .exec(ExecRequest {
            runtime_argv,
            process_json,
            pid_file,
            timeout,
            output_cap: usize::try_from(services.settings.exec_output_max).unwrap_or(usize::MAX),
            drain: ExecRequest::DRAIN,
        })
        .await
        .map_err(|error| ContainerError::Exec(create::in_runtimes_words(error)))
}

fn write_process(bundle: &Path, file: &Path, command: Vec<String>) -> Result<(), ContainerError> {
    let config = bundle.join("config.json");
    let text = fs::read(&config).map_err(failed("reading", &config))?;
    let spec: Spec = serde_json::from_slice(&text).map_err(|source| ContainerError::SpecFile {
        path: config,
        source,
    })?;
    let process: Process =
        spec::exec_process(&spec, &command, false).map_err(ContainerError::Spec)?;
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
