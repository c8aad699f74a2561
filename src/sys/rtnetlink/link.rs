//! Links.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Rtnetlink, RtnetlinkError, change, told};
use crate::sys::netlink::messages::{Request, attributes, text, u32_at};

// linux/if_link.h, linux/veth.h
const IFLA_EXT_MASK: u16 = 29;
const SKIP_STATISTICS: u32 = 1 << 3;
const IFLA_BRPORT_MODE: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
const AF_BRIDGE: u8 = 7;
const IF_OPER_UP: u8 = 6;

/// A link as the kernel tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is, as `bridge` or `veth`; empty for hardware and loopback.
    pub kind: String,
    /// Its hardware address.
    pub mac: Vec<u8>,
    /// Its largest packet.
    pub mtu: u32,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// The other of its pair, by its number in the namespace where that is.
    pub peer: Option<u32>,
    /// It was told to be up.
    pub is_up: bool,
    /// It takes all packets.
    pub is_promiscuous: bool,
    /// Packets pass.
    pub is_operational: bool,
}

impl Link {
    /// Its hardware address as text.
    pub fn mac_text(&self) -> String {
        let octets: Vec<_> = self
            .mac
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        octets.join(":")
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let flags = u32_at(payload, 8)?;
        let mut link = Self {
            index: u32_at(payload, 4)?,
            is_up: flags & libc::IFF_UP as u32 != 0,
            is_promiscuous: flags & libc::IFF_PROMISC as u32 != 0,
            ..Self::default()
        };
        for (kind, value) in attributes(payload.get(16..)?) {
            match kind {
                libc::IFLA_IFNAME => link.name = text(value),
                libc::IFLA_ADDRESS => link.mac = value.to_vec(),
                libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
                libc::IFLA_MASTER => link.master = u32_at(value, 0),
                libc::IFLA_LINK => link.peer = u32_at(value, 0),
                libc::IFLA_OPERSTATE => link.is_operational = value.first() == Some(&IF_OPER_UP),
                libc::IFLA_LINKINFO => {
                    let kind = attributes(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                    link.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(link)
    }
}

/// A pair of links to be made: what goes into one comes out of the other.
#[derive(Debug)]
pub struct Veth<'a> {
    /// Name of the one in the socket's namespace.
    pub name: &'a str,
    /// The bridge it is to be a port of.
    pub master: Option<u32>,
    /// Name of the other.
    pub peer: &'a str,
    /// Where the other is to be.
    pub netns: BorrowedFd<'a>,
    /// The other's hardware address; by chance where there is none.
    pub mac: Option<&'a [u8]>,
    /// Largest packet of both.
    pub mtu: Option<u32>,
}

impl Rtnetlink {
    /// The link of a name; `None` when there is none.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, RtnetlinkError> {
        let mut request = Request::new(libc::RTM_GETLINK, 0);
        request.header(&[0; 16]);
        request.text(libc::IFLA_IFNAME, name);
        request.attribute(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
        let mut found = None;
        let asked = self.0.ask(request, |kind, payload| {
            if kind == libc::RTM_NEWLINK {
                found = Link::read(payload);
            }
        });
        match asked.map_err(told(|| format!("looking for the link {name}"))) {
            Err(e) if e.is_missing() => Ok(None),
            Err(e) => Err(e),
            Ok(()) => Ok(found),
        }
    }

    /// Makes a bridge that is down. It has a hardware address by chance.
    pub fn add_bridge(&mut self, name: &str, mtu: Option<u32>) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        request.header(&[0; 16]);
        request.text(libc::IFLA_IFNAME, name);
        if let Some(mtu) = mtu {
            request.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        }
        request.nested(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "bridge");
        });
        self.change(request, || format!("making the bridge {name}"))
    }

    /// Makes a pair of links, both down.
    pub fn add_veth(&mut self, veth: &Veth<'_>) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        request.header(&[0; 16]);
        request.text(libc::IFLA_IFNAME, veth.name);
        if let Some(master) = veth.master {
            request.attribute(libc::IFLA_MASTER, &master.to_ne_bytes());
        }
        let common = |request: &mut Request| {
            // What goes in comes out at once.
            request.attribute(libc::IFLA_TXQLEN, &0u32.to_ne_bytes());
            if let Some(mtu) = veth.mtu {
                request.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
            }
        };
        common(&mut request);
        request.nested(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
            info.nested(libc::IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    peer.header(&[0; 16]);
                    peer.text(libc::IFLA_IFNAME, veth.peer);
                    common(peer);
                    if let Some(mac) = veth.mac {
                        peer.attribute(libc::IFLA_ADDRESS, mac);
                    }
                    let netns = veth.netns.as_raw_fd().to_ne_bytes();
                    peer.attribute(libc::IFLA_NET_NS_FD, &netns);
                });
            });
        });
        self.change(request, || {
            format!("making the links {} and {}", veth.name, veth.peer)
        })
    }

    /// Brings a link up.
    pub fn set_up(&mut self, link: &Link) -> Result<(), RtnetlinkError> {
        self.set_flag(link, libc::IFF_UP, libc::IFF_UP)
    }

    /// Takes a link down.
    pub fn set_down(&mut self, link: &Link) -> Result<(), RtnetlinkError> {
        self.set_flag(link, libc::IFF_UP, 0)
    }

    /// Has a link take all packets.
    pub fn set_promiscuous(&mut self, link: &Link) -> Result<(), RtnetlinkError> {
        self.set_flag(link, libc::IFF_PROMISC, libc::IFF_PROMISC)
    }

    fn set_flag(&mut self, link: &Link, flag: i32, to: i32) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_NEWLINK, 0);
        request.header(&header(0, link.index, to, flag));
        self.change(request, || {
            format!(
                "setting flags {to:#x} of {flag:#x} on the link {}",
                link.name
            )
        })
    }

    /// Keeps a link's hardware address from following those of its ports.
    pub fn pin_mac(&mut self, link: &Link) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_NEWLINK, 0);
        request.header(&header(0, link.index, 0, 0));
        request.attribute(libc::IFLA_ADDRESS, &link.mac);
        self.change(request, || {
            format!("setting the hardware address of the link {}", link.name)
        })
    }

    /// Lets packets out of the port of a bridge that they came in by.
    pub fn set_hairpin(&mut self, port: &Link) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_SETLINK, 0);
        request.header(&header(AF_BRIDGE, port.index, 0, 0));
        request.nested(libc::IFLA_PROTINFO, |info| {
            info.attribute(IFLA_BRPORT_MODE, &[1])
        });
        self.change(request, || format!("setting hairpin mode of {}", port.name))
    }

    /// Deletes a link, and the other of its pair.
    pub fn delete_link(&mut self, link: &Link) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_DELLINK, 0);
        request.header(&header(0, link.index, 0, 0));
        self.change(request, || format!("deleting the link {}", link.name))
    }
}

/// struct ifinfomsg
fn header(family: u8, index: u32, flags: i32, change: i32) -> [u8; 16] {
    let mut bytes = [0; 16];
    let parts = [
        (0, u32::from(family).to_le_bytes()),
        (4, index.to_ne_bytes()),
        (8, flags.to_ne_bytes()),
        (12, change.to_ne_bytes()),
    ];
    for (at, part) in parts {
        for (to, from) in bytes.iter_mut().skip(at).zip(part) {
            *to = from;
        }
    }
    bytes
}
