//! The `corten` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    corten::cli::main(|_config| {
        Err("this build holds no daemon; build one from a tree with src/daemon.rs".into())
    })
}
