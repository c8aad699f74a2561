//! What a container may not do, and what a tenant's text must not bring about.

use std::path::PathBuf;

mod confinement;
mod descriptors;
mod images;
mod memory;
mod modules;
mod paths;
mod processes;
mod seccomp;
mod surfaces;
mod tenants;
mod threats;

/// A process's parent.
fn parent(pid: u32) -> u32 {
    field(pid, "PPid:").parse().unwrap()
}

/// A line of a process's status, without its name.
fn field(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}"))
        .trim()
        .to_owned()
}

/// The most memory a process has held at a time, in KiB.
fn peak_memory(pid: u32) -> u64 {
    field(pid, "VmHWM:")
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// What a process holds open.
fn open_files(pid: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .collect()
}
