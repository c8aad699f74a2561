//! The control protocol: what the daemon asks a running monitor, and what it is told.

use std::{ffi::OsString, path::PathBuf};

use crate::{
    record::{ExitRecord, ExitStatus},
    wire::{Decoder, Encoder, Since, Wire, WireError, choice, message},
};

/// Clients of the control socket at one time.
pub const MAX_CLIENTS: usize = 8;
/// Execs at one time.
pub const MAX_EXECS: usize = 64;
/// Number of the answers that answer no request.
pub const EVENT: u64 = 0;
/// Most of the runtime's standard error that is kept.
pub const MAX_STDERR: usize = 16 * 1024;
/// Longest answer: the runtime's standard error and what stands around it.
pub const MAX_ANSWER: usize = MAX_STDERR + 1024;

/// A request and the number its answers will carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the client; not [`EVENT`].
    pub id: u64,
    /// What is asked.
    pub verb: Verb,
}

impl Wire for Request {
    fn encode(&self, out: &mut Encoder) {
        self.id.encode(out);
        self.verb.encode(out);
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: u64::decode(input)?,
            verb: Verb::decode(input)?,
        })
    }
}

choice! {
    /// What can be asked.
    pub enum Verb {
        /// First on every connection to the socket. Answer: [`Reply::Hello`].
        Hello = 0,
        /// Answer: [`Reply::State`].
        State = 1,
        /// Asks for events on this connection. Answer: [`Reply::State`], and from then on every change.
        Subscribe = 2,
        /// Opens the log file anew. Answer: [`Reply::Done`] once output goes to the new file.
        ReopenLog = 3,
        /// Sets the terminal's size. Answer: [`Reply::Done`].
        Resize = 4 {
            /// Columns.
            width: u16,
            /// Rows.
            height: u16,
        },
        /// Closes the container's standard input. Answer: [`Reply::Done`].
        CloseStdin = 5,
        /// Runs a process in the container. Answers: [`Reply::ExecStarted`], then [`Reply::ExecEnded`];
        /// the latter alone when it did not start.
        Exec = 6 {
            /// What to run.
            exec: Exec,
        },
        /// Ends an exec of this connection. No answer of its own.
        CancelExec = 7 {
            /// Number of the request that began it.
            exec: u64,
        },
        /// Keeps the terminal of an exec of this connection, whose master is sent along: should the connection
        /// break, its process is not hung up. No answer of its own. Since version 3.
        KeepTerminal = 8 {
            /// Number of the request that began it.
            exec: u64,
        },
        /// Closes what is kept of an exec's output, so that whoever writes to what nobody reads any more is told
        /// so. No answer of its own. Since version 3.
        ReleaseOutput = 9 {
            /// Number of the request that began it.
            exec: u64,
        },
        /// Runs a process in the container without the OCI runtime. Answers as to [`Verb::Exec`]. Since version 3.
        Run = 10 {
            /// What to run.
            run: Box<Run>,
        },
    }
}

message! {
    /// A process to run in the container.
    ///
    /// Descriptors travel with the request: standard input where `stdin` says so, then output, then
    /// error, then `keep` that these are read from. A terminal needs nothing here: whoever asks owns the console
    /// socket that the command line names, and the terminal that arrives on it.
    pub struct Exec {
        /// Command line of the OCI runtime's detached `exec`; run with the bundle as working directory.
        pub runtime: Vec<OsString>,
        /// File the runtime writes the process's number to. The monitor removes it, before and after (and after it also
        /// the one beside it that has `json` for this one's extension):
        /// while the exec lasts it is the only trace of a process whose runtime did not end.
        pub pid_file: PathBuf,
        /// How long it may take, all in all.
        pub timeout_ms: Option<u64>,
        /// Whether a descriptor for standard input is sent; `/dev/null` otherwise.
        pub stdin: bool,
        /// How many descriptors are sent that the output can be read from. With at least one the process goes on
        /// when the connection breaks, and what it writes is read from them and dropped; without, it is killed then.
        pub keep: Since<3, u8>,
    }
}

message! {
    /// A process to run in the container, told in full: what a runtime would find out is found out by whoever asks.
    ///
    /// Descriptors travel with the request: those of its streams, then the system call filter where there is one.
    pub struct Run {
        /// What to run. A name without a slash is looked for in the `PATH` of `env`.
        pub args: Vec<OsString>,
        /// The whole environment.
        pub env: Vec<OsString>,
        /// Where it starts, in the container.
        pub cwd: PathBuf,
        /// Who it is.
        pub user: User,
        /// What it may do.
        pub capabilities: Capabilities,
        /// It can gain no privileges.
        pub no_new_privs: bool,
        /// Limits that it does not inherit.
        pub rlimits: Vec<Rlimit>,
        /// Preference of the OOM killer; the daemon's where there is none.
        pub oom_score_adj: Option<i32>,
        /// AppArmor profile.
        pub apparmor: Option<OsString>,
        /// SELinux label.
        pub selinux: Option<OsString>,
        /// Name of the session key ring it joins.
        pub keyring: OsString,
        /// Directories of the cgroups it joins, one for each hierarchy.
        pub cgroups: Vec<PathBuf>,
        /// The system call filter, whose program is read from a descriptor.
        pub filter: Option<Filter>,
        /// Standard input, output and error.
        pub streams: Streams,
        /// How long it may take, all in all.
        pub timeout_ms: Option<u64>,
    }
}

message! {
    /// Whose process one is, in numbers of the container's user namespace.
    pub struct User {
        /// User.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Further groups.
        pub groups: Vec<u32>,
        /// Mask of modes of new files; the monitor's where there is none.
        pub umask: Option<u32>,
    }
}

message! {
    /// The capability sets, a bit for each capability.
    pub struct Capabilities {
        /// Those it can ever have.
        pub bounding: u64,
        /// Those in use.
        pub effective: u64,
        /// Those it may use.
        pub permitted: u64,
        /// Those that programs of certain files keep.
        pub inheritable: u64,
        /// Those that every program keeps.
        pub ambient: u64,
    }
}

message! {
    /// A limit.
    pub struct Rlimit {
        /// Of what, as the kernel numbers it.
        pub resource: u32,
        /// The one in force.
        pub soft: u64,
        /// The most that it can be set to.
        pub hard: u64,
    }
}

message! {
    /// A system call filter: a classic BPF program of at most [`MAX_FILTER`] bytes.
    pub struct Filter {
        /// Flags of `seccomp(2)`.
        pub flags: u32,
    }
}

/// Longest program of a filter in bytes, which is the kernel's own limit.
pub const MAX_FILTER: usize = 4096 * 8;

choice! {
    /// Streams of a process.
    pub enum Streams {
        /// Descriptors that are sent: as with [`Exec`].
        Pipes = 0 {
            /// As in [`Exec::stdin`].
            stdin: bool,
            /// As in [`Exec::keep`].
            keep: u8,
        },
        /// A terminal of the container's, whose master is sent to a socket as runtimes do it. It is kept as with
        /// [`Verb::KeepTerminal`].
        Terminal = 1 {
            /// The socket; a name without a directory lies in the bundle.
            console: PathBuf,
        },
    }
}

choice! {
    /// Where a container is.
    #[derive(Copy)]
    pub enum Phase {
        /// The runtime is at work.
        Creating = 0,
        /// Init is there: created, running or paused, which only the runtime can tell apart.
        Running = 1 {
            /// Init, as the monitor's PID namespace numbers it.
            pid: i32,
        },
        /// Init is gone and the record not yet written.
        Ending = 2 {
            /// What init was.
            pid: i32,
        },
        /// The record is written.
        Exited = 3 {
            /// The record.
            record: ExitRecord,
        },
    }
}

/// An answer and the number of its request, or [`EVENT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The request's number.
    pub id: u64,
    /// What is answered.
    pub reply: Reply,
}

impl Wire for Answer {
    fn encode(&self, out: &mut Encoder) {
        self.id.encode(out);
        self.reply.encode(out);
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: u64::decode(input)?,
            reply: Reply::decode(input)?,
        })
    }
}

choice! {
    /// What is answered.
    pub enum Reply {
        /// The monitor introduces itself.
        Hello = 0 {
            /// Its process.
            monitor: i32,
            /// Version of its program, which may be older than the daemon's.
            program: Since<2, String>,
        },
        /// Where the container is.
        State = 1 {
            /// That.
            phase: Phase,
        },
        /// It was done.
        Done = 2,
        /// It was not done.
        Refused = 3 {
            /// Why, for programs.
            kind: Refusal,
            /// Why, for people.
            text: String,
        },
        /// The exec's process runs.
        ExecStarted = 4 {
            /// It, as the monitor's PID namespace numbers it.
            pid: i32,
        },
        /// The exec is over.
        ExecEnded = 5 {
            /// How.
            end: ExecEnd,
        },
        /// Event: the container was created.
        Created = 6 {
            /// Init.
            pid: i32,
            /// The monitor.
            monitor: i32,
            /// What the runtime wrote to its standard error all the same.
            stderr: String,
            /// Version of the monitor's program.
            program: Since<2, String>,
        },
        /// Event: the container was not created. The monitor is about to leave.
        Failed = 7 {
            /// Why.
            failure: CreateFailure,
        },
        /// Event: the container's exit record is written. The monitor is about to leave.
        Exited = 8 {
            /// The record.
            record: ExitRecord,
        },
    }
}

choice! {
    /// Why a request was refused.
    #[derive(Copy)]
    pub enum Refusal {
        /// The request is not understood: a version that the monitor does not speak, or garbage.
        NotUnderstood = 0,
        /// The container is not, or no longer, running.
        NotRunning = 1,
        /// As many as possible are under way.
        Busy = 2,
        /// The container has no such thing: no log, no terminal.
        NotThere = 3,
        /// The system refused.
        Failed = 4,
    }
}

choice! {
    /// How an exec ended.
    #[derive(Copy)]
    pub enum ExecEnd {
        /// The process ended.
        Exited = 0 {
            /// How.
            status: ExitStatus,
        },
        /// It took too long, and was killed.
        TimedOut = 1,
        /// The client wanted no more of it, and it was killed.
        Cancelled = 2,
        /// The runtime did not start it; its standard error says why.
        RuntimeFailed = 3 {
            /// How the runtime ended.
            status: ExitStatus,
        },
        /// The runtime could not be run.
        NoRuntime = 4 {
            /// The system's error number.
            errno: i32,
        },
        /// The runtime succeeded and left no process of ours.
        NoProcess = 5,
        /// The monitor could not start it by itself. Only told of [`Verb::Run`].
        NotStarted = 6 {
            /// What failed.
            step: Step,
            /// The system's error number; 0 where there is none.
            errno: i32,
            /// Which directory of its `PATH` the program is in, counted from one; 0 where it was not looked for.
            place: u16,
        },
    }
}

choice! {
    /// Steps of starting a process in a container.
    #[derive(Copy)]
    pub enum Step {
        /// Making a process, or the channel to it.
        Fork = 0,
        /// Joining a cgroup.
        Cgroup = 1,
        /// Joining the namespaces.
        Namespaces = 2,
        /// Making the terminal.
        Terminal = 3,
        /// Connecting the streams.
        Streams = 4,
        /// Setting the limits.
        Limits = 5,
        /// Going to the working directory.
        Directory = 6,
        /// The working directory is not below the container's root.
        Outside = 7,
        /// Becoming the user.
        User = 8,
        /// Setting the capabilities.
        Capabilities = 9,
        /// Asking for a label of a security module.
        Label = 10,
        /// Setting the system call filter.
        Filter = 11,
        /// Finding the program: it is in no directory of the `PATH`.
        Find = 12,
        /// Looking at the program by the path given.
        Look = 13,
        /// Running the program, which is there.
        Program = 14,
        /// It ended before it ran the program, and did not say why.
        Lost = 15,
    }
}

message! {
    /// Why a container was not created.
    pub struct CreateFailure {
        /// How far it got.
        pub stage: Stage,
        /// How the runtime ended, where it ran.
        pub status: Option<ExitStatus>,
        /// What is wrong, and where the runtime spoke, its standard error.
        pub text: String,
    }
}

choice! {
    /// Steps of a creation that can fail.
    #[derive(Copy)]
    pub enum Stage {
        /// Reading what to create.
        Config = 0,
        /// Moving to the monitor's cgroups.
        Cgroup = 1,
        /// Opening the log.
        Log = 2,
        /// Binding the sockets.
        Sockets = 3,
        /// Anything else before the runtime.
        Setup = 4,
        /// Running the runtime at all.
        Spawn = 5,
        /// The runtime's own work: it said no.
        Runtime = 6,
        /// The runtime took too long, and was killed.
        Timeout = 7,
        /// The terminal did not arrive.
        Console = 8,
        /// The runtime left no process, or one that is not ours to wait for.
        PidFile = 9,
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Config => "reading the monitor's configuration",
            Self::Cgroup => "moving the monitor to its cgroup",
            Self::Log => "opening the log",
            Self::Sockets => "binding the monitor's sockets",
            Self::Setup => "setting the monitor up",
            Self::Spawn => "running the OCI runtime",
            Self::Runtime => "the OCI runtime's create",
            Self::Timeout => "waiting for the OCI runtime's create",
            Self::Console => "receiving the terminal",
            Self::PidFile => "finding the container's process",
        })
    }
}
