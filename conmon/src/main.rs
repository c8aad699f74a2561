//! The monitor: the one process beside each container that outlives the daemon.
//!
//! It runs the OCI runtime, owns the container's input and output, writes its log, reaps it, and leaves
//! once the exit record is on disk. One thread, one poll loop, no allocation that a peer can make grow.

mod monitor;
mod pause;
mod sys;

use std::process::ExitCode;

use corten_conmon::wire::Version;

const USAGE: &str = "\
Usage: corten-conmon --container ID [--protocol N]
           monitor a container; the configuration comes on standard input. With N it speaks no newer version of the
           protocol than that, as an older program would
       corten-conmon --pause
           be the first process of a PID namespace
       corten-conmon --version";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = args.iter().map(|arg| arg.to_str()).collect();
    match words[..] {
        // The ID is there for whoever looks at the process list.
        [Some("--container"), _] => monitor::run(Version::CURRENT),
        [Some("--container"), _, Some("--protocol"), Some(number)] => match protocol(number) {
            Some(version) => monitor::run(version),
            None => misused(),
        },
        [Some("--pause")] => pause::run(),
        [Some("--version")] => {
            println!("corten-conmon {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => misused(),
    }
}

fn protocol(number: &str) -> Option<Version> {
    Version::new(number.parse().ok()?)
}

fn misused() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
