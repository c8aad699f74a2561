//! A socket of netlink: requests and their answers, one after another.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

use super::messages::{Message, Request, end_of, error_of, messages};

/// Most messages of one answer.
const MESSAGES_MAX: usize = 65_536;
/// More than the kernel sends at once.
const BUFFER: usize = 64 << 10;
/// The kernel answers at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// A socket of the network namespace it was made in. What is left of an answer that was not waited for is skipped.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// For links, addresses and routes of the calling thread's network namespace.
    pub fn route() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        Self::open(None)
    }

    /// For packet filters of the calling thread's network namespace.
    pub fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::new(),
        })
    }

    /// Sends a request and hands every message of the answer on, by kind and payload.
    pub fn ask(
        &mut self,
        mut request: Request,
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let dump = request.is_dump();
        let acknowledged = request.is_acknowledged();
        self.send(request.finish(self.sequence))?;
        let wanted = self.sequence;
        self.answers(|message| {
            if message.sequence != wanted {
                return None;
            }
            match i32::from(message.kind) {
                libc::NLMSG_DONE => Some(end_of(message.payload)),
                libc::NLMSG_ERROR => Some(error_of(message.payload)),
                _ => {
                    each(message.kind, message.payload);
                    (!dump && !acknowledged).then_some(Ok(()))
                }
            }
        })
    }

    /// Sends requests that are done all or not at all, between two that say so. The last of them is to be acknowledged.
    pub fn transact(
        &mut self,
        mut begin: Request,
        requests: Vec<Request>,
        mut end: Request,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut sequence = self.sequence;
        let mut next = || {
            sequence = sequence.wrapping_add(1);
            sequence
        };
        let first = next();
        bytes.extend(begin.finish(first));
        let mut last = first;
        for mut request in requests {
            last = next();
            bytes.extend(request.finish(last));
        }
        let ended = next();
        bytes.extend(end.finish(ended));
        self.sequence = ended;
        self.send(&bytes)?;
        let mut outcome = Ok(());
        self.answers(|message| {
            let ours = message.sequence.wrapping_sub(first) <= ended.wrapping_sub(first);
            if !ours || i32::from(message.kind) != libc::NLMSG_ERROR {
                return None;
            }
            let done = error_of(message.payload);
            if outcome.is_ok() {
                // The first that went wrong is the one to tell.
                outcome = done;
            }
            (message.sequence == last).then_some(Ok(()))
        })?;
        outcome
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        send(self.socket.as_fd(), bytes, SendFlags::empty())?;
        Ok(())
    }

    /// Hands messages on until one of them is the last.
    fn answers(
        &mut self,
        mut each: impl FnMut(Message<'_>) -> Option<io::Result<()>>,
    ) -> io::Result<()> {
        self.buffer.resize(BUFFER, 0);
        let mut seen = 0;
        loop {
            let (_, len) = recv(
                self.socket.as_fd(),
                self.buffer.as_mut_slice(),
                RecvFlags::TRUNC,
            )?;
            let Some(datagram) = self.buffer.get(..len) else {
                return Err(io::Error::other("a netlink message is too long"));
            };
            for message in messages(datagram) {
                seen += 1;
                if seen > MESSAGES_MAX {
                    return Err(io::Error::other("a netlink answer is too long"));
                }
                if let Some(done) = each(message) {
                    return done;
                }
            }
        }
    }
}
