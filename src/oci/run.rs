//! Running an OCI runtime: bounded in time and output, with its own words when it fails.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use oci_spec::runtime::LinuxResources;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

use super::{
    handler::{Handler, RuntimeKind},
    message::{self, Meaning},
};
use crate::{
    id::Id,
    orphans::CALLED_FOR,
    runtime,
    step::{self, Step},
    sys::mount,
};

/// Most of either output that is kept.
const OUTPUT_CAP: usize = 1 << 20;

/// How long outputs may stay open after the program is gone.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// How long a question about the runtime itself may take.
const PROBE: Duration = Duration::from_secs(10);

/// How long what is done at once may take: a signal, a question about a container.
const QUICK: Duration = Duration::from_secs(30);

/// A runtime's command that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The runtime has no such container.
    #[error("{verb}: {message}")]
    NoContainer {
        /// What was asked of it.
        verb: String,
        /// In its own words.
        message: String,
    },
    /// The container's process is gone.
    #[error("{verb}: {message}")]
    NotRunning {
        /// What was asked of it.
        verb: String,
        /// In its own words.
        message: String,
    },
    /// Any other failure.
    #[error("{verb}: {message}")]
    Failed {
        /// What was asked of it.
        verb: String,
        /// In its own words.
        message: String,
    },
    /// It took too long and was killed.
    #[error("{verb} was killed after {} s", limit.as_secs())]
    Timeout {
        /// What was asked of it.
        verb: String,
        /// How long it had.
        limit: Duration,
    },
    /// It could not be run.
    #[error("cannot run {path:?}")]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its output could not be read.
    #[error("cannot talk to {path:?}")]
    Talk {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What it left could not be removed.
    #[error("cannot remove {path:?}, which the runtime left")]
    Left {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its output makes no sense.
    #[error("{verb} gave {output:?}, which is not what it should")]
    Output {
        /// What was asked of it.
        verb: String,
        /// The beginning of what it gave.
        output: String,
        /// Why that makes no sense.
        #[source]
        source: serde_json::Error,
    },
}

/// Removes a directory, with mounts of files in it.
fn forget(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        mount::detach_all(&entry?.path())?;
    }
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A container as the runtime sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ContainerState {
    /// Its name.
    pub id: String,
    /// `creating`, `created`, `running`, `stopped` or, with some, `paused`.
    pub status: String,
    /// Process ID; 0 when there is none.
    #[serde(default)]
    pub pid: i32,
}

impl Handler {
    /// Starts a created container.
    pub async fn start(&self, id: &Id) -> Result<(), RuntimeError> {
        step::reached(Step::RuntimeStartCalled);
        match self.is_here() {
            true => self.here("start", runtime::here::start, id).await?,
            false => {
                let limit = self.config.call_timeout;
                self.simple("start", &[], id, &[], limit).await?;
            }
        }
        step::reached(Step::RuntimeStarted);
        Ok(())
    }

    /// Sends a signal, by number, to a container's first process.
    pub async fn kill(&self, id: &Id, signal: i32) -> Result<(), RuntimeError> {
        let signal = signal.to_string();
        self.simple("kill", &[], id, &[&signal], self.quick()).await
    }

    /// Sends a signal, by number, to all processes of a container.
    pub async fn kill_all(&self, id: &Id, signal: i32) -> Result<(), RuntimeError> {
        let signal = signal.to_string();
        self.simple("kill", &["--all"], id, &[&signal], self.quick())
            .await
    }

    /// Removes what the runtime keeps of a container, killing what still runs. One that is gone
    /// already is fine.
    pub async fn delete(&self, id: &Id) -> Result<(), RuntimeError> {
        step::reached(Step::RuntimeDeleteCalled);
        let deleted = match self.is_here() {
            true => self.here("delete", runtime::here::delete, id).await,
            false => {
                let limit = self.config.call_timeout;
                self.simple("delete", &["--force"], id, &[], limit).await
            }
        };
        match deleted {
            Ok(()) | Err(RuntimeError::NoContainer { .. }) => {
                step::reached(Step::RuntimeDeleted);
                self.forget(id).await
            }
            Err(error) => Err(error),
        }
    }

    /// Removes what a runtime that was killed at its work left of a container it does not know: its directory, and
    /// in that a copy of the runtime's own program, as a file or a mount.
    async fn forget(&self, id: &Id) -> Result<(), RuntimeError> {
        let dir = self.root.join(id.as_str());
        let failed = |path: PathBuf| move |source| RuntimeError::Left { path, source };
        let own = dir.clone();
        tokio::task::spawn_blocking(move || forget(&own))
            .await
            .map_err(|e| failed(dir.clone())(io::Error::other(e)))?
            .map_err(failed(dir))
    }

    /// The container as the runtime sees it.
    pub async fn state(&self, id: &Id) -> Result<ContainerState, RuntimeError> {
        let argv = self.plain_command("state", &[], id, &[]);
        let verb = self.verb("state", id);
        let output = run(&argv, &verb, Some(id), None, self.quick()).await?;
        serde_json::from_slice(&output).map_err(|source| RuntimeError::Output {
            verb,
            output: String::from_utf8_lossy(&output).chars().take(200).collect(),
            source,
        })
    }

    /// Changes the limits of a container.
    pub async fn update(&self, id: &Id, resources: &LinuxResources) -> Result<(), RuntimeError> {
        let verb = self.verb("update", id);
        let json = serde_json::to_vec(resources).map_err(|source| RuntimeError::Output {
            verb: verb.clone(),
            output: String::new(),
            source,
        })?;
        let argv = self.plain_command("update", &["--resources", "-"], id, &[]);
        let limit = self.config.call_timeout;
        run(&argv, &verb, Some(id), Some(json), limit).await?;
        Ok(())
    }

    /// Freezes all processes of a container.
    pub async fn pause(&self, id: &Id) -> Result<(), RuntimeError> {
        self.simple("pause", &[], id, &[], self.config.call_timeout)
            .await
    }

    /// Thaws all processes of a container.
    pub async fn resume(&self, id: &Id) -> Result<(), RuntimeError> {
        self.simple("resume", &[], id, &[], self.config.call_timeout)
            .await
    }

    /// Whether this program is the runtime, with nothing on its command line that it would have to heed.
    fn is_here(&self) -> bool {
        self.config.kind == RuntimeKind::Embedded && self.config.extra_args.is_empty()
    }

    /// Has this process do what the runtime's would. It goes on when nobody waits for it any more.
    async fn here(
        &self,
        verb: &str,
        command: fn(&Path, &str) -> Result<(), String>,
        id: &Id,
    ) -> Result<(), RuntimeError> {
        let (root, own) = (self.root.clone(), id.clone());
        let done = tokio::task::spawn_blocking(move || command(&root, own.as_str())).await;
        let done = done.unwrap_or_else(|panicked| Err(panicked.to_string()));
        done.map_err(|message| failure(self.verb(verb, id), message))
    }

    fn quick(&self) -> Duration {
        QUICK.min(self.config.call_timeout)
    }

    async fn simple(
        &self,
        verb: &str,
        options: &[&str],
        id: &Id,
        rest: &[&str],
        limit: Duration,
    ) -> Result<(), RuntimeError> {
        let argv = self.plain_command(verb, options, id, rest);
        run(&argv, &self.verb(verb, id), Some(id), None, limit).await?;
        Ok(())
    }

    fn verb(&self, verb: &str, id: &Id) -> String {
        format!("{} {verb} of container {id}", self.name)
    }
}

/// Asks a runtime something about itself.
pub(super) async fn ask(
    path: &Path,
    kind: RuntimeKind,
    question: &str,
) -> Result<Vec<u8>, RuntimeError> {
    let words = kind.word().into_iter().chain([question]);
    let argv: Vec<OsString> = std::iter::once(path.as_os_str().to_owned())
        .chain(words.map(OsString::from))
        .collect();
    let verb = format!("{} {question}", path.display());
    run(&argv, &verb, None, None, PROBE).await
}

/// Runs a command to its end and gives its standard output. Whom it is called for is in its environment, where the
/// next daemon finds it, should this one be killed meanwhile.
async fn run(
    argv: &[OsString],
    verb: &str,
    called_for: Option<&Id>,
    input: Option<Vec<u8>>,
    limit: Duration,
) -> Result<Vec<u8>, RuntimeError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(RuntimeError::Failed {
            verb: verb.to_owned(),
            message: "there is nothing to run".to_owned(),
        });
    };
    let path = PathBuf::from(program);
    let stdin = if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    let mut child = Command::new(program)
        .args(arguments)
        .envs(called_for.map(|id| (CALLED_FOR, id.as_str())))
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir("/")
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| RuntimeError::Spawn {
            path: path.clone(),
            source,
        })?;
    step::reached(Step::RuntimeRuns);
    let finished = match timeout(limit, talk(&mut child, input)).await {
        Ok(finished) => finished,
        Err(_) => {
            kill_group(&child);
            return Err(RuntimeError::Timeout {
                verb: verb.to_owned(),
                limit,
            });
        }
    };
    let (status, output, errors) =
        finished.map_err(|source| RuntimeError::Talk { path, source })?;
    if status.success() {
        return Ok(output);
    }
    Err(failure(verb.to_owned(), said(status, &errors, &output)))
}

/// Kills a program that leads its own process group, and what it started. It is reaped once its
/// handle is dropped.
fn kill_group(child: &Child) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // Gone already is as good.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

async fn talk(
    child: &mut Child,
    input: Option<Vec<u8>>,
) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let stdin = child.stdin.take();
    let mut stdout = Capture::new(child.stdout.take());
    let mut stderr = Capture::new(child.stderr.take());
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that does not read all of its input says why on its own.
            let _ = stdin.write_all(&input).await;
        }
    };
    let status = {
        let read = async { tokio::join!(feed, stdout.read(), stderr.read()) };
        tokio::pin!(read);
        tokio::select! {
            _ = &mut read => child.wait().await?,
            status = child.wait() => {
                // Something else may hold the outputs open for ever; what is in them by now counts.
                let _ = timeout(OUTPUT_GRACE, &mut read).await;
                status?
            }
        }
    };
    Ok((status, stdout.kept, stderr.kept))
}

/// Reads to the end and keeps the beginning.
struct Capture<R> {
    source: Option<R>,
    kept: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Capture<R> {
    fn new(source: Option<R>) -> Self {
        Self {
            source,
            kept: Vec::new(),
        }
    }

    async fn read(&mut self) {
        let Some(source) = &mut self.source else {
            return;
        };
        let mut chunk = [0; 8192];
        while let Ok(n) = source.read(&mut chunk).await {
            if n == 0 {
                break;
            }
            let room = OUTPUT_CAP - self.kept.len();
            self.kept.extend_from_slice(&chunk[..n.min(room)]);
        }
    }
}

fn said(status: ExitStatus, errors: &[u8], output: &[u8]) -> String {
    let message = message::extract(errors);
    let message = match message.is_empty() {
        true => message::extract(output),
        false => message,
    };
    match message.is_empty() {
        true => status.to_string(),
        false => message,
    }
}

fn failure(verb: String, message: String) -> RuntimeError {
    match message::meaning(&message) {
        Meaning::NoContainer => RuntimeError::NoContainer { verb, message },
        Meaning::NotRunning => RuntimeError::NotRunning { verb, message },
        Meaning::NoCommand | Meaning::BelowUsage | Meaning::Other => {
            RuntimeError::Failed { verb, message }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, limit: Duration) -> Result<Vec<u8>, RuntimeError> {
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        run(&argv, "test", None, None, limit).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn output_is_kept_up_to_a_bound() {
        assert_eq!(sh("echo out; echo err >&2", LONG).await.unwrap(), b"out\n");
        let much = sh("head -c 3000000 /dev/zero", LONG).await.unwrap();
        assert_eq!(much.len(), OUTPUT_CAP);
    }

    #[tokio::test]
    async fn input_reaches_it() {
        let argv = ["/bin/cat"].map(OsString::from);
        let input = vec![b'x'; 300_000];
        let output = run(&argv, "test", None, Some(input.clone()), LONG)
            .await
            .unwrap();
        assert_eq!(output, input);
        let argv = ["/bin/true"].map(OsString::from);
        run(&argv, "test", None, Some(input), LONG).await.unwrap();
    }

    #[tokio::test]
    async fn failures_come_in_its_own_words() {
        let error = sh("echo 'container does not exist' >&2; exit 1", LONG).await;
        assert!(
            matches!(error, Err(RuntimeError::NoContainer { message, .. })
            if message == "container does not exist")
        );
        let error = sh("exit 3", LONG).await.unwrap_err();
        assert_eq!(error.to_string(), "test: exit status: 3");
        assert!(matches!(
            run(&["/nonexistent".into()], "test", None, None, LONG).await,
            Err(RuntimeError::Spawn { .. })
        ));
    }

    #[tokio::test]
    async fn time_is_bounded() {
        let error = sh("sleep 1000", Duration::from_millis(50)).await;
        assert!(matches!(error, Err(RuntimeError::Timeout { .. })));
    }

    #[tokio::test]
    async fn an_open_output_is_not_waited_for() {
        // The child that keeps the pipe open is the shell's own; it ends by itself.
        assert_eq!(sh("sleep 5 & echo done", LONG).await.unwrap(), b"done\n");
    }
}
