//! The `corten` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    corten::cli::main(|config| corten::daemon::run(config).map_err(Into::into))
}
