//! Running a process in the container without the OCI runtime.
//!
//! ```text
//! monitor ──fork──> the one outside: joins cgroups and namespaces, and ends
//!    └──────────────────clone──> the one inside: becomes the user, and runs the program
//! ```
//!
//! The second is a process of the container's PID namespace because the first joined that before, and the monitor's own
//! child because it is cloned so. Neither can be looked into by the container's processes: they are not dumpable until
//! the program runs, whose memory is its own. All that they need is prepared before; they allocate next to nothing.

mod channel;
mod inside;
mod outside;

use std::{
    ffi::{CString, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
};

use corten_conmon::ctl::{Capabilities, MAX_FILTER, Rlimit, Run, Streams, User};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, PidfdFlags},
};

use self::channel::Mouth;
pub(crate) use self::channel::{Ear, Word};
use super::{
    cgroup::{self, Cgroups},
    sys::{Pages, entry as sys},
};

/// All that the processes need.
struct Plan {
    init: Pid,
    pidfd: OwnedFd,
    mouth: Mouth,
    oom_score: Option<Vec<u8>>,
    cgroups: Cgroups,
    rlimits: Vec<Rlimit>,
    keyring: CString,
    stdio: Stdio,
    cwd: CString,
    user: User,
    capabilities: Capabilities,
    no_new_privs: bool,
    selinux: Option<Vec<u8>>,
    apparmor: Option<Vec<u8>>,
    filter: Option<(Pages, usize, u32)>,
    program: Program,
    args: sys::Texts,
    env: sys::Texts,
}

/// Standard input, output and error.
enum Stdio {
    Given([OwnedFd; 3]),
    Terminal,
}

/// Where the program is.
enum Program {
    /// There.
    Path(CString),
    /// In one of these directories, with the place of each in the search path, counted from one.
    Search(Vec<(u16, CString)>),
}

/// A process on its way.
pub(crate) struct Begun {
    /// The one outside.
    pub(crate) helper: i32,
    /// What is told of it.
    pub(crate) ear: Ear,
}

/// Where a process is to go, and what the monitor gives to it.
pub(crate) struct Target {
    /// The container's init, which this process has not reaped.
    pub(crate) init: i32,
    /// OOM preference of processes that ask for none.
    pub(crate) oom_score: Option<[u8; 8]>,
}

/// Begins to run a process. `fds` are its standard streams where it has no terminal, then its filter.
pub(crate) fn begin(run: Run, fds: Vec<OwnedFd>, target: &Target) -> io::Result<Begun> {
    let (ear, mouth) = channel::new()?;
    let plan = Plan::new(run, fds, target, mouth)?;
    let helper = sys::fork(plan.cgroups.begin(), |begun| outside::run(&plan, begun))?;
    Ok(Begun { helper, ear })
}

impl Plan {
    fn new(run: Run, fds: Vec<OwnedFd>, target: &Target, mouth: Mouth) -> io::Result<Self> {
        let init = Pid::from_raw(target.init).ok_or(io::ErrorKind::InvalidInput)?;
        let mut fds = fds.into_iter();
        let stdio = match &run.streams {
            Streams::Terminal { .. } => Stdio::Terminal,
            Streams::Pipes { stdin, .. } => {
                let input = match stdin {
                    true => fds.next(),
                    false => Some(nothing()?),
                };
                match (input, fds.next(), fds.next()) {
                    (Some(input), Some(output), Some(errors)) => {
                        Stdio::Given([input, output, errors])
                    }
                    _ => return Err(io::ErrorKind::InvalidInput.into()),
                }
            }
        };
        let filter = match (&run.filter, fds.next()) {
            (None, _) => None,
            (Some(filter), Some(file)) => {
                let mut program = Pages::new(MAX_FILTER)?;
                // From its beginning, wherever others have read to.
                let len = rustix::io::pread(&file, &mut program[..], 0)?;
                Some((program, len, filter.flags))
            }
            (Some(_), None) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let oom_score = match run.oom_score_adj {
            Some(score) => Some(score.to_string().into_bytes()),
            None => target.oom_score.map(|text| text.to_vec()),
        };
        let label = |prefix: &str, text: Option<OsString>| {
            text.map(|text| [prefix.as_bytes(), &text.into_vec()].concat())
        };
        let first = run.args.first().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            init,
            pidfd: rustix::process::pidfd_open(init, PidfdFlags::empty())?,
            mouth,
            oom_score,
            cgroups: Cgroups::new(run.cgroups),
            rlimits: run.rlimits,
            keyring: text(run.keyring)?,
            stdio,
            cwd: text(run.cwd.into_os_string())?,
            user: run.user,
            capabilities: run.capabilities,
            no_new_privs: run.no_new_privs,
            selinux: label("", run.selinux),
            apparmor: label("exec ", run.apparmor),
            filter,
            program: Program::find(first.clone(), &run.env)?,
            args: texts(run.args)?,
            env: texts(run.env)?,
        })
    }

    /// The descriptors that are needed on the way.
    fn descriptors(&self) -> Vec<RawFd> {
        let streams: &[OwnedFd] = match &self.stdio {
            Stdio::Given(fds) => fds,
            Stdio::Terminal => &[],
        };
        let own: [BorrowedFd<'_>; 2] = [self.pidfd.as_fd(), self.mouth.as_fd()];
        let streams = streams.iter().map(AsFd::as_fd);
        own.into_iter()
            .chain(streams)
            .map(|fd| fd.as_raw_fd())
            .collect()
    }
}

impl Program {
    /// Where a name is looked for: not relative to the working directory, whatever the search path says.
    fn find(name: OsString, env: &[OsString]) -> io::Result<Self> {
        let name = name.into_vec();
        if name.contains(&b'/') {
            return Ok(Self::Path(CString::new(name)?));
        }
        let path = env
            .iter()
            .rev()
            .find_map(|entry| entry.as_encoded_bytes().strip_prefix(b"PATH="));
        let dirs = path.unwrap_or_default().split(|byte| *byte == b':');
        let candidates = (1..).zip(dirs).filter(|(_, dir)| dir.starts_with(b"/"));
        candidates
            .map(|(place, dir)| Ok((place, CString::new([dir, b"/", &name].concat())?)))
            .collect::<io::Result<_>>()
            .map(Self::Search)
    }
}

fn nothing() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, Mode::empty())?)
}

fn text(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}

fn texts(all: Vec<OsString>) -> io::Result<sys::Texts> {
    all.into_iter()
        .map(text)
        .collect::<io::Result<_>>()
        .map(sys::Texts::new)
}

/// Sends a terminal to a socket of whoever asked for it, as runtimes do.
pub(crate) fn send_terminal(bundle: &Path, console: &Path, master: &OwnedFd) -> io::Result<()> {
    use corten_conmon::socket::{Address, send};
    let socket = Address::of(&bundle.join(console))?.connect(rustix::net::SocketType::STREAM)?;
    send(&socket, b"terminal", &[master.as_fd()])
}
