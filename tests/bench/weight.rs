//! What a subject weighs: memory of the daemon and of its monitors, processor time and instructions of all it does.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use perf_event::events::Hardware;

use super::{
    client::Pod,
    figures::{DAEMON_AFTER_PULL, DAEMON_PRIVATE, DAEMON_PSS, MONITOR_PRIVATE, MONITOR_PSS, Sheet},
    instructions::Count,
    subject::Subject,
};
use crate::support::{Process, cgroup_directories};

/// Memory in KB as the kernel counts it, shared pages by their part and not at all.
#[derive(Debug, Default, Clone, Copy)]
struct Memory {
    pss: u64,
    private: u64,
}

/// For this long nothing is asked before memory is looked at: it is what they hold at rest, for both take a while to
/// give back what they do not need.
const REST: Duration = Duration::from_secs(20);

/// Notes what the daemon and, a pod, its monitors hold.
pub(crate) async fn memory(subject: &Subject, pods: &[Pod], sheet: &mut Sheet<'_>) {
    tokio::time::sleep(REST).await;
    if let Some(memory) = of(subject.daemon) {
        sheet.note(DAEMON_PSS, memory.pss as f64);
        sheet.note(DAEMON_PRIVATE, memory.private as f64);
    }
    let monitors = monitors(subject);
    if monitors.is_empty() || pods.is_empty() {
        return;
    }
    let held = monitors
        .into_iter()
        .filter_map(of)
        .fold(Memory::default(), |sum, one| Memory {
            pss: sum.pss + one.pss,
            private: sum.private + one.private,
        });
    let each = |sum: u64| sum as f64 / pods.len() as f64;
    sheet.note(MONITOR_PSS, each(held.pss));
    sheet.note(MONITOR_PRIVATE, each(held.private));
}

/// Notes what pulls have left in the daemon.
pub(crate) async fn after_pulls(subject: &Subject, sheet: &mut Sheet<'_>) {
    tokio::time::sleep(REST).await;
    if let Some(memory) = of(subject.daemon) {
        sheet.note(DAEMON_AFTER_PULL, memory.pss as f64);
    }
}

/// Begins to count the instructions of daemon, monitors, runtimes, plugins and pods; says why where nothing counts them.
pub(crate) fn count_instructions(subject: &Subject) -> Option<Count> {
    static SAID: Once = Once::new();
    let count = Count::begin(subject.daemon, Hardware::INSTRUCTIONS);
    let said = |error| SAID.call_once(|| eprintln!("instructions are not counted: {error}"));
    count.map_err(said).ok()
}

/// Milliseconds of processor time that daemon, monitors, runtimes, plugins and pods have used so far.
pub(crate) fn processor_time(subject: &Subject) -> Option<f64> {
    let group = subject.cgroup.as_ref()?.to_str()?;
    let dirs = cgroup_directories(group);
    let files = |name: &str| {
        let read = |dir: &PathBuf| std::fs::read_to_string(dir.join(name)).ok();
        dirs.iter().filter_map(read).collect::<Vec<_>>()
    };
    // Where both versions of cgroups are mounted, the second has some of the processes only.
    let v1 = files("cpuacct.usage");
    if let Some(text) = v1.first() {
        return text.trim().parse::<f64>().ok().map(|ns| ns / 1e6);
    }
    files("cpu.stat").iter().find_map(|text| {
        let mut lines = text.lines();
        let used = lines.find_map(|line| line.strip_prefix("usage_usec "))?;
        used.parse::<f64>().ok().map(|us| us / 1000.0)
    })
}

/// The processes of its cgroup that are neither the daemon nor in pods.
fn monitors(subject: &Subject) -> BTreeSet<i32> {
    let Some(group) = subject.cgroup.as_ref().and_then(|group| group.to_str()) else {
        return BTreeSet::new();
    };
    let mut found = BTreeSet::new();
    for top in cgroup_directories(group) {
        gather(&top, &mut found);
    }
    found.remove(&subject.daemon);
    found
}

fn gather(dir: &Path, found: &mut BTreeSet<i32>) {
    if dir.file_name().is_some_and(|name| name == "pods") {
        return;
    }
    let members = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    // In the other hierarchies of cgroup v1 a monitor may stand elsewhere, a container nowhere else.
    let is_ours = |pid: &i32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with("corten-conmon") || name.starts_with("containerd-shim")
    };
    found.extend(
        members
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter(is_ours),
    );
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            gather(&entry.path(), found);
        }
    }
}

fn of(pid: i32) -> Option<Memory> {
    let process = Process(pid.cast_unsigned());
    Some(Memory {
        pss: process.memory("Pss")?,
        private: process.memory("Private_Clean")? + process.memory("Private_Dirty")?,
    })
}
