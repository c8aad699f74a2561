//! What was measured: plain data.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{container::view::ContainerView, pod::view::PodView, sys::links::LinkCounters};

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What statistics show.
    Stats,
    /// What metrics show, too.
    Metrics,
}

/// A container measured.
#[derive(Debug, Clone)]
pub struct ContainerSample {
    /// Which, as it was then.
    pub view: Arc<ContainerView>,
    /// When its cgroup was read, in nanoseconds since 1970.
    pub at: i64,
    /// Its cgroup, as a path from the root of the hierarchies.
    pub cgroup: PathBuf,
    /// What its cgroup says; `None` when it has none, as when it has ended.
    pub usage: Option<Usage>,
    /// CPU lately, in thousand-millionths of a core; `None` at the first look.
    pub nano_cores: Option<u64>,
    /// What it has written to its root file system, as last counted.
    pub writable: Option<Writable>,
    /// A directory on the file system that it writes to.
    pub storage: Arc<Path>,
    /// Its processes; read for metrics alone.
    pub processes: Option<Processes>,
}

/// A sandbox measured.
#[derive(Debug, Clone)]
pub struct PodSample {
    /// Which, as it was then.
    pub view: Arc<PodView>,
    /// When it was read, in nanoseconds since 1970.
    pub at: i64,
    /// Its cgroup, as a path from the root of the hierarchies.
    pub cgroup: PathBuf,
    /// What the pod as a whole uses; `None` when it is down.
    pub usage: Option<Usage>,
    /// CPU lately, in thousand-millionths of a core; `None` at the first look.
    pub nano_cores: Option<u64>,
    /// Its network links but loopback; `None` for a pod without a network of its own.
    pub links: Option<Vec<LinkCounters>>,
    /// Its containers.
    pub containers: Vec<ContainerSample>,
}

/// What a cgroup says of its processes, children included. What this kernel does not count is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// CPU.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Swap.
    pub swap: Option<Swap>,
    /// Tasks.
    pub pids: Option<Pids>,
    /// Block devices; read for metrics alone.
    pub devices: Vec<DeviceIo>,
    /// Stalls on I/O.
    pub io_pressure: Option<Pressure>,
    /// Huge pages by size; read for metrics alone.
    pub huge_pages: Vec<HugePages>,
}

/// CPU time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cpu {
    /// In all, in nanoseconds.
    pub total_ns: u64,
    /// In user mode, in nanoseconds.
    pub user_ns: u64,
    /// In the kernel, in nanoseconds.
    pub system_ns: u64,
    /// Enforcement periods that have passed.
    pub periods: u64,
    /// Those in which it was throttled.
    pub throttled_periods: u64,
    /// How long it was throttled, in nanoseconds.
    pub throttled_ns: u64,
    /// Stalls.
    pub pressure: Option<Pressure>,
}

/// Memory in bytes, and counts of events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// All that is charged, file caches included.
    pub usage: u64,
    /// The most that ever was charged, where the kernel keeps it.
    pub max_usage: Option<u64>,
    /// The cgroup's own limit.
    pub limit: Option<u64>,
    /// How often the limit was met.
    pub limit_hits: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// File caches.
    pub cache: u64,
    /// Mapped files.
    pub mapped: u64,
    /// The kernel's own memory.
    pub kernel: u64,
    /// File caches in use.
    pub active_file: u64,
    /// File caches that would be taken back first.
    pub inactive_file: u64,
    /// Page faults.
    pub faults: Faults,
    /// Page faults of the cgroup without its children; the same as `faults` where that is not kept.
    pub own_faults: Faults,
    /// Processes that the OOM killer has killed.
    pub oom_kills: u64,
    /// Stalls.
    pub pressure: Option<Pressure>,
}

/// Page faults.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// All.
    pub all: u64,
    /// Those that had to read from disk.
    pub major: u64,
}

impl Memory {
    /// What cannot easily be taken back: all but the file caches that nobody has used lately.
    pub fn working_set(&self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }

    /// What is left up to the limit.
    pub fn available(&self) -> Option<u64> {
        Some(self.limit?.saturating_sub(self.working_set()))
    }
}

/// Swap in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Swap {
    /// Used.
    pub usage: u64,
    /// Limit of swap alone.
    pub limit: Option<u64>,
}

/// Tasks: processes and their threads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pids {
    /// There are.
    pub current: u64,
    /// There may be.
    pub limit: Option<u64>,
}

/// Traffic with a block device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceIo {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HugePages {
    /// Size as the kernel writes it: `2MB`.
    pub size: String,
    /// In use.
    pub usage: u64,
    /// The most that ever were in use, where the kernel keeps it.
    pub max_usage: Option<u64>,
}

/// Pressure stall information.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Times in which at least one task was stalled.
    pub some: Option<Stall>,
    /// Times in which all tasks that had work were stalled.
    pub full: Option<Stall>,
}

/// Stalls over time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Sum, in nanoseconds.
    pub total_ns: u64,
    /// Percentage of the last 10 seconds.
    pub avg10: f64,
    /// Percentage of the last 60 seconds.
    pub avg60: f64,
    /// Percentage of the last 300 seconds.
    pub avg300: f64,
}

/// What a container has written to its root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writable {
    /// Bytes on disk.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// When this was counted, in nanoseconds since 1970.
    pub at: i64,
}

/// The processes of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processes {
    /// How many.
    pub count: u64,
    /// Descriptors they have open; at least, where there are very many.
    pub descriptors: u64,
    /// How many of these are sockets.
    pub sockets: u64,
    /// The first process's soft limit of open files.
    pub open_files_limit: Option<u64>,
}

impl Usage {
    /// Adds what another cgroup uses, as far as sums have a meaning: limits and stalls are left out.
    pub(super) fn add(&mut self, other: &Self) {
        if let Some(other) = &other.cpu {
            let cpu = self.cpu.get_or_insert_default();
            cpu.total_ns = cpu.total_ns.saturating_add(other.total_ns);
            cpu.user_ns = cpu.user_ns.saturating_add(other.user_ns);
            cpu.system_ns = cpu.system_ns.saturating_add(other.system_ns);
        }
        if let Some(other) = &other.memory {
            let memory = self.memory.get_or_insert_default();
            memory.usage = memory.usage.saturating_add(other.usage);
            memory.rss = memory.rss.saturating_add(other.rss);
            memory.inactive_file = memory.inactive_file.saturating_add(other.inactive_file);
            memory.faults.all = memory.faults.all.saturating_add(other.faults.all);
            memory.faults.major = memory.faults.major.saturating_add(other.faults.major);
        }
        if let Some(other) = &other.pids {
            let pids = self.pids.get_or_insert_default();
            pids.current = pids.current.saturating_add(other.current);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_set_never_is_below_nothing() {
        let mut memory = Memory {
            usage: 10,
            inactive_file: 30,
            limit: Some(25),
            ..Memory::default()
        };
        assert_eq!((memory.working_set(), memory.available()), (0, Some(25)));
        memory.usage = 100;
        assert_eq!((memory.working_set(), memory.available()), (70, Some(0)));
        memory.limit = None;
        assert_eq!(memory.available(), None);
    }
}
