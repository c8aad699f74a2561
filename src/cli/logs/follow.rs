//! Following a log until its container ends.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use tonic::Code;

use super::{file::LogFile, printer::Printer};
use crate::{
    cli::{client::Context, error::CliError},
    cri::api::{ContainerState, ContainerStatus, ContainerStatusRequest},
};

/// How often to look for new lines. A poll sees rotation, truncation and late creation alike, where a watch on the
/// file would have to be renewed for each.
const TICK: Duration = Duration::from_millis(50);

/// How long the daemon may be away; containers run on while it restarts.
pub(in crate::cli) const PATIENCE: Duration = Duration::from_secs(60);

/// Prints a log as it grows; returns the container's last state once it has ended and all is printed, or `None` when
/// it was removed meanwhile.
pub(in crate::cli) async fn until_exit(
    context: &Context,
    id: &str,
    mut log: LogFile,
    printer: &mut Printer<impl Write, impl Write>,
) -> Result<Option<ContainerStatus>, CliError> {
    let mut away: Option<Instant> = None;
    let last = loop {
        // Asked before reading: the state "exited" promises that all it wrote is in the file.
        match status(context, id).await {
            Ok(status) if status.state() == ContainerState::ContainerExited => break Some(status),
            Ok(_) => away = None,
            Err(e) if e.has_code(Code::NotFound) => break None,
            Err(e) if e.is_lost_connection() => {
                if away.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    return Err(e);
                }
            }
            Err(e) => return Err(e),
        }
        log.read(|line| printer.line(line))?;
        printer.flush()?;
        tokio::time::sleep(TICK).await;
    };
    log.finish(|line| printer.line(line))?;
    printer.flush()?;
    Ok(last)
}

/// The state of a container.
pub(in crate::cli) async fn status(
    context: &Context,
    id: &str,
) -> Result<ContainerStatus, CliError> {
    let doing = "ask for the state of the container";
    let request = ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: false,
    };
    context
        .runtime()
        .container_status(request)
        .await
        .map_err(CliError::rpc(doing))?
        .into_inner()
        .status
        .ok_or_else(|| CliError::Answer {
            doing: doing.to_owned(),
            lacks: "the status",
        })
}
