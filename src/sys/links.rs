//! Counters of network links, in any network namespace, over one rtnetlink socket.
//!
//! The socket stays in the daemon's own namespace. Another namespace is asked for by the number it has here, which it
//! is given once; neither a descriptor nor a thread stays in it, so nothing keeps it when its pod goes.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::netlink::{
    messages::{Request, attributes, text, u32_at},
    socket::Socket,
};

/// Most links that are told of.
pub const LINKS_MAX: usize = 256;

// linux/net_namespace.h
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const NOT_ASSIGNED: i32 = -1;
// linux/if_link.h
const IFLA_TARGET_NETNSID: u16 = 46;

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
pub struct Links(Socket);

impl Links {
    /// A new socket in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self(Socket::route()?))
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
        match self.0.ask(request, |_, _| {}) {
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
        self.0.ask(request, |kind, payload| {
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
        self.0.ask(request, |kind, payload| {
            if kind == libc::RTM_NEWLINK && links.len() < LINKS_MAX {
                links.extend(link(payload));
            }
        })?;
        Ok(links)
    }
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
                link.name = text(value);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{fs::File, os::fd::AsFd, sync::mpsc};

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
            let _ = link(&bytes);
        }
    }
}
