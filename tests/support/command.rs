//! Running programs to their end.

use std::{ffi::OsStr, process::Stdio, time::Duration};

use tokio::process::Command;

use super::patience;

/// What a program left.
#[derive(Debug)]
pub(crate) struct Done {
    #[allow(dead_code, reason = "shown where a check of it fails")]
    line: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Its output; panics unless it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Its messages; panics unless it failed.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert!(self.code.is_some_and(|code| code != 0), "{self:?}");
        self.stderr
    }
}

/// Runs a program with nothing on its standard input.
pub(crate) async fn run<S: AsRef<OsStr>>(words: &[S]) -> Done {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    finish(patience(), command, None).await
}

/// Runs a prepared command to its end, feeding it `input`.
pub(crate) async fn finish(limit: Duration, mut command: Command, input: Option<Vec<u8>>) -> Done {
    let line = format!("{:?}", command.as_std());
    let stdin = match input {
        Some(_) => Stdio::piped(),
        None => Stdio::null(),
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|e| panic!("starting {line}: {e}"));
    if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), input) {
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            // The program may end without reading all of it.
            let _ = pipe.write_all(&bytes).await;
        });
    }
    let output = tokio::time::timeout(limit, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("not finished within {limit:?}: {line}"))
        .unwrap_or_else(|e| panic!("waiting for {line}: {e}"));
    Done {
        line,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
