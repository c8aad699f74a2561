//! `corten exec`.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;

use super::{client::Context, error::CliError, lookup::Inventory};
use crate::{
    config::parse_duration,
    cri::api::{self, ContainerState},
};

/// Arguments of `corten exec`.
#[derive(Args)]
#[command(
    after_help = "The exit code is the command's own; 125 says that corten could not run it.\n\nExamples:\n  corten exec web ls -l /\n  corten exec web/sidecar cat /proc/self/status     a container of a pod with several\n  corten exec --timeout 5s web sh -c 'sleep 60'"
)]
pub(super) struct ExecArgs {
    /// Name, POD/NAME, ID or beginning of an ID
    container: String,
    /// What to run
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Kill it when it runs longer
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Keep standard input open (not available yet)
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal (not available yet)
    #[arg(short, long)]
    tty: bool,
}

impl ExecArgs {
    /// Refuses what needs no daemon to be refused.
    pub(super) fn check(&self) -> Result<(), CliError> {
        refuse_interactive(self.interactive, self.tty, "exec")
    }
}

/// Runs a command in a container.
pub(super) async fn run(context: Context, args: ExecArgs) -> Result<u8, CliError> {
    let inventory = Inventory::load(&context).await?;
    let container = inventory.find_container(&args.container)?;
    if container.state() != ContainerState::ContainerRunning {
        return Err(CliError::State(format!(
            "the container {} is not running; `corten logs` shows what it printed",
            inventory.full_name(container)
        )));
    }
    let request = api::ExecSyncRequest {
        container_id: container.id.clone(),
        cmd: args.command,
        timeout: args.timeout.map_or(0, whole_seconds),
    };
    let answer = context
        .runtime()
        .exec_sync(request)
        .await
        .map_err(CliError::rpc(format!(
            "run the command in {}",
            args.container
        )))?
        .into_inner();
    let failed = |e| CliError::Stdio("write the output", e);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    out.write_all(&answer.stdout).map_err(failed)?;
    out.flush().map_err(failed)?;
    err.write_all(&answer.stderr).map_err(failed)?;
    Ok(exit_code(answer.exit_code))
}

/// The API counts timeouts in seconds, and 0 is none.
fn whole_seconds(span: Duration) -> i64 {
    let rounded = span.as_millis().div_ceil(1000).max(1);
    i64::try_from(rounded).unwrap_or(i64::MAX)
}

/// A program's exit code as ours.
pub(super) fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(255)
}

/// Says so where `-i` or `-t` is asked for.
pub(super) fn refuse_interactive(
    interactive: bool,
    tty: bool,
    verb: &'static str,
) -> Result<(), CliError> {
    let flag = match (interactive, tty) {
        (false, false) => return Ok(()),
        (true, false) => "-i",
        (false, true) => "-t",
        (true, true) => "-it",
    };
    Err(CliError::Usage(
        format!(
            "{flag} is not available yet: interactive sessions need streaming, which this version lacks. Leave it out to run the command without input."
        ),
        verb,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_timeouts() {
        assert_eq!(exit_code(7), 7);
        assert_eq!(exit_code(-1), 255);
        assert_eq!(exit_code(256), 255);
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(5)), 5);
        assert_eq!(whole_seconds(Duration::from_millis(5001)), 6);
    }
}
