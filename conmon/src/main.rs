//! The monitor: the one process beside each container that outlives the daemon.
//!
//! It runs the OCI runtime, owns the container's input and output, writes its log, reaps it, and leaves
//! once the exit record is on disk. One thread, one poll loop, no allocation that a peer can make grow.

mod monitor;
mod pause;
mod sys;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: corten-conmon --container ID   monitor a container; the configuration comes on standard input
       corten-conmon --pause          be the first process of a PID namespace
       corten-conmon --version";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (verb, operand, rest) = (args.next(), args.next(), args.next());
    match (
        verb.as_deref().and_then(|verb| verb.to_str()),
        operand,
        rest,
    ) {
        // The ID is there for whoever looks at the process list.
        (Some("--container"), Some(_), None) => monitor::run(),
        (Some("--pause"), None, None) => pause::run(),
        (Some("--version"), None, None) => {
            println!("corten-conmon {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
