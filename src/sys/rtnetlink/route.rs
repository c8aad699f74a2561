//! Routes of the main table.

use std::net::IpAddr;

use super::{
    Link, Rtnetlink, RtnetlinkError,
    address::{family, ip, octets},
    change, told,
};
use crate::sys::netlink::messages::{Request, attributes, u32_at};

/// How far away a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Anywhere.
    Universe,
    /// To what is on the link.
    Link,
    /// To this machine.
    Host,
    /// Not told.
    Nowhere,
}

impl Scope {
    fn number(self) -> u8 {
        match self {
            Self::Universe => libc::RT_SCOPE_UNIVERSE,
            Self::Link => libc::RT_SCOPE_LINK,
            Self::Host => libc::RT_SCOPE_HOST,
            Self::Nowhere => libc::RT_SCOPE_NOWHERE,
        }
    }
}

/// A route through a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to: an address, and how many bits of it count.
    pub to: (IpAddr, u8),
    /// Through whom.
    pub gateway: Option<IpAddr>,
    /// From which of the link's addresses.
    pub from: Option<IpAddr>,
    /// How far away.
    pub scope: Scope,
}

impl Rtnetlink {
    /// Adds a route.
    pub fn add_route(&mut self, link: &Link, route: &Route) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        request.header(&header(route, libc::RTPROT_BOOT, libc::RTN_UNICAST));
        fill(&mut request, link, route);
        self.change(request, || told_of("adding", link, route))
    }

    /// Deletes a route.
    pub fn delete_route(&mut self, link: &Link, route: &Route) -> Result<(), RtnetlinkError> {
        let mut request = change(libc::RTM_DELROUTE, 0);
        request.header(&header(route, libc::RTPROT_UNSPEC, libc::RTN_UNSPEC));
        fill(&mut request, link, route);
        self.change(request, || told_of("deleting", link, route))
    }

    /// The routes through a link in the main table: where they lead and through whom.
    pub fn routes(&mut self, link: &Link) -> Result<Vec<Route>, RtnetlinkError> {
        let mut request = Request::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP as u16);
        request.header(&[0; 12]);
        let mut found = Vec::new();
        let asked = self.0.ask(request, |kind, payload| {
            if kind == libc::RTM_NEWROUTE
                && let Some((index, route)) = read(payload)
                && index == link.index
            {
                found.push(route);
            }
        });
        asked.map_err(told(|| format!("reading the routes of {}", link.name)))?;
        Ok(found)
    }
}

fn told_of(doing: &str, link: &Link, route: &Route) -> String {
    let (to, length) = route.to;
    match route.gateway {
        Some(gateway) => format!(
            "{doing} a route to {to}/{length} via {gateway} on {}",
            link.name
        ),
        None => format!("{doing} a route to {to}/{length} on {}", link.name),
    }
}

/// struct rtmsg
fn header(route: &Route, protocol: u8, kind: u8) -> [u8; 12] {
    let (to, length) = route.to;
    let (source, service) = (0, 0);
    [
        family(to),
        length,
        source,
        service,
        libc::RT_TABLE_MAIN,
        protocol,
        route.scope.number(),
        kind,
        0,
        0,
        0,
        0,
    ]
}

fn fill(request: &mut Request, link: &Link, route: &Route) {
    request.attribute(libc::RTA_DST, &octets(route.to.0));
    request.attribute(libc::RTA_OIF, &link.index.to_ne_bytes());
    if let Some(gateway) = route.gateway {
        request.attribute(libc::RTA_GATEWAY, &octets(gateway));
    }
    if let Some(from) = route.from {
        request.attribute(libc::RTA_PREFSRC, &octets(from));
    }
}

fn read(payload: &[u8]) -> Option<(u32, Route)> {
    let (family, length) = (*payload.first()?, *payload.get(1)?);
    let (table, scope) = (*payload.get(4)?, *payload.get(6)?);
    if table != libc::RT_TABLE_MAIN {
        return None;
    }
    // The default route is to no address in particular.
    let any = match i32::from(family) {
        libc::AF_INET => ip(&[0; 4])?,
        _ => ip(&[0; 16])?,
    };
    let scopes = [Scope::Universe, Scope::Link, Scope::Host];
    let mut route = Route {
        to: (any, length),
        gateway: None,
        from: None,
        scope: scopes
            .into_iter()
            .find(|known| known.number() == scope)
            .unwrap_or(Scope::Nowhere),
    };
    let mut index = 0;
    for (kind, value) in attributes(payload.get(12..)?) {
        match kind {
            libc::RTA_DST => route.to.0 = ip(value)?,
            libc::RTA_OIF => index = u32_at(value, 0)?,
            libc::RTA_GATEWAY => route.gateway = ip(value),
            libc::RTA_PREFSRC => route.from = ip(value),
            _ => {}
        }
    }
    Some((index, route))
}
