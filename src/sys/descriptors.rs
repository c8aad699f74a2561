//! Descriptors this process was started with.

#![allow(
    unsafe_code,
    reason = "a number from a listing is no object that owns a descriptor"
)]

use std::io;

/// Keeps every descriptor but the standard ones from programs that this process runs.
///
/// What is opened here is closed at exec anyway; what whoever started the process left open is not, and
/// would reach OCI runtimes and network plugins.
pub fn keep_from_children() -> io::Result<()> {
    let numbers = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&number| number > 2);
    for number in numbers {
        // SAFETY: sets a flag of a number, whoever owns it; one that is closed by now fails harmlessly.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// The same by one call, for a process that is about to run a program and cannot trust the listing.
pub fn close_at_exec() -> io::Result<()> {
    // SAFETY: sets a flag of numbers, whoever owns them; closed ones are left out.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::fd::AsRawFd, process::Command};

    #[test]
    fn children_get_the_standard_ones_alone() {
        let file = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        keep_from_children().unwrap();
        let number = file.as_raw_fd().to_string();
        let listed = Command::new("ls").arg("/proc/self/fd").output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        // ls has one of its own, the lowest that is free.
        let beyond = listed
            .lines()
            .filter(|line| !["0", "1", "2", "3"].contains(line));
        assert_eq!(beyond.count(), 0, "{number} of {listed}");
    }
}
