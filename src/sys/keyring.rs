//! The kernel's key rings.

#![allow(unsafe_code, reason = "no crate in use has keyctl(2)")]

use std::{ffi::CStr, io};

const JOIN_SESSION: libc::c_int = 1;
const SET_PERMISSIONS: libc::c_int = 5;
const DESCRIBE: libc::c_int = 6;

/// Its owner may search it.
const USER_SEARCH: u32 = 0x08_0000;

/// Gives this process the session key ring of that name, a new one if there is none that it may have: it then holds
/// none of whoever started it. A kernel without key rings has nothing to hold.
pub fn join_session(name: &CStr) -> io::Result<()> {
    // SAFETY: the name is a string that ends with NUL and outlives the call.
    let ring = match unsafe { call(JOIN_SESSION, name.as_ptr() as usize, 0, 0) } {
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => return Ok(()),
        other => other?,
    };
    let ring = usize::try_from(ring).map_err(io::Error::other)?;
    let mut text = [0u8; 256];
    // SAFETY: the kernel writes at most as many bytes as it is told there are, which outlive the call.
    unsafe { call(DESCRIBE, ring, text.as_mut_ptr() as usize, text.len()) }?;
    let text = CStr::from_bytes_until_nul(&text).map_err(io::Error::other)?;
    let now = permissions(&text.to_string_lossy())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: no memory is involved.
    unsafe { call(SET_PERMISSIONS, ring, (now | USER_SEARCH) as usize, 0) }.map(drop)
}

/// From `type;uid;gid;permissions;description`.
fn permissions(text: &str) -> Option<u32> {
    u32::from_str_radix(text.split(';').nth(3)?, 16).ok()
}

/// # Safety
///
/// What of the arguments is an address is one as the operation wants it.
unsafe fn call(operation: libc::c_int, one: usize, two: usize, three: usize) -> io::Result<i64> {
    // SAFETY: as the caller promises.
    match unsafe { libc::syscall(libc::SYS_keyctl, operation, one, two, three) } {
        ..0 => Err(io::Error::last_os_error()),
        done => Ok(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_the_fourth_word() {
        assert_eq!(permissions("keyring;0;0;3f130000;_ses"), Some(0x3f13_0000));
        assert_eq!(permissions("keyring;0"), None);
    }

    #[test]
    fn a_thread_gets_a_ring_of_its_own() {
        // Sessions belong to threads: that of the test's others stays.
        std::thread::spawn(|| {
            let name = std::ffi::CString::new(format!("_ses.test-{}", std::process::id())).unwrap();
            join_session(&name).unwrap();
            let keys = std::fs::read_to_string("/proc/keys").unwrap();
            let name = name.to_str().unwrap();
            assert!(keys.lines().any(|line| line.contains(name)), "{keys}");
        })
        .join()
        .unwrap();
    }
}
