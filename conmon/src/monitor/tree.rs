//! Killing a process with all that it started.

use std::{fs::File, io::Read};

use rustix::process::{Pid, PidfdFlags, Signal};

/// Rounds of looking for what escaped the last one.
const ROUNDS: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
}

/// Kills `roots`, their descendants and the members of their sessions.
///
/// `roots` are children of this process that were not reaped, so their numbers are theirs; every other
/// process is looked at once more through a descriptor before it is killed.
pub(crate) fn kill(roots: &[i32]) {
    for round in 0..ROUNDS {
        let mut victims = roots.to_vec();
        let all = processes();
        // A parent may stand behind its child in the list: go on until nothing is added.
        loop {
            let before = victims.len();
            for process in &all {
                if belongs(*process, roots, &victims) && !victims.contains(&process.pid) {
                    victims.push(process.pid);
                }
            }
            if victims.len() == before {
                break;
            }
        }
        if round > 0 && victims.len() == roots.len() {
            return;
        }
        for &pid in &victims {
            match all.iter().find(|process| process.pid == pid) {
                Some(process) if !roots.contains(&pid) => kill_same(*process),
                _ => kill_own(pid),
            }
        }
    }
}

fn belongs(process: Process, roots: &[i32], victims: &[i32]) -> bool {
    victims.contains(&process.parent) || roots.contains(&process.session)
}

fn kill_own(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Kills the process if its number still stands for what was seen.
fn kill_same(seen: Process) {
    let Some(pid) = Pid::from_raw(seen.pid) else {
        return;
    };
    if let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        && look(seen.pid).is_some_and(|now| now.session == seen.session)
    {
        let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
    }
}

/// Every living process.
fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(look)
        .collect()
}

fn look(pid: i32) -> Option<Process> {
    let mut stat = [0; 512];
    let len = File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read(&mut stat)
        .ok()?;
    parse(pid, &stat[..len])
}

/// Reads `PID (NAME) STATE PPID PGRP SESSION …`, where the name may hold anything.
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let after = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&stat[after + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Process {
        pid,
        parent,
        session,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_confuse() {
        let process = parse(7, b"7 (a) S 9 (b) R 3 4 5 0 -1");
        assert!(
            process
                == Some(Process {
                    pid: 7,
                    parent: 3,
                    session: 5
                })
        );
        assert!(parse(7, b"7 (a) Z 3 4 5 0").is_none());
        assert!(parse(7, b"7 (a").is_none());
    }
}
