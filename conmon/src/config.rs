//! What a monitor is told when it starts.

use std::{ffi::OsString, path::PathBuf};

use crate::wire::{choice, message};

/// A variable of the environment that a monitor is started with, and its value; no program that it runs has it.
///
/// The allocator keeps nothing in caches then, whose small pieces would each hold a page for as long as the container
/// runs. The GNU C Library's manual, "Memory Allocation Tunables".
pub const ALLOCATOR: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");

/// Smallest cap of a log file: one longest record must fit with room to spare.
pub const MIN_LOG_SIZE: u64 = 4096;

message! {
    /// The container to create and to watch. Sent on the monitor's standard input, as one frame.
    pub struct Config {
        /// Command line of the OCI runtime's `create`; run with the bundle as working directory.
        pub runtime: Vec<OsString>,
        /// Bundle directory.
        pub bundle: PathBuf,
        /// File the runtime writes the init process's number to.
        pub pid_file: PathBuf,
        /// Where the runtime sends the terminal, as in its command line (relative: below the bundle).
        /// `None` for a container without one.
        pub console_socket: Option<PathBuf>,
        /// Standard input.
        pub stdin: Stdin,
        /// Who pipes for standard input, output and error are given to, of execs too; `None` leaves them root's.
        pub owner: Option<StdioOwner>,
        /// Log file; `None` discards the output.
        pub log: Option<LogConfig>,
        /// File the exit record is written to.
        pub exit_record: PathBuf,
        /// Control socket to serve.
        pub ctl_socket: PathBuf,
        /// Attach socket to serve.
        pub attach_socket: Option<PathBuf>,
        /// cgroup directories the monitor moves itself into; made when missing.
        pub cgroups: Vec<PathBuf>,
        /// `memory.events` or `memory.oom_control` of the container; found from its process when `None`.
        pub oom_file: Option<PathBuf>,
        /// How long the runtime may take.
        pub create_timeout_ms: u64,
        /// How long output may still come once init is gone.
        pub drain_ms: u64,
    }
}

message! {
    /// An owner as the host numbers it.
    #[derive(Copy)]
    pub struct StdioOwner {
        /// User.
        pub uid: u32,
        /// Group.
        pub gid: u32,
    }
}

message! {
    /// The container's log.
    pub struct LogConfig {
        /// File, created when missing.
        pub path: PathBuf,
        /// Size at which the file is begun anew; at least [`MIN_LOG_SIZE`].
        pub max_size: Option<u64>,
    }
}

choice! {
    /// The container's standard input.
    #[derive(Copy)]
    pub enum Stdin {
        /// `/dev/null`, or nothing ever arrives at the terminal.
        Closed = 0,
        /// Open until the container ends.
        Open = 1,
        /// Open until the first attached client that gave input leaves.
        Once = 2,
    }
}
