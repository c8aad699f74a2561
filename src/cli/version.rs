//! `corten version`.

use clap::Args;

use super::{client, error::CliError, output};
use crate::{config::Sources, cri::api};

/// Arguments of `corten version`.
#[derive(Args)]
pub(super) struct VersionArgs {
    /// Don't ask the daemon
    #[arg(long)]
    client: bool,
}

/// Prints the command's version and the daemon's.
pub(super) fn run(args: VersionArgs, sources: &Sources) -> Result<u8, CliError> {
    output::print(&format!("command  corten {}\n", env!("CARGO_PKG_VERSION")))?;
    if args.client {
        return Ok(0);
    }
    client::with(sources, async |context| {
        let answer = context
            .runtime()
            .version(api::VersionRequest::default())
            .await
            .map_err(CliError::rpc("ask the daemon for its version"))?
            .into_inner();
        output::print(&output::printable(&format!(
            "daemon   {} {}\nCRI      {}\n",
            answer.runtime_name, answer.runtime_version, answer.runtime_api_version
        )))?;
        Ok(0)
    })
}
