//! Work in a mount namespace of its own.

use std::{io, thread};

use nix::{mount::MsFlags, sched::CloneFlags};

/// Runs `work` on a thread with a copy of the mounts that only it sees: what `work` mounts is nowhere else,
/// and is gone with the thread, however it ends. Detached mounts that `work` returns can be attached
/// anywhere. Blocks.
pub fn run<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("mounts".into())
            .stack_size(512 * 1024)
            .spawn_scoped(scope, || {
                nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
                let none = None::<&str>;
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                nix::mount::mount(none, "/", none, private, none)?;
                work()
            })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that mounts died")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mount::{self, Attributes};
    use std::os::fd::AsFd;

    #[test]
    fn mounts_are_seen_by_nobody_else_and_can_be_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let tmpfs = run(|| {
            let tmpfs = mount::detached("tmpfs", &[], Attributes::empty())?;
            mount::attach(tmpfs.as_fd(), dir.path())?;
            std::fs::write(dir.path().join("file"), "x")?;
            assert!(mount::is_mountpoint(dir.path())?);
            let root = std::fs::File::open(dir.path())?;
            mount::clone_tree(root.as_fd())
        })
        .unwrap();
        assert!(!mount::is_mountpoint(dir.path()).unwrap());
        mount::attach(tmpfs.as_fd(), dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join("file"));
        mount::detach_all(dir.path()).unwrap();
        assert_eq!(text.unwrap(), "x");
        let failed = run(|| Err::<(), _>(io::Error::other("no")));
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }
}
