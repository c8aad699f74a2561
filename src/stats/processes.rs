//! What the processes of a container have open.

use std::fs;

use super::{parse, sample::Processes};

/// Most processes of a container whose descriptors are counted.
const PROCESSES_MAX: usize = 64;
/// Most descriptors of a container that are looked at.
const DESCRIPTORS_MAX: u64 = 2000;
/// More than `/proc/PID/limits` has.
const LIMITS_MAX: u64 = 16 << 10;

/// Looks at the processes of a container. `init` is its first process; the work is bounded, so that of a container
/// with very many descriptors only so many are counted.
pub(super) fn look(pids: &[i32], init: Option<i32>) -> Processes {
    let mut found = Processes {
        count: pids.len() as u64,
        // A process that is not in the cgroup any more may be another one of the same number.
        open_files_limit: init
            .filter(|init| pids.contains(init))
            .and_then(open_files_limit),
        ..Processes::default()
    };
    for pid in pids.iter().take(PROCESSES_MAX) {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for entry in entries.flatten() {
            if found.descriptors == DESCRIPTORS_MAX {
                return found;
            }
            found.descriptors += 1;
            let target = fs::read_link(entry.path()).unwrap_or_default();
            if target
                .as_os_str()
                .as_encoded_bytes()
                .starts_with(b"socket:")
            {
                found.sockets += 1;
            }
        }
    }
    found
}

fn open_files_limit(pid: i32) -> Option<u64> {
    use std::io::Read;
    let mut text = Vec::new();
    fs::File::open(format!("/proc/{pid}/limits"))
        .ok()?
        .take(LIMITS_MAX)
        .read_to_end(&mut text)
        .ok()?;
    parse::open_files_limit(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_from_files() {
        let pid = std::process::id() as i32;
        let before = look(&[pid], Some(pid));
        let _sockets = [(); 20].map(|()| std::os::unix::net::UnixDatagram::unbound().unwrap());
        let after = look(&[pid], Some(pid));
        assert_eq!(after.count, 1);
        // Other tests of this process open and close some meanwhile.
        assert!(
            after.sockets >= 20 && after.descriptors > after.sockets,
            "{before:?} {after:?}"
        );
        assert!(after.open_files_limit.is_some_and(|limit| limit > 0));
        assert_eq!(look(&[], Some(pid)), Processes::default());
        assert_eq!(look(&[i32::MAX], None).descriptors, 0);
    }
}
