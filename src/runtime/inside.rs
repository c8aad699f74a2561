//! What is done in the new process, once it is in its namespaces: all that libcontainer leaves.
//!
//! Until it runs the container's program it is this program still, with more rights than the container's, so nobody
//! may look into it: the kernel lets no process do that which is not itself privileged on the host.

use std::{
    cell::OnceCell,
    collections::HashMap,
    ffi::CString,
    fs, io,
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use libcontainer::{
    apparmor,
    workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError},
};
use oci_spec::runtime::{Process, Spec};

use crate::{
    causes::{whole, within_a_sentence},
    sys::{descriptors, keyring, signals},
};

use super::{
    error::Failure,
    filter::Filter,
    lookup,
    mounts::{self, Planned},
    privileges,
    report::Sayings,
    stdio,
};

/// Exit code of a process whose program the kernel does not run.
const NOT_RUN: i32 = 1;

/// What a new process is to become.
#[derive(Debug)]
pub(super) struct Plan {
    /// The process, as its specification has it.
    pub(super) process: Process,
    /// The container's name.
    pub(super) id: String,
    /// Filter of its system calls.
    pub(super) filter: Option<Filter>,
    /// The container around it, where it is its first.
    pub(super) container: Option<Container>,
    /// Where it says what fails.
    pub(super) sayings: Sayings,
}

/// What a container gets besides what libcontainer makes.
#[derive(Debug)]
pub(super) struct Container {
    /// Mounts to put in place.
    pub(super) mounts: Vec<Planned>,
    /// `/dev` only stood in.
    pub(super) stand_in: bool,
    /// Devices that were made.
    pub(super) devices: Vec<PathBuf>,
    /// Its root cannot be written to.
    pub(super) read_only: bool,
    /// Paths that are hidden.
    pub(super) masked: Vec<String>,
    /// Paths that cannot be written to.
    pub(super) protected: Vec<String>,
}

/// The plan, as libcontainer takes it.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    plan: Rc<Plan>,
    program: OnceCell<PathBuf>,
}

impl Inside {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan: Rc::new(plan),
            program: OnceCell::new(),
        }
    }

    fn prepare(&self) -> Result<(), Failure> {
        let Plan {
            process, container, ..
        } = &*self.plan;
        // All of a container's processes have one, and none of the host's.
        let ring = CString::new(format!("_ses.{}", self.plan.id)).unwrap_or_default();
        keyring::join_session(&ring).map_err(Failure::step("joining the session key ring"))?;
        if let Some(container) = container {
            container.prepare(process)?;
        }
        stdio::give(process.user().uid()).map_err(Failure::step("giving standard streams"))?;
        // Who started this may have said otherwise in its environment, which libcontainer heeds.
        descriptors::close_at_exec().map_err(Failure::step("closing descriptors"))?;
        label(process)?;
        let changed = change_directory(process);
        // A directory that the host's root may not enter may be open to the user.
        let again = matches!(&changed, Err(e) if e.kind() == io::ErrorKind::PermissionDenied);
        if !again {
            changed.map_err(|e| no_directory(process, &e))?;
        }
        if process.no_new_privileges() == Some(true) {
            rustix::thread::set_no_new_privs(true)
                .map_err(Failure::step("giving up new privileges"))?;
        }
        privileges::become_user(process).map_err(Failure::step("becoming the user"))?;
        if again {
            change_directory(process).map_err(|e| no_directory(process, &e))?;
        }
        // A directory outside of the root has no name in it.
        std::env::current_dir().map_err(|_| {
            Failure::Process("current working directory is outside of the container's root".into())
        })?;
        let env = process.env().as_deref().unwrap_or_default();
        let first = process.args().iter().flatten().next();
        let name = first.map(String::as_str).unwrap_or_default();
        let program = lookup::program(name, env).map_err(Failure::Process)?;
        let _ = self.program.set(program);
        Ok(())
    }

    /// Becomes the program; comes back only if that fails.
    fn become_program(&self) -> Result<(), Failure> {
        let Plan {
            process, filter, ..
        } = &*self.plan;
        let filtered = || match filter {
            None => Ok(()),
            Some(filter) => filter.set(),
        };
        let unprivileged = || match process.capabilities() {
            None => Ok(()),
            Some(wanted) => {
                privileges::give_up(wanted).map_err(Failure::step("giving up capabilities"))
            }
        };
        let program = self.program.get().cloned().unwrap_or_default();
        let text = |text: &str| {
            CString::new(text).map_err(|_| Failure::Spec(format!("{text:?} holds a NUL")))
        };
        let path = CString::new(program.as_os_str().as_bytes())
            .map_err(|_| Failure::Spec("the program's path holds a NUL".into()))?;
        let collect = |all: &Option<Vec<String>>| {
            let all = all.iter().flatten();
            all.map(|one| text(one)).collect::<Result<Vec<_>, _>>()
        };
        let (args, env) = (collect(process.args())?, collect(process.env())?);
        signals::let_pipes_end_it().map_err(Failure::step("resetting signals"))?;
        // Without "no new privileges" only the privileged may set a filter.
        if process.no_new_privileges() == Some(true) {
            unprivileged()?;
            filtered()?;
        } else {
            filtered()?;
            unprivileged()?;
        }
        match nix::unistd::execve(&path, &args, &env) {
            Ok(never) => match never {},
            Err(errno) => {
                let words = within_a_sentence(&errno.into());
                Err(Failure::Process(format!(
                    "exec {}: {words}",
                    program.display()
                )))
            }
        }
    }
}

impl Container {
    fn prepare(&self, process: &Process) -> Result<(), Failure> {
        if self.stand_in {
            mounts::detach("/dev").map_err(Failure::step("clearing /dev"))?;
        }
        close_directories(&self.devices)
            .map_err(Failure::step("closing directories of devices"))?;
        mounts::attach(&self.mounts)?;
        // As in other runtimes, who starts where nothing is starts in a new directory.
        let _ = fs::create_dir_all(process.cwd());
        if self.read_only {
            mounts::protect_root().map_err(Failure::step("making the root read-only"))?;
        }
        mounts::protect(self.protected.iter().map(String::as_str))
            .map_err(Failure::step("making paths read-only"))?;
        if self.masked.is_empty() {
            return Ok(());
        }
        mounts::hide(self.masked.iter().map(String::as_str)).map_err(Failure::step("hiding paths"))
    }
}

/// libcontainer makes directories for devices that anybody may write to.
fn close_directories(devices: &[PathBuf]) -> io::Result<()> {
    let dev = Path::new("/dev");
    let own = fs::metadata(dev).map(|data| data.dev());
    for device in devices {
        for dir in device.ancestors().skip(1).take_while(|dir| *dir != dev) {
            // What is mounted there is none of these.
            match fs::symlink_metadata(dir) {
                Ok(data) if data.is_dir() && own.as_ref().is_ok_and(|own| *own == data.dev()) => {
                    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
                }
                _ => break,
            }
        }
    }
    Ok(())
}

fn change_directory(process: &Process) -> io::Result<()> {
    std::env::set_current_dir(process.cwd())
}

fn no_directory(process: &Process, error: &io::Error) -> Failure {
    Failure::Process(format!(
        "chdir to cwd ({:?}) set in config.json failed: {}",
        process.cwd().display().to_string(),
        within_a_sentence(error)
    ))
}

/// Has the kernel give the program its labels.
fn label(process: &Process) -> Result<(), Failure> {
    let set = |profile: &String| !profile.is_empty();
    if let Some(profile) = process.apparmor_profile().as_ref().filter(|p| set(p)) {
        apparmor::apply_profile(profile)
            .map_err(|e| Failure::Process(format!("apply apparmor profile: {}", whole(&e))))?;
    }
    if let Some(label) = process.selinux_label().as_ref().filter(|l| set(l)) {
        let written = write_label(label.as_bytes());
        written.map_err(Failure::step("setting the SELinux label"))?;
    }
    Ok(())
}

fn write_label(label: &[u8]) -> io::Result<()> {
    let mut open = fs::OpenOptions::new();
    open.write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let mut file = open.open(Path::new("/proc/self/attr/exec"))?;
    // A container may have put something else there.
    if !mounts::is_in_proc(&file)? {
        return Err(io::Error::other("/proc is another file system"));
    }
    file.write_all(label)
}

impl Executor for Inside {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        self.prepare().map_err(|error| {
            let text = whole(&error);
            self.plan.sayings.verdict(&text);
            ExecutorValidationError::ArgValidationError(text)
        })
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The program gets its environment as it starts, in its order.
        Ok(())
    }

    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let Err(error) = self.become_program() else {
            return Ok(());
        };
        let text = whole(&error);
        if self.plan.container.is_some() {
            // Who made the container is gone: what is left is the container's own output.
            let plain = text.strip_prefix("unable to start container process: ");
            eprintln!("{}", plain.unwrap_or(&text));
            std::process::exit(NOT_RUN);
        }
        self.plan.sayings.verdict(&text);
        Err(ExecutorError::Other(text))
    }
}
