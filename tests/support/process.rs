//! Processes of the machine, by their numbers.

use std::collections::BTreeSet;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A process that a test watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// The process that started it, or that has adopted it.
    pub(crate) fn parent(self) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        Self(parent.unwrap().trim().parse().unwrap())
    }

    /// Sends a signal; says whether there was anybody to get it.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        kill(Pid::from_raw(self.0 as i32), signal).is_ok()
    }

    /// Kills it; it may be gone already.
    pub(crate) fn kill(self) {
        self.signal(Signal::SIGKILL);
    }

    /// Whether it is there, and not only waits to be forgotten.
    pub(crate) fn is_alive(self) -> bool {
        !matches!(self.state(), None | Some('Z' | 'X'))
    }

    /// Whether it is stopped.
    pub(crate) fn is_stopped(self) -> bool {
        self.state() == Some('T')
    }

    /// KB that it holds by one of the kernel's counts, proc_pid_smaps_rollup(5); `None` when it is gone.
    pub(crate) fn memory(self, count: &str) -> Option<u64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0)).ok()?;
        rollup.lines().find_map(|line| {
            let (name, size) = line.split_once(':')?;
            let number = size.trim().strip_suffix(" kB")?;
            (name == count).then(|| number.parse().ok())?
        })
    }

    fn state(self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The name before may hold anything.
        stat.rsplit(')').next()?.trim_start().chars().next()
    }
}

/// The monitors of pods and containers.
pub(crate) fn monitors(ids: &BTreeSet<String>) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    numbers
        .filter(|pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut words = line.split('\0').skip_while(|word| *word != "--container");
            words.nth(1).is_some_and(|id| ids.contains(id))
        })
        .map(Process)
        .collect()
}
