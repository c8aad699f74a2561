//! `corten serve`: the daemon.

use std::io;

use tracing_subscriber::EnvFilter;

use super::{Serve, error::CliError};
use crate::config::{Config, LogFormat, Sources};

/// Loads the configuration and runs the daemon until it is told to stop.
pub(super) fn run(sources: &Sources, daemon: Serve) -> Result<(), CliError> {
    let config = sources.load()?.config;
    start_logging(&config);
    for name in sources.unknown_variables() {
        tracing::warn!(name, "this environment variable sets no option");
    }
    daemon(config).map_err(CliError::Daemon)
}

fn start_logging(config: &Config) {
    // The configuration has been checked, so the filter is one.
    let filter = EnvFilter::try_new(config.log_level.as_str()).unwrap_or_default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .init(),
    }
}
