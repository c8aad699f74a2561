//! The OCI runtime that corten itself is: the same program, started again as `corten oci-runtime`, speaks the command
//! line of runc, so that monitors and daemon run it as they run any other runtime.
//!
//! It is a single thread from its first to its last line: it forks and changes namespaces. [youki's
//! libcontainer](libcontainer) makes processes, namespaces and the kernel's own file systems, and
//! [`libcgroups`] sets limits. What they lack is done here, in the container's first process once it is in its
//! namespaces ([`inside`]): volumes from detached mounts, hidden paths, IDs, capabilities and the filter of system
//! calls, for `exec` as for `create`. What cannot be done at all is refused by name ([`spec::check`]).

mod arguments;
mod birth;
mod cgroup;
mod create;
mod delete;
mod devices;
mod entry;
mod error;
mod exec;
mod features;
mod filter;
mod freeze;
mod inside;
mod kill;
mod launch;
mod limits;
mod lookup;
mod mounts;
mod options;
mod privileges;
mod program;
mod record;
mod report;
mod spec;
mod start;
mod state;
mod stdio;
mod update;

use std::{ffi::OsString, process::ExitCode};

use arguments::{Call, Command};
use error::Failure;

pub use program::path as program;

/// The word after the program's name that makes corten a runtime.
pub const WORD: &str = "oci-runtime";

/// Whether this process was started as the runtime; then nothing else of corten runs in it.
pub fn is_asked_for() -> bool {
    std::env::args_os().nth(1).is_some_and(|word| word == WORD)
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    let call = match Call::parse(&arguments) {
        Ok(call) => call,
        Err(error) => {
            report::complain(&report::Log::default(), &error);
            return ExitCode::FAILURE;
        }
    };
    match run(&call) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&call.log, &error);
            ExitCode::FAILURE
        }
    }
}

/// Commands by this very process, for they make no other and enter nothing. They block, for twenty seconds at most. What
/// failed is told in the words of runc.
pub mod here {
    use std::path::Path;

    use crate::causes::whole;

    use super::{arguments::Force, delete, start};

    /// `start`.
    pub fn start(root: &Path, id: &str) -> Result<(), String> {
        start::run(root, id).map_err(|e| whole(&e))
    }

    /// `delete --force`.
    pub fn delete(root: &Path, id: &str) -> Result<(), String> {
        delete::run(root, id, Force::Kill).map_err(|e| whole(&e))
    }
}

fn run(call: &Call) -> Result<(), Failure> {
    let _ = rustix::thread::set_name(c"corten-runtime");
    let root = &call.root;
    match &call.command {
        Command::Version => features::print_version(),
        Command::Features => features::print(),
        Command::Create(create) => create::run(root, create),
        Command::Start { id } => start::run(root, id),
        Command::State { id } => state::run(root, id),
        Command::Kill { id, signal, whom } => kill::run(root, id, *signal, *whom),
        Command::Delete { id, force } => delete::run(root, id, *force),
        Command::Exec(exec) => exec::run(root, exec).map_err(|e| Failure::Exec(Box::new(e))),
        Command::Update { id, resources } => update::run(root, id, resources),
        Command::Pause { id } => freeze::pause(root, id),
        Command::Resume { id } => freeze::resume(root, id),
    }
}
