//! `corten completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{args::Cli, error::CliError, output};

/// Arguments of `corten completion`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  corten completion bash > /etc/bash_completion.d/corten\n  corten completion zsh > /usr/share/zsh/vendor-completions/_corten\n  source <(corten completion bash)            for this shell alone"
)]
pub(super) struct CompletionArgs {
    /// For which shell
    shell: Shell,
}

/// Prints a completion script.
pub(super) fn run(args: &CompletionArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "corten", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
