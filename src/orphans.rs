//! Programs that a killed daemon had called, and that are still at work: network plugins and runtimes.
//!
//! Nothing that they change may be looked at, or undone, before they have ended.

use std::{fs, io::Read, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};
use tracing::{info, warn};

use crate::id::Id;

/// In the environment of a runtime that is called for a container: its ID.
pub(crate) const CALLED_FOR: &str = "CORTEN_CALLED_FOR";
/// The same in that of a network plugin, as the specification has it.
const PLUGIN_FOR: &str = "CNI_CONTAINERID";

/// The longest that any of them was given by the daemon that called it.
const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
/// Most of an environment that is read.
const MAX_ENVIRONMENT: u64 = 1 << 20;

/// Waits until nothing is at work any more that an earlier daemon called for a pod or container. What takes longer
/// than it was given is killed.
pub(crate) async fn outlast(id: &Id) {
    let deadline = Instant::now() + LIMIT;
    let mut told = false;
    loop {
        let own = id.clone();
        // The kernel may hold up whoever looks at a process that it cannot wake: others are not to wait for that.
        let looked = timeout_at(deadline, spawn_blocking(move || find(&own))).await;
        let found = looked.ok().and_then(Result::ok).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        if !told {
            info!(%id, processes = found.len(), "waiting for what an earlier daemon called");
            told = true;
        }
        if Instant::now() > deadline {
            warn!(%id, processes = found.len(), "what an earlier daemon called does not end and is killed");
            for process in found {
                // One that has just ended is as good.
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            return;
        }
        sleep(PAUSE).await;
    }
}

/// The processes that were called for `id`. Those of containers are not asked, whatever their environment says: they
/// have mounts of their own.
fn find(id: &Id) -> Vec<OwnedFd> {
    let Ok(mounts) = fs::read_link("/proc/self/ns/mnt") else {
        return Vec::new();
    };
    let markers = [CALLED_FOR, PLUGIN_FOR].map(|name| format!("{name}={id}"));
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // Opened before it is looked at: it is the process that was looked at, whatever its number is later.
            let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
            let ours = fs::read_link(entry.path().join("ns/mnt")).is_ok_and(|own| own == mounts);
            (ours && has_one(&entry.path().join("environ"), &markers)).then_some(process)
        })
        .collect()
}

/// Whether one of these entries is in an environment.
fn has_one(environment: &Path, entries: &[String]) -> bool {
    let mut bytes = Vec::new();
    let read = fs::File::open(environment)
        .and_then(|file| file.take(MAX_ENVIRONMENT).read_to_end(&mut bytes));
    read.is_ok()
        && bytes
            .split(|byte| *byte == 0)
            .any(|entry| entries.iter().any(|wanted| wanted.as_bytes() == entry))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn what_was_called_is_waited_for() {
        for name in [CALLED_FOR, PLUGIN_FOR] {
            let id = Id::random();
            assert!(find(&id).is_empty());
            let mut called = Command::new("/bin/sh")
                .args(["-c", "read -r line"])
                .env(name, id.as_str())
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            assert_eq!(find(&id).len(), 1, "{name}");
            assert!(find(&Id::random()).is_empty());
            let waiting = tokio::time::timeout(Duration::from_millis(100), outlast(&id));
            assert!(waiting.await.is_err(), "{name}: not waited for");
            drop(called.stdin.take());
            called.wait().unwrap();
            outlast(&id).await;
        }
    }
}
