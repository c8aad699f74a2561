//! Hearing of links that go.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};

use crate::sys::netlink::messages::{messages, u32_at};

/// What is told of links, as a bit (linux/rtnetlink.h: `RTMGRP_LINK`).
const LINKS: u32 = 1;
/// More than the kernel tells at once.
const BUFFER: usize = 32 << 10;

/// Hears of every link that goes from the network namespace it was opened in, from then on. When one is told of it has no
/// addresses, no routes and no bridge any more, and no name that could be in another's way.
#[derive(Debug)]
pub struct Departures(OwnedFd);

impl Departures {
    /// Listens in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // NETLINK_ROUTE is protocol 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, LINKS))?;
        Ok(Self(socket))
    }

    /// Waits until the link of that number has gone; gives up as `until` can be read, or is closed at its other end.
    pub fn wait(&self, index: u32, until: BorrowedFd<'_>) -> io::Result<bool> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let mut fds = [
                PollFd::new(&self.0, PollFlags::IN),
                PollFd::from_borrowed_fd(until, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            if !fds[0].revents().is_empty() && self.heard(index, &mut buffer)? {
                return Ok(true);
            }
            if !fds[1].revents().is_empty() {
                return Ok(false);
            }
        }
    }

    fn heard(&self, index: u32, buffer: &mut [u8]) -> io::Result<bool> {
        let (_, len) = match recv(self.0.as_fd(), &mut *buffer, RecvFlags::TRUNC) {
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            other => other?,
        };
        let Some(datagram) = buffer.get(..len) else {
            return Err(io::Error::other("a netlink message is too long"));
        };
        // struct ifinfomsg has the number at its fifth byte.
        Ok(messages(datagram).any(|message| {
            message.kind == libc::RTM_DELLINK && u32_at(message.payload, 4) == Some(index)
        }))
    }
}
