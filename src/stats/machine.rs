//! What metrics say of the machine beneath: the file system of the root file systems, and block devices' names.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt, path::Path};

use super::sample::PodSample;

/// Facts about the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Device of the file system that containers write to.
    pub device: String,
    /// Its size in bytes.
    pub capacity: u64,
    /// Its inodes.
    pub inodes: u64,
    /// Those of its inodes that are free.
    pub inodes_free: u64,
    /// Block devices by their numbers.
    devices: HashMap<(u32, u32), String>,
}

impl Machine {
    /// Looks at the file system of `storage` and at the devices that `pods` have used.
    pub(super) fn look(storage: &Path, pods: &[PodSample]) -> Self {
        let mut machine = Self::default();
        if let Ok(stat) = rustix::fs::statvfs(storage) {
            machine.capacity = stat.f_blocks.saturating_mul(stat.f_frsize);
            machine.inodes = stat.f_files;
            machine.inodes_free = stat.f_ffree;
        }
        if let Ok(stat) = fs::metadata(storage) {
            let (major, minor) = (rustix::fs::major(stat.dev()), rustix::fs::minor(stat.dev()));
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            machine.device = source(&mounts, major, minor).unwrap_or_default();
        }
        let used = pods
            .iter()
            .flat_map(|pod| &pod.containers)
            .filter_map(|container| container.usage.as_ref())
            .flat_map(|usage| &usage.devices);
        for io in used {
            machine
                .devices
                .entry((io.major, io.minor))
                .or_insert_with(|| device_name(io.major, io.minor));
        }
        machine
    }

    /// A block device by its numbers: its path, or the numbers themselves where it has no name.
    pub fn device_of(&self, major: u32, minor: u32) -> String {
        match self.devices.get(&(major, minor)) {
            Some(name) => name.clone(),
            None => format!("{major}:{minor}"),
        }
    }
}

/// What is mounted with these device numbers, of `/proc/PID/mountinfo`.
fn source(mounts: &str, major: u32, minor: u32) -> Option<String> {
    let wanted = format!("{major}:{minor}");
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (before.split(' ').nth(2)? == wanted).then_some(())?;
        after.split(' ').nth(1).map(str::to_owned)
    })
}

fn device_name(major: u32, minor: u32) -> String {
    fs::read_link(format!("/sys/dev/block/{major}:{minor}"))
        .ok()
        .and_then(|target| Some(format!("/dev/{}", target.file_name()?.to_str()?)))
        .unwrap_or_else(|| format!("{major}:{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_a_device_and_a_size() {
        let machine = Machine::look(Path::new("/var/tmp"), &[]);
        assert!(machine.capacity > 0);
        assert!(!machine.device.is_empty());
        assert_eq!(machine.device_of(250, 3), "250:3");
        assert_eq!(device_name(4000, 3), "4000:3");
    }

    #[test]
    fn sources_are_found_by_numbers() {
        let mounts = "36 25 0:31 / / rw shared:9 - ext4 /dev/vda1 rw\ngarbage\n37 36 8:1 / /x rw - xfs /dev/sda1 rw";
        assert_eq!(source(mounts, 8, 1).as_deref(), Some("/dev/sda1"));
        assert_eq!(source(mounts, 0, 31).as_deref(), Some("/dev/vda1"));
        assert_eq!(source(mounts, 9, 9), None);
    }
}
