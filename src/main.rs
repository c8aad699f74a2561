//! The `corten` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    if corten::runtime::is_asked_for() {
        return corten::runtime::main();
    }
    corten::cli::main(|config| corten::daemon::run(config).map_err(Into::into))
}
