//! Running a further process in a container, to its end.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use oci_spec::runtime::{Process, Spec};

use super::{LiveContainer, create, error::ContainerError, remove::failed};
use crate::{
    id::Id,
    monitor::{self, ExecRequest, ExecResult, MonitorError, RemovedFile, Step, Streams, Way},
    oci::{
        Handler, command,
        handler::Plain,
        message,
        seccomp::{Newer, ProgramError},
        spec::{self, Unfit},
    },
    services::Services,
    sys::membership,
};

/// How long an end may take to be known once a process could not be run for it.
const DYING: Duration = Duration::from_secs(1);

/// What the names of an exec's files begin with.
const PREFIX: &str = "exec-";

/// A process that is ready to be run.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// How.
    pub(crate) way: Way,
    /// Socket that a terminal is sent to, where one was asked for.
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
            way: prepared.way,
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
        MonitorError::ExecStart { step, .. } => !matches!(
            step,
            Step::Find | Step::Look | Step::Program | Step::Directory | Step::Outside
        ),
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
    let (services, live) = (services.clone(), live.clone());
    tokio::task::spawn_blocking(move || prepare_now(&services, &live, &handler, &command, tty))
        .await
        .map_err(|e| ContainerError::Panicked(e.to_string()))?
}

fn prepare_now(
    services: &Services,
    live: &LiveContainer,
    handler: &Handler,
    command: &[String],
    tty: bool,
) -> Result<Prepared, ContainerError> {
    let bundle = services.layout.bundle(&live.id);
    // The names are the execs' own, so that any number can run at a time.
    let exec = Id::random();
    let name = |kind: &str| format!("{PREFIX}{}.{kind}", &exec.as_str()[..16]);
    // Relative to the bundle, where the runtime runs: the path of a socket has room for 107 bytes only.
    let console = PathBuf::from(name("sock"));
    let spec = read_spec(&bundle)?;
    let process = spec::exec_process(&spec, command, tty).map_err(ContainerError::Spec)?;
    let streams = match tty {
        true => Streams::Terminal {
            console: console.clone(),
        },
        false => Streams::Pipes {
            stdin: false,
            keep: 0,
        },
    };
    let way = match own_way(services, live, handler, &spec, &process, streams) {
        Ok(way) => way,
        Err(NotOwn::Paused) => {
            return Err(ContainerError::Exec(MonitorError::ExecStart {
                step: Step::Cgroup,
                words: "cannot exec in a paused container".to_owned(),
            }));
        }
        Err(reason) => {
            tracing::debug!(container = %live.id, %reason, "an exec is left to the runtime");
            let process_json = bundle.join(name("json"));
            let pid_file = bundle.join(name("pid"));
            let argv = handler.exec_command(&command::Exec {
                id: &live.id,
                process: &process_json,
                pid_file: &pid_file,
                console_socket: tty.then_some(console.as_path()),
                log: Path::new("/dev/stderr"),
            });
            Way::Runtime {
                argv,
                process_json: write_process(process_json, &process)?,
                pid_file,
            }
        }
    };
    Ok(Prepared {
        way,
        console: bundle.join(console),
    })
}

/// Why a container's monitor does not run a process itself.
#[derive(Debug, thiserror::Error)]
enum NotOwn {
    #[error("its handler is {0:?}")]
    Handler(String),
    #[error("its monitor speaks version {0} of the protocol")]
    Monitor(u8),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("its cgroups: {0}")]
    Cgroups(#[from] io::Error),
    #[error("it is paused")]
    Paused,
    #[error("its filter: {0}")]
    Filter(#[from] ProgramError),
    #[error("its environment is too long")]
    Long,
}

/// How the container's monitor runs a process, if it can.
fn own_way(
    services: &Services,
    live: &LiveContainer,
    handler: &Handler,
    spec: &Spec,
    process: &Process,
    streams: Streams,
) -> Result<Way, NotOwn> {
    let Some(plain) = handler.plain() else {
        return Err(NotOwn::Handler(handler.name.clone()));
    };
    let about = live.monitor.about();
    if about.protocol < monitor::OWN {
        return Err(NotOwn::Monitor(about.protocol));
    }
    let mut run = spec::entry(&live.id, spec, process.clone(), &services.node, streams)?;
    run.cgroups = membership::between(about.pid, live.monitor.pid())?;
    if membership::is_frozen(&run.cgroups)? {
        return Err(NotOwn::Paused);
    }
    let seccomp = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref());
    let filter = match seccomp {
        None => None,
        Some(seccomp) => {
            let newer = match plain {
                Plain::Runc | Plain::Corten => Newer::NotThere,
                Plain::Crun | Plain::Youki => Newer::Default,
            };
            let program = services.filters.program(seccomp, newer)?;
            run.filter = Some(monitor::Filter {
                flags: program.flags,
            });
            Some(program.file.try_clone()?)
        }
    };
    if !monitor::can_be_told(&run) {
        return Err(NotOwn::Long);
    }
    Ok(Way::Own {
        run: Box::new(run),
        filter,
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

fn read_spec(bundle: &Path) -> Result<Spec, ContainerError> {
    let config = bundle.join("config.json");
    let text = fs::read(&config).map_err(failed("reading", &config))?;
    serde_json::from_slice(&text).map_err(|source| ContainerError::SpecFile {
        path: config,
        source,
    })
}

fn write_process(file: PathBuf, process: &Process) -> Result<RemovedFile, ContainerError> {
    let text = serde_json::to_vec(process).map_err(|source| ContainerError::SpecFile {
        path: file.clone(),
        source,
    })?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .and_then(|mut f| f.write_all(&text))
        .map_err(failed("writing", &file))?;
    Ok(RemovedFile::new(file))
}
