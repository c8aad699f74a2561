//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Link, Rtnetlink, RtnetlinkError, change, told};
use crate::sys::netlink::messages::{Request, attributes, u32_at};

// linux/if_addr.h
const IFA_FLAGS: u16 = 8;

/// An address of a link, with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// It.
    pub ip: IpAddr,
    /// Bits of the network.
    pub length: u8,
    /// It is not yet known whether another machine has it, too.
    pub is_tentative: bool,
}

impl Address {
    /// An address to be given to a link.
    pub fn new(ip: IpAddr, length: u8) -> Self {
        Self {
            ip,
            length,
            is_tentative: false,
        }
    }

    fn read(payload: &[u8]) -> Option<(u32, Self)> {
        let mut flags = u32::from(*payload.get(2)?);
        let (mut local, mut address) = (None, None);
        for (kind, value) in attributes(payload.get(8..)?) {
            match kind {
                libc::IFA_LOCAL => local = ip(value),
                libc::IFA_ADDRESS => address = ip(value),
                IFA_FLAGS => flags = u32_at(value, 0)?,
                _ => {}
            }
        }
        let found = Self {
            ip: local.or(address)?,
            length: *payload.get(1)?,
            is_tentative: flags & libc::IFA_F_TENTATIVE != 0,
        };
        Some((u32_at(payload, 4)?, found))
    }

    fn broadcast(&self) -> Option<Ipv4Addr> {
        let IpAddr::V4(ip) = self.ip else { return None };
        let host = u32::MAX.checked_shr(self.length.into()).unwrap_or(0);
        (self.length < 31).then(|| Ipv4Addr::from_bits(ip.to_bits() | host))
    }
}

impl Rtnetlink {
    /// The addresses of a link, of both families.
    pub fn addresses(&mut self, link: &Link) -> Result<Vec<Address>, RtnetlinkError> {
        let mut request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP as u16);
        request.header(&[0; 8]);
        let mut found = Vec::new();
        let asked = self.0.ask(request, |kind, payload| {
            if kind == libc::RTM_NEWADDR
                && let Some((index, address)) = Address::read(payload)
                && index == link.index
            {
                found.push(address);
            }
        });
        asked.map_err(told(|| format!("reading the addresses of {}", link.name)))?;
        Ok(found)
    }

    /// Gives a link an address.
    pub fn add_address(&mut self, link: &Link, address: &Address) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        fill(&mut request, link, address);
        if let Some(broadcast) = address.broadcast() {
            request.attribute(libc::IFA_BROADCAST, &broadcast.octets());
        }
        self.change(request, || {
            format!("giving {} to {}", address.ip, link.name)
        })
    }

    /// Takes an address from a link.
    pub fn delete_address(&mut self, link: &Link, address: &Address) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_DELADDR, 0);
        fill(&mut request, link, address);
        self.change(request, || {
            format!("taking {} from {}", address.ip, link.name)
        })
    }
}

fn fill(request: &mut Request, link: &Link, address: &Address) {
    let mut header = vec![family(address.ip), address.length, 0, 0];
    header.extend(link.index.to_ne_bytes());
    request.header(&header);
    let octets = octets(address.ip);
    request.attribute(libc::IFA_LOCAL, &octets);
    request.attribute(libc::IFA_ADDRESS, &octets);
}

/// The number of an address's family.
pub(super) fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// An address as it is sent.
pub fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// An address as it is received.
pub(super) fn ip(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets)
            .ok()
            .map(|o| Ipv4Addr::from(o).into()),
        16 => <[u8; 16]>::try_from(octets)
            .ok()
            .map(|o| Ipv6Addr::from(o).into()),
        _ => None,
    }
}
