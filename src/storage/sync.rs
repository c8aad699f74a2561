//! Syncing a file system once for everyone who is waiting for it.

use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::io::Errno;

/// Shares one `syncfs` among all that ask while another is under way.
///
/// A layer is thousands of small files: syncing each alone would commit the journal as often. One sync of
/// the file system covers all layers whose files were complete when it began.
#[derive(Debug, Default)]
pub(crate) struct SharedSync {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Syncs begun so far.
    begun: u64,
    /// Syncs ended so far, and how the last of them ended. They never overlap.
    ended: u64,
    failed: Vec<(u64, Errno)>,
}

/// Outcomes of failed syncs kept for those still to wake up.
const KEPT: usize = 64;

impl SharedSync {
    /// Returns once everything written to the file system before the call is on its disk.
    pub(crate) fn sync(&self, file_system: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut state = self.lock();
        // The sync that may be under way began too early for us; the next one is ours.
        let ours = state.begun + 1;
        loop {
            if state.ended >= ours {
                // The kernel reports a lost write once: perhaps to the sync before ours.
                let failed = state.failed.iter().find(|(n, _)| *n + 1 >= ours);
                return failed.map_or(Ok(()), |(_, e)| Err(*e));
            }
            if state.begun == state.ended {
                state.begun += 1;
                let number = state.begun;
                drop(state);
                let result = rustix::fs::syncfs(file_system);
                state = self.lock();
                state.ended = number;
                if let Err(e) = result {
                    state.failed.push((number, e));
                    if state.failed.len() > KEPT {
                        state.failed.remove(0);
                    }
                }
                self.changed.notify_all();
                continue;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn many_share_few_syncs() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let sync = SharedSync::default();
        std::thread::scope(|scope| {
            for i in 0..20 {
                let (sync, fd, dir) = (&sync, &fd, &dir);
                scope.spawn(move || {
                    std::fs::write(dir.path().join(i.to_string()), "x").unwrap();
                    sync.sync(fd.as_fd()).unwrap();
                });
            }
        });
        let state = sync.lock();
        assert_eq!(state.begun, state.ended);
        assert!((1..=20).contains(&state.begun), "{}", state.begun);
    }

    #[test]
    fn failures_reach_those_who_waited() {
        let sync = SharedSync::default();
        let path = rustix::fs::open(
            "/var/tmp",
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        assert_eq!(sync.sync(path.as_fd()), Err(Errno::BADF));
    }
}
