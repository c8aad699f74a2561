//! Running a helper program: bounded in time and output, and gone with all it started when it is not.

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use crate::step::{self, Step};

/// Most that a program may print as its answer.
pub(super) const MAX_STDOUT: usize = 1 << 20;
/// What is kept of its complaints; the rest is read and dropped.
const MAX_STDERR: usize = 64 << 10;
/// How long output may follow after the program itself has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// A program that could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Not started.
    #[error("starting {}", program.display())]
    Spawn {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its pipes broke, or it could not be waited for.
    #[error("talking to {}", program.display())]
    Io {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It printed and printed.
    #[error("{} printed more than {MAX_STDOUT} bytes and was killed", .0.display())]
    TooMuch(PathBuf),
    /// It did not end.
    #[error("{} did not end within {} s and was killed{}", program.display(), limit.as_secs_f32(), said(stderr))]
    Timeout {
        /// Which.
        program: PathBuf,
        /// What it was given.
        limit: Duration,
        /// What it complained of.
        stderr: String,
    },
}

fn said(stderr: &str) -> String {
    match stderr {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

/// How a program ended and what it said.
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

/// Kills a process group unless told that its leader has ended well.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // The leader may be gone already, which is as good.
            let _ = nix::sys::signal::killpg(leader, Signal::SIGKILL);
        }
    }
}

/// Runs `program` with exactly the environment `env`, `input` on its stdin.
///
/// When this future is dropped the program and its children are killed.
pub(super) async fn run(
    program: &Path,
    args: &[&str],
    env: &[(&'static str, String)],
    input: &[u8],
    limit: Duration,
) -> Result<Output, ProcessError> {
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(env.iter().map(|(k, v)| (k, v)))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ProcessError::Spawn {
            program: program.to_owned(),
            source,
        })?;
    let mut group = Group(
        child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw),
    );
    let failed = |source| ProcessError::Io {
        program: program.to_owned(),
        source,
    };
    let (mut stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let talk = async {
        let write = async {
            if let Some(mut pipe) = stdin.take() {
                // A program need not read what it does not want: its exit status tells.
                let _ = pipe.write_all(input).await;
            }
            // The pipe is closed: the program has all that it needs to go on alone.
            step::reached(Step::PluginRuns);
        };
        let read = read_capped(out, &mut stdout, MAX_STDOUT, true);
        let complain = read_capped(err, &mut stderr, MAX_STDERR, false);
        let ((), read, complain) = tokio::join!(write, read, complain);
        read.and(complain)
    };
    let whole = async {
        tokio::pin!(talk);
        tokio::select! {
            told = &mut talk => {
                told?;
                child.wait().await
            }
            status = child.wait() => {
                // Something it left behind may hold its pipes open: what it said itself is there by now.
                match timeout(DRAIN, &mut talk).await {
                    Ok(told) => told.and(status),
                    Err(_) => status,
                }
            }
        }
    };
    let ended = timeout(limit, whole).await;
    let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
    match ended {
        Ok(Ok(status)) => {
            group.0 = None;
            Ok(Output {
                status,
                stdout,
                stderr,
            })
        }
        Ok(Err(e)) if e.kind() == io::ErrorKind::FileTooLarge => {
            Err(ProcessError::TooMuch(program.to_owned()))
        }
        Ok(Err(e)) => Err(failed(e)),
        Err(_) => Err(ProcessError::Timeout {
            program: program.to_owned(),
            limit,
            stderr,
        }),
    }
}

async fn read_capped(
    pipe: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    cap: usize,
    strict: bool,
) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut chunk = vec![0; 8 << 10];
    loop {
        let n = pipe.read(&mut chunk).await?;
        if n == 0 {
            return Ok(());
        }
        let room = cap - into.len();
        if n > room && strict {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        into.extend_from_slice(&chunk[..n.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, input: &[u8], limit: Duration) -> Result<Output, ProcessError> {
        run(
            Path::new("/bin/sh"),
            &["-c", script],
            &[("PATH", "/usr/bin:/bin".into())],
            input,
            limit,
        )
        .await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn hands_over_input_and_output() {
        let out = sh("cat; echo bad >&2; exit 3", b"hello", LONG)
            .await
            .unwrap();
        assert_eq!(
            (out.stdout.as_slice(), out.stderr.as_str()),
            (b"hello".as_slice(), "bad")
        );
        assert_eq!(out.status.code(), Some(3));
        let out = sh("env", b"", LONG).await.unwrap();
        let env = String::from_utf8(out.stdout).unwrap();
        assert!(
            env.contains("PATH=") && !env.contains("HOME=") && !env.contains("CARGO"),
            "{env}"
        );
    }

    #[tokio::test]
    async fn input_that_nobody_reads_is_no_error() {
        let out = sh("exit 0", &vec![0; 1 << 20], LONG).await.unwrap();
        assert!(out.status.success());
    }

    #[tokio::test]
    async fn kills_what_does_not_end_and_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!(
            "sleep 1000 & echo $! > {}; echo waiting >&2; wait",
            file.display()
        );
        let error = sh(&script, b"", Duration::from_secs(1))
            .await
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("did not end within 1 s"),
            "{error}"
        );
        assert!(error.to_string().ends_with(": waiting"), "{error}");
        let pid: i32 = std::fs::read_to_string(&file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        // Killed; whoever inherits it reaps it at leisure.
        for _ in 0..1000 {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{pid} lives on");
    }

    #[tokio::test]
    async fn endless_output_is_cut_off() {
        let error = sh("exec cat /dev/zero", b"", LONG).await.err().unwrap();
        assert!(matches!(error, ProcessError::TooMuch(_)), "{error}");
        let out = sh("head -c 1000000 /dev/zero >&2", b"", LONG)
            .await
            .unwrap();
        assert_eq!(out.stderr.len(), MAX_STDERR);
    }

    #[tokio::test]
    async fn a_process_left_behind_does_not_hold_it_up() {
        let out = sh("sleep 4 & echo answer", b"", LONG).await.unwrap();
        assert_eq!(out.stdout, b"answer\n");
        // Not ours to wait for: it ends by itself.
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run(Path::new("/no/such"), &[], &[], b"", LONG)
            .await
            .err()
            .unwrap();
        assert_eq!(error.to_string(), "starting /no/such");
    }
}
