//! User namespaces, each made by a child process that does nothing else.
//!
//! A process of several threads cannot enter a user namespace, so a child is born in a new one, together with
//! whatever other namespaces it is to own. The mappings are written from here, and the namespaces are opened
//! from here; the child never runs anything.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use nix::sched::CloneFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::child;
use crate::id_map::{self, IdMapError, IdMapping, UserMappings};

/// The child ends by itself after this time, whatever became of who made it.
const LIFETIME_S: i64 = 60;

/// A user namespace that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The mappings are none.
    #[error("ID mappings of the user namespace")]
    Mappings(#[source] IdMapError),
    /// There are none.
    #[error("a user namespace needs ID mappings of both users and groups")]
    Unmapped,
    /// No child.
    #[error("making a user namespace (user.max_user_namespaces may be too low)")]
    Clone(#[source] io::Error),
    /// The mappings were not accepted.
    #[error("writing {text:?} to {}", path.display())]
    Map {
        /// Where.
        path: PathBuf,
        /// What.
        text: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A namespace could not be opened.
    #[error("opening {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A new user namespace and those it owns, there for as long as this value is, and afterwards for as long as
/// they are open or mounted.
///
/// Its child ends with the thread that made it, so it is for use on that thread.
#[derive(Debug)]
pub struct Users {
    pid: i32,
    child: OwnedFd,
}

impl Users {
    /// Makes a user namespace with these mappings, and those of `owned` to belong to it. Blocking, but brief.
    pub fn create(mappings: &UserMappings, owned: CloneFlags) -> Result<Self, UsersError> {
        for list in [&mappings.uids, &mappings.gids] {
            if list.is_empty() {
                return Err(UsersError::Unmapped);
            }
            id_map::check(list).map_err(UsersError::Mappings)?;
        }
        let (pid, child) = sleeper(CloneFlags::CLONE_NEWUSER | owned).map_err(UsersError::Clone)?;
        let users = Self { pid, child };
        users.map("uid_map", &mappings.uids)?;
        users.map("gid_map", &mappings.gids)?;
        Ok(users)
    }

    /// A user namespace alone, as mounts take it to map IDs. Blocking, but brief.
    pub fn mapping(mappings: &UserMappings) -> Result<OwnedFd, UsersError> {
        Ok(Self::create(mappings, CloneFlags::empty())?
            .open("user")?
            .into())
    }

    /// A namespace of its child, by the name it has in `/proc/PID/ns`.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{name}", self.pid))
    }

    /// Opens a namespace of its child.
    pub fn open(&self, name: &str) -> Result<File, UsersError> {
        let path = self.path(name);
        File::open(&path).map_err(|source| UsersError::Open { path, source })
    }

    fn map(&self, file: &str, list: &[IdMapping]) -> Result<(), UsersError> {
        let path = PathBuf::from(format!("/proc/{}/{file}", self.pid));
        let text = id_map::lines(list);
        // In one write: the kernel takes no second one.
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| UsersError::Map { path, text, source })
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        // It may have ended already; either way it is there to be reaped.
        let _ = rustix::process::pidfd_send_signal(&self.child, Signal::KILL);
        while let Err(rustix::io::Errno::INTR) =
            rustix::process::waitid(WaitId::PidFd(self.child.as_fd()), WaitIdOptions::EXITED)
        {
        }
    }
}

/// Starts a child in new namespaces that sleeps until it is killed.
fn sleeper(namespaces: CloneFlags) -> io::Result<(i32, OwnedFd)> {
    let parent = rustix::process::getpid();
    let namespaces = u64::from(namespaces.bits().cast_unsigned());
    // SAFETY: what it does are plain system calls.
    unsafe { child::start(namespaces, || sleep_in_child(parent)) }
}

/// What the child does: it lets go of all descriptors and waits for its end.
fn sleep_in_child(parent: Pid) -> ! {
    let time = libc::timespec {
        tv_sec: LIFETIME_S,
        tv_nsec: 0,
    };
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: plain system calls on no memory but this frame's; nothing here allocates, locks or unwinds.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32);
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG,
            libc::SIGKILL,
            0,
            0,
            0,
        );
        // Who is gone by now sends no signal any more.
        if libc::syscall(libc::SYS_getppid) == libc::c_long::from(parent.as_raw_nonzero().get()) {
            libc::syscall(libc::SYS_ppoll, none, 0usize, &raw const time, none, 0usize);
        }
        loop {
            libc::syscall(libc::SYS_exit_group, 0);
        }
    }
}

/// The user namespace that a namespace belongs to.
#[cfg(test)]
pub(crate) fn owner(namespace: &File) -> io::Result<File> {
    use std::os::fd::{AsRawFd, FromRawFd};
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: it takes no argument, and the descriptor is open for the call.
    let fd = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS as _) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn users(first: u32, length: u32) -> UserMappings {
        let list = vec![IdMapping {
            host_id: first,
            container_id: 0,
            length,
        }];
        UserMappings {
            uids: list.clone(),
            gids: list,
        }
    }

    fn children() -> String {
        fs::read_to_string("/proc/thread-self/children").unwrap_or_default()
    }

    #[test]
    fn has_the_mappings_and_leaves_no_child() {
        let made = Users::create(&users(70_000, 5), CloneFlags::CLONE_NEWUTS).unwrap();
        for file in ["uid_map", "gid_map"] {
            let text = fs::read_to_string(format!("/proc/{}/{file}", made.pid)).unwrap();
            assert_eq!(
                text.split_whitespace().collect::<Vec<_>>(),
                ["0", "70000", "5"]
            );
        }
        let own = fs::read_link("/proc/self/ns/uts").unwrap();
        assert_ne!(fs::read_link(made.path("uts")).unwrap(), own);
        let net = fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(fs::read_link(made.path("net")).unwrap(), net);
        assert!(children().contains(&made.pid.to_string()));
        let held = made.open("user").unwrap();
        drop(made);
        assert_eq!(children(), "");
        assert!(held.metadata().is_ok());
    }

    #[test]
    fn what_cannot_be_mapped_is_refused_and_leaves_no_child() {
        let error = Users::create(&users(u32::MAX, 2), CloneFlags::empty()).unwrap_err();
        assert!(matches!(error, UsersError::Mappings(_)), "{error}");
        let none = UserMappings::default();
        let error = Users::create(&none, CloneFlags::empty()).unwrap_err();
        assert!(matches!(error, UsersError::Unmapped), "{error}");
        assert_eq!(children(), "");
    }
}
