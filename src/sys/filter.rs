//! Filters of system calls, as the kernel takes them.
#![allow(unsafe_code)]

use std::io;

/// The longest program the kernel takes, in instructions (`BPF_MAXINSNS`).
pub const INSTRUCTIONS_MAX: usize = 4096;

/// Sets a filter for the calling thread, seccomp(2). `program` is whole instructions of the kernel's `sock_filter`.
pub fn set(program: &[u8], flags: u32) -> io::Result<()> {
    let (instructions, rest) = program.as_chunks::<{ size_of::<libc::sock_filter>() }>();
    if !rest.is_empty() || instructions.len() > INSTRUCTIONS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let program = libc::sock_fprog {
        len: instructions.len() as u16,
        filter: instructions.as_ptr().cast_mut().cast(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program has as many instructions as it says, is only read by the kernel, which copies it from wherever it
    // lies, and lives through the call.
    match unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) } {
        0 => Ok(()),
        // With the flag for all threads it is the thread that cannot take the filter.
        1.. => Err(io::Error::other("a thread has another filter")),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_is_refused() {
        for length in [7, 9, 8 * (INSTRUCTIONS_MAX + 1)] {
            let error = set(&vec![0; length], 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{length}");
        }
        // None at all, and one that does not end with a decision, are the kernel's to refuse.
        for length in [0, 8] {
            let error = set(&vec![0; length], 0).unwrap_err();
            assert!(error.raw_os_error().is_some(), "{length}");
        }
    }
}
