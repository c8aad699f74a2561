//! Network links of the calling thread's namespace.
#![allow(unsafe_code)]

pub mod messages;
pub mod socket;

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Brings a link up.
///
/// Works on the network namespace of the calling thread.
pub fn link_up(name: &str) -> io::Result<()> {
    let socket = inet_socket()?;
    let mut request = request_for(name)?;
    // SAFETY: the descriptor is open, and `request` is a whole ifreq that the kernel fills in place.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above succeeded, so the kernel has written the flags member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: as for the first call; the kernel only reads `request`.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The flags of a link (`IFF_UP` and so on).
pub fn link_flags(name: &str) -> io::Result<i32> {
    let socket = inet_socket()?;
    let mut request = request_for(name)?;
    // SAFETY: the descriptor is open, and `request` is a whole ifreq that the kernel fills in place.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the kernel has written the flags member of the union.
    Ok(i32::from(unsafe { request.ifr_ifru.ifru_flags }))
}

fn inet_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed; a negative result is checked before use.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned to us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn request_for(name: &str) -> io::Result<libc::ifreq> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} cannot be the name of a network link"),
        ));
    }
    // SAFETY: ifreq is plain integers and byte arrays, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_of_a_new_namespace_comes_up() {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("needs root");
            assert_eq!(link_flags("lo").unwrap() & libc::IFF_UP, 0);
            link_up("lo").unwrap();
            assert_ne!(link_flags("lo").unwrap() & libc::IFF_UP, 0);
            link_up("lo").unwrap();
            assert!(std::net::TcpListener::bind("127.0.0.1:0").is_ok());
            assert!(std::net::TcpListener::bind("[::1]:0").is_ok());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn odd_names_are_refused() {
        for name in ["", "sixteen-letters-", "a\0b"] {
            assert_eq!(
                link_up(name).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
        assert!(link_up("no-such-link").is_err());
    }
}
