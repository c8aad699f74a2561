//! Packet sockets by path, however long the path, and frames with descriptors over them.

use std::{
    ffi::OsStr,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    },
};

/// Descriptors one frame can carry.
pub const MAX_FDS: usize = 6;

/// A socket's address, reached through its directory: `sun_path` holds 108 bytes only.
#[derive(Debug)]
pub struct Address {
    // Keeps the descriptor that `addr` names.
    dir: OwnedFd,
    addr: SocketAddrUnix,
    name: Box<OsStr>,
}

impl Address {
    /// The address of the socket at `path`, whose directory must exist.
    pub fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let dir = rustix::fs::open(
            dir,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut text = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        text.extend_from_slice(name.as_bytes());
        Ok(Self {
            addr: SocketAddrUnix::new(&text[..])?,
            dir,
            name: name.into(),
        })
    }

    /// Removes the socket's file.
    pub fn unlink(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.dir,
            &*self.name,
            rustix::fs::AtFlags::empty(),
        )?)
    }

    /// Connects without blocking.
    pub fn connect(&self, kind: SocketType) -> io::Result<OwnedFd> {
        let socket = open(kind)?;
        rustix::net::connect(&socket, &self.addr)?;
        Ok(socket)
    }

    /// Listens, for this user alone. A socket file nobody listens on is replaced.
    pub fn listen(&self, kind: SocketType, backlog: i32) -> io::Result<OwnedFd> {
        let socket = open(kind)?;
        // The mode of the file that bind makes is the socket's own, less the umask.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        match rustix::net::bind(&socket, &self.addr) {
            Err(rustix::io::Errno::ADDRINUSE) => {
                if self.connect(kind).is_ok() {
                    return Err(rustix::io::Errno::ADDRINUSE.into());
                }
                self.unlink()?;
                rustix::net::bind(&socket, &self.addr)?;
            }
            other => other?,
        }
        rustix::net::listen(&socket, backlog)?;
        Ok(socket)
    }
}

fn open(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        kind,
        flags,
        None,
    )?)
}

/// A connected pair of packet sockets, close-on-exec; the first does not block.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// Sends one packet, never waiting.
pub fn send(socket: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_parts(socket, &[IoSlice::new(packet)], fds)
}

/// Sends one packet made of parts, never waiting.
pub fn send_parts(
    socket: impl AsFd,
    parts: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, parts, &mut control, flags))?;
    Ok(())
}

/// What one receive gave.
#[derive(Debug)]
pub enum Received {
    /// A packet of this length, and the descriptors it carried.
    Packet(usize, Vec<OwnedFd>),
    /// The packet did not fit, or carried too many descriptors. It is gone.
    Oversized,
    /// The other side will send no more.
    Closed,
}

/// Receives one packet without waiting. A zero-length packet is taken for the end.
pub fn receive(socket: impl AsFd, buf: &mut [u8]) -> io::Result<Received> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    receive_with(socket, buf, flags)
}

/// Receives one packet, waiting as long as the socket's timeout says.
pub fn receive_waiting(socket: impl AsFd, buf: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buf, RecvFlags::CMSG_CLOEXEC)
}

fn receive_with(socket: impl AsFd, buf: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buf)];
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut parts, &mut control, flags)
    })?;
    let mut fds = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = item {
            fds.extend(rights);
        }
    }
    let cut = rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC;
    Ok(if message.flags.intersects(cut) {
        Received::Oversized
    } else if message.bytes == 0 && fds.is_empty() {
        Received::Closed
    } else {
        Received::Packet(message.bytes, fds)
    })
}
