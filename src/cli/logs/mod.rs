//! `corten logs`: lines, files that rotate, and following them.

pub(super) mod file;
pub(super) mod follow;
pub(crate) mod line;
pub(super) mod printer;
mod tail;

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{client::Context, error::CliError, lookup::Inventory, time};
use crate::config::parse_duration;
use file::LogFile;
use printer::{Printer, Show};

/// Arguments of `corten logs`.
#[derive(Args)]
#[command(
    after_help = "What the container wrote to stdout goes to stdout, the rest to stderr.\n\nExamples:\n  corten logs web\n  corten logs -f --tail 20 web\n  corten logs --since 10m -t web/sidecar"
)]
pub(super) struct LogsArgs {
    /// Name, POD/NAME, ID or beginning of an ID
    container: String,
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last lines only
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,
    /// Leave out what is older: a duration like 10m, or a time like 2026-08-01T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<i64>,
    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
}

/// A point in time, or a duration before now.
fn since(text: &str) -> Result<i64, String> {
    if let Some(time) = time::parse_rfc3339(text) {
        return Ok(time);
    }
    let span = parse_duration(text).map_err(|_| {
        "is neither a duration like 10m nor a time like 2026-08-01T12:00:00Z".to_owned()
    })?;
    let nanos = i64::try_from(span.as_nanos()).map_err(|_| "is too long ago")?;
    Ok(time::now().saturating_sub(nanos))
}

/// Prints a container's log.
pub(super) async fn run(context: Context, args: LogsArgs) -> Result<u8, CliError> {
    let inventory = Inventory::load(&context).await?;
    let container = inventory.find_container(&args.container)?;
    let path = path(&context, &container.id).await?.ok_or_else(|| {
        CliError::State(format!(
            "the container {} keeps no log: its pod was made without a log directory",
            inventory.full_name(container)
        ))
    })?;
    let start = match args.tail {
        None => 0,
        Some(count) => beginning(&path, count)?,
    };
    let log = LogFile::new(&path, start)?;
    let show = Show {
        timestamps: args.timestamps,
        since: args.since,
    };
    let mut printer = Printer::new(io::stdout().lock(), io::stderr().lock(), show);
    match args.follow {
        true => {
            follow::until_exit(&context, &container.id, log, &mut printer).await?;
        }
        false => {
            log.finish(|line| printer.line(line))?;
            printer.flush()?;
        }
    }
    Ok(0)
}

/// Where a container logs; `None` when it does not.
pub(super) async fn path(context: &Context, id: &str) -> Result<Option<PathBuf>, CliError> {
    let status = follow::status(context, id).await?;
    Ok(Some(PathBuf::from(status.log_path)).filter(|path| path.is_absolute()))
}

fn beginning(path: &Path, count: usize) -> Result<u64, CliError> {
    match File::open(path) {
        Ok(file) => tail::start(BufReader::new(file), count),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
    .map_err(|source| CliError::File {
        doing: "read the log",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_duration() {
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(1_000_000_000));
        assert!(since("10m").unwrap() < time::now());
        assert!(since("monday").is_err());
    }
}
