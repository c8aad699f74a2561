//! `corten config`.

use clap::Args;

use super::{error::CliError, output};
use crate::config::{Sources, commented, current, markdown};

/// Arguments of `corten config`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  corten config > /etc/corten/corten.toml     begin with a file of your own\n  corten config --current                     what a daemon started now would use\n  CORTEN_ROOT=/data corten config --current"
)]
pub(super) struct ConfigArgs {
    /// Print what a daemon started now would use, and where each value comes from
    #[arg(long)]
    current: bool,
    /// Print the options as Markdown, as in docs/configuration.md
    #[arg(long, hide = true, conflicts_with = "current")]
    markdown: bool,
}

/// Prints a configuration.
pub(super) fn run(args: &ConfigArgs, sources: &Sources) -> Result<(), CliError> {
    let text = match (args.current, args.markdown) {
        (true, _) => current(&sources.load()?),
        (_, true) => markdown(),
        _ => commented(),
    };
    output::print(&text)
}
