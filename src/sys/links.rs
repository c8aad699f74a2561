//! Counters of network links, in any network namespace, over one rtnetlink socket.
//!
//! The socket stays in the daemon's own namespace. Another namespace is asked for by the number it has here, which it
//! is given once; neither a descriptor nor a thread stays in it, so nothing keeps it when its pod goes.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

/// Most links that are told of.
pub const LINKS_MAX: usize = 256;
/// Most messages of one answer.
const MESSAGES_MAX: usize = 1024;
/// More than the kernel sends at once.
const BUFFER: usize = 64 << 10;
/// The kernel answers at once.
const PATIENCE: Duration = Duration::from_secs(2);

// linux/net_namespace.h
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const NOT_ASSIGNED: i32 = -1;
// linux/if_link.h
const IFLA_TARGET_NETNSID: u16 = 46;

const HEADER: usize = 16;
const IFINFOMSG: usize = 16;
const RTGENMSG: usize = 4;

/// A network namespace, by its number in the daemon's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceNumber(i32);

/// What has gone through a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Its name.
    pub name: String,
    /// It is a loopback.
    pub loopback: bool,
    /// Received.
    pub received: Counters,
    /// Sent.
    pub sent: Counters,
}

/// One direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets with errors.
    pub errors: u64,
    /// Packets dropped.
    pub dropped: u64,
}

/// A socket to ask by. After an error answers may be left in it: it must not be used any further.
#[derive(Debug)]
pub struct Links {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Links {
    /// A new socket in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::new(),
        })
    }

    /// The number of a namespace; gives it one if it has none.
    pub fn number(&mut self, netns: BorrowedFd<'_>) -> io::Result<NamespaceNumber> {
        if let Some(number) = self.assigned(netns)? {
            return Ok(number);
        }
        let mut request = Request::new(libc::RTM_NEWNSID, libc::NLM_F_ACK as u16);
        request.header(&[0; RTGENMSG]);
        request.attribute(NETNSA_FD, &netns.as_raw_fd().to_ne_bytes());
        request.attribute(NETNSA_NSID, &NOT_ASSIGNED.to_ne_bytes());
        match self.ask(request, |_, _| {}) {
            Err(e) if e.raw_os_error() != Some(libc::EEXIST) => return Err(e),
            _ => {}
        }
        self.assigned(netns)?
            .ok_or_else(|| io::Error::other("the kernel gave the network namespace no number"))
    }

    fn assigned(&mut self, netns: BorrowedFd<'_>) -> io::Result<Option<NamespaceNumber>> {
        let mut request = Request::new(libc::RTM_GETNSID, 0);
        request.header(&[0; RTGENMSG]);
        request.attribute(NETNSA_FD, &netns.as_raw_fd().to_ne_bytes());
        let mut number = None;
        self.ask(request, |kind, payload| {
            if kind == libc::RTM_NEWNSID {
                number = attributes(payload.get(RTGENMSG..).unwrap_or_default())
                    .find(|(kind, _)| *kind == NETNSA_NSID)
                    .and_then(|(_, value)| Some(i32::from_ne_bytes(value.try_into().ok()?)));
            }
        })?;
        Ok(number.filter(|n| *n >= 0).map(NamespaceNumber))
    }

    /// The links of a namespace, at most [`LINKS_MAX`] of them.
    pub fn counters(&mut self, of: NamespaceNumber) -> io::Result<Vec<LinkCounters>> {
        let mut request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP as u16);
        request.header(&[0; IFINFOMSG]);
        request.attribute(IFLA_TARGET_NETNSID, &of.0.to_ne_bytes());
        let mut links = Vec::new();
        self.ask(request, |kind, payload| {
            if kind == libc::RTM_NEWLINK && links.len() < LINKS_MAX {
                links.extend(link(payload));
            }
        })?;
        Ok(links)
    }

    /// Sends a request and hands every message of the answer on, by kind and payload.
    fn ask(&mut self, mut request: Request, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let dump = request.is_dump();
        let acknowledged = request.is_acknowledged();
        send(
            self.socket.as_fd(),
            request.finish(self.sequence),
            SendFlags::empty(),
        )?;
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
                if message.sequence != self.sequence {
                    continue;
                }
                seen += 1;
                if seen > MESSAGES_MAX {
                    return Err(io::Error::other("a netlink answer is too long"));
                }
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return end_of(message.payload),
                    libc::NLMSG_ERROR => return error_of(message.payload),
                    _ => {
                        each(message.kind, message.payload);
                        if !dump && !acknowledged {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
}

/// A request being written.
struct Request {
    bytes: Vec<u8>,
    flags: u16,
}

impl Request {
    fn new(kind: u16, flags: u16) -> Self {
        let flags = flags | libc::NLM_F_REQUEST as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        Self { bytes, flags }
    }

    fn header(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = 4 + value.len();
        self.bytes.extend((len as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn is_dump(&self) -> bool {
        self.flags & libc::NLM_F_DUMP as u16 != 0
    }

    fn is_acknowledged(&self) -> bool {
        self.flags & libc::NLM_F_ACK as u16 != 0
    }

    fn finish(&mut self, sequence: u32) -> &[u8] {
        let len = self.bytes.len() as u32;
        for (to, from) in self.bytes.iter_mut().zip(len.to_ne_bytes()) {
            *to = from;
        }
        for (to, from) in self.bytes.iter_mut().skip(8).zip(sequence.to_ne_bytes()) {
            *to = from;
        }
        &self.bytes
    }
}

struct NetlinkMessage<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages of a datagram; ends at the first that is not whole.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = NetlinkMessage<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let message = rest.get(..len)?;
        let found = NetlinkMessage {
            kind: u16_at(message, 4)?,
            sequence: u32_at(message, 8)?,
            payload: message.get(HEADER..)?,
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

/// The attributes of a message; ends at the first that is not whole.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..len)?;
        // The two highest bits say how the value is written.
        let kind = u16_at(rest, 2)? & 0x3fff;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// What a message says of a link.
fn link(payload: &[u8]) -> Option<LinkCounters> {
    let flags = u32_at(payload, 8)?;
    let mut link = LinkCounters {
        loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
        ..LinkCounters::default()
    };
    for (kind, value) in attributes(payload.get(IFINFOMSG..)?) {
        match kind {
            libc::IFLA_IFNAME => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            libc::IFLA_STATS64 => {
                // struct rtnl_link_stats64
                let at = |n: usize| {
                    let bytes = value.get(n * 8..n * 8 + 8)?;
                    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
                };
                let counters = |offset| {
                    Some(Counters {
                        packets: at(offset)?,
                        bytes: at(offset + 2)?,
                        errors: at(offset + 4)?,
                        dropped: at(offset + 6)?,
                    })
                };
                link.received = counters(0)?;
                link.sent = counters(1)?;
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// The end of a dump carries an error where it could not begin.
fn end_of(payload: &[u8]) -> io::Result<()> {
    match u32_at(payload, 0).map(|code| code as i32) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Ok(()),
    }
}

/// An acknowledgement carries the error 0.
fn error_of(payload: &[u8]) -> io::Result<()> {
    match u32_at(payload, 0).map(|code| code as i32) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::Error::other("a netlink error is cut short")),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{fs::File, sync::mpsc};

    #[test]
    fn links_of_another_namespace_are_counted() {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("needs root");
            crate::sys::netlink::link_up("lo").unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let _ = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            tell.send(File::open("/proc/thread-self/ns/net").unwrap())
                .unwrap();
            let _ = ended.recv();
        });
        let netns = told.recv().unwrap();
        let mut links = Links::open().unwrap();
        let number = links.number(netns.as_fd()).unwrap();
        assert_eq!(links.number(netns.as_fd()).unwrap(), number);
        let found = links.counters(number).unwrap();
        let lo = found.iter().find(|link| link.name == "lo").unwrap();
        assert!(lo.loopback);
        assert!(
            lo.received.bytes > 100 && lo.received.packets >= 3,
            "{lo:?}"
        );
        assert_eq!(lo.received, lo.sent);
        drop(end);
        thread.join().unwrap();
        assert!(links.counters(NamespaceNumber(i32::MAX)).is_err());
    }

    #[test]
    fn what_is_no_namespace_has_no_number() {
        let file = File::open("/dev/null").unwrap();
        assert!(Links::open().unwrap().number(file.as_fd()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..40, any::<u8>()], 0..200)) {
            for message in messages(&bytes) {
                let _ = link(message.payload);
                let _ = (error_of(message.payload), end_of(message.payload));
            }
            prop_assert!(attributes(&bytes).map(|(_, value)| value.len()).sum::<usize>() <= bytes.len());
            let _ = link(&bytes);
        }

        #[test]
        fn requests_are_messages(kind: u16, value in proptest::collection::vec(any::<u8>(), 0..50)) {
            let mut request = Request::new(kind, 0);
            request.attribute(7, &value);
            let bytes = request.finish(5).to_vec();
            let message = messages(&bytes).next().unwrap();
            prop_assert_eq!((message.kind, message.sequence), (kind, 5));
            prop_assert_eq!(attributes(message.payload).next(), Some((7, &value[..])));
        }
    }
}
