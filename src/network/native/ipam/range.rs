//! Ranges that addresses are given from, and the order they are tried in: the plugin host-local's. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::Deserialize;

use crate::network::cni::result::IpPrefix;

/// Ranges of one family that together give a pod one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

/// Addresses one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The network they are of.
    subnet: IpPrefix,
    /// The first and the last.
    start: IpAddr,
    end: IpAddr,
    /// The network's router, which no pod gets.
    gateway: IpAddr,
}

/// An address for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// It, with its network.
    pub address: IpPrefix,
    /// Its network's router.
    pub gateway: IpAddr,
}

/// A range as it is configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RangeConf {
    subnet: IpPrefix,
    #[serde(default)]
    range_start: Option<IpAddr>,
    #[serde(default)]
    range_end: Option<IpAddr>,
    #[serde(default)]
    gateway: Option<IpAddr>,
}

/// A range that nothing can be given from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// There is none.
    #[error("there is no range")]
    None,
    /// Fewer than two addresses besides the network's own and the last.
    #[error("network {0} is too small")]
    Small(IpPrefix),
    /// Not the address of a network.
    #[error("{0} has host bits set")]
    HostBits(IpPrefix),
    /// Outside of the network, or of the other family.
    #[error("{address} is not in {subnet}")]
    Outside {
        /// What.
        address: IpAddr,
        /// Of what.
        subnet: IpPrefix,
    },
    /// An IPv4 address in the clothes of an IPv6 one.
    #[error("{0} is an IPv4 address written as an IPv6 one")]
    Mapped(IpAddr),
    /// Families that differ within a set.
    #[error("a range set of both families")]
    Mixed,
    /// Some address is in both.
    #[error("{0} and {1} overlap")]
    Overlap(Box<Range>, Box<Range>),
}

impl RangeConf {
    /// A whole network.
    pub fn of_subnet(subnet: IpPrefix) -> Self {
        Self {
            subnet,
            range_start: None,
            range_end: None,
            gateway: None,
        }
    }
}

impl Range {
    fn new(conf: &RangeConf) -> Result<Self, RangeError> {
        let subnet = conf.subnet;
        let given = [
            Some(subnet.address),
            conf.range_start,
            conf.range_end,
            conf.gateway,
        ];
        for ip in given.into_iter().flatten() {
            if matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
                return Err(RangeError::Mapped(ip));
            }
        }
        let bits = if subnet.address.is_ipv4() { 32 } else { 128 };
        if subnet.length > bits - 2 {
            return Err(RangeError::Small(subnet));
        }
        if subnet.network() != subnet {
            return Err(RangeError::HostBits(subnet));
        }
        let first = next(subnet.address);
        let range = Self {
            subnet,
            start: conf.range_start.unwrap_or(first),
            end: conf.range_end.unwrap_or_else(|| last(subnet)),
            gateway: conf.gateway.unwrap_or(first),
        };
        let outside = |address| RangeError::Outside { address, subnet };
        if !within(subnet, range.start) {
            return Err(outside(range.start));
        }
        if !within(subnet, range.end) || range.end < range.start {
            return Err(outside(range.end));
        }
        Ok(range)
    }

    fn contains(&self, ip: IpAddr) -> bool {
        within(self.subnet, ip) && self.start <= ip && ip <= self.end
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start.is_ipv4() == other.start.is_ipv4()
            && self.start <= other.end
            && other.start <= self.end
    }

    fn candidate(&self, address: IpAddr) -> Candidate {
        Candidate {
            address: IpPrefix {
                address,
                length: self.subnet.length,
            },
            gateway: self.gateway,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{range}")?;
        }
        Ok(())
    }
}

impl RangeSet {
    /// The set of these ranges.
    pub fn new(confs: &[RangeConf]) -> Result<Self, RangeError> {
        let ranges: Vec<Range> = confs.iter().map(Range::new).collect::<Result<_, _>>()?;
        let Some(first) = ranges.first() else {
            return Err(RangeError::None);
        };
        let family = first.start.is_ipv4();
        if ranges.iter().any(|range| range.start.is_ipv4() != family) {
            return Err(RangeError::Mixed);
        }
        for (n, range) in ranges.iter().enumerate() {
            if let Some(other) = ranges[..n].iter().find(|other| other.overlaps(range)) {
                return Err(RangeError::Overlap(
                    other.clone().into(),
                    range.clone().into(),
                ));
            }
        }
        Ok(Self(ranges))
    }

    /// Refuses sets that share an address.
    pub fn check_apart(sets: &[Self]) -> Result<(), RangeError> {
        for (n, set) in sets.iter().enumerate() {
            for other in &sets[..n] {
                for (a, b) in other
                    .0
                    .iter()
                    .flat_map(|a| set.0.iter().map(move |b| (a, b)))
                {
                    if a.overlaps(b) {
                        return Err(RangeError::Overlap(a.clone().into(), b.clone().into()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.0.iter().all(|range| range.start.is_ipv4())
    }

    /// The address as one of this set; `None` when it is not in it.
    pub fn find(&self, ip: IpAddr) -> Option<Candidate> {
        let range = self.0.iter().find(|range| range.contains(ip))?;
        Some(range.candidate(ip))
    }

    /// All addresses that a pod may have, from the one after `last` on and round to it; `last` is no matter when it
    /// is in none of the ranges.
    pub fn candidates(&self, last: Option<IpAddr>) -> impl Iterator<Item = Candidate> + '_ {
        let begin = last
            .and_then(|last| {
                let at = self.0.iter().position(|range| range.contains(last))?;
                Some(self.after(at, last))
            })
            .or_else(|| self.0.first().map(|range| (0, range.start)));
        let mut now = begin;
        std::iter::from_fn(move || {
            let (at, ip) = now?;
            let after = self.after(at, ip);
            now = (Some(after) != begin).then_some(after);
            Some((at, ip))
        })
        .filter_map(|(at, ip)| {
            let range = self.0.get(at)?;
            (ip != range.gateway).then(|| range.candidate(ip))
        })
    }

    /// The next one round the ranges.
    fn after(&self, at: usize, ip: IpAddr) -> (usize, IpAddr) {
        match self.0.get(at) {
            Some(range) if ip != range.end => (at, next(ip)),
            _ => {
                let at = (at + 1) % self.0.len().max(1);
                (at, self.0.get(at).map_or(ip, |range| range.start))
            }
        }
    }
}

fn within(subnet: IpPrefix, ip: IpAddr) -> bool {
    let of_ip = IpPrefix {
        address: ip,
        length: subnet.length,
    };
    subnet.address.is_ipv4() == ip.is_ipv4() && of_ip.network() == subnet.network()
}

/// The one after it.
fn next(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits().wrapping_add(1)).into(),
    }
}

/// The last one of a network that a pod may have: that of IPv4 is for all.
fn last(subnet: IpPrefix) -> IpAddr {
    match subnet.address {
        IpAddr::V4(ip) => {
            let host = u32::MAX.checked_shr(subnet.length.into()).unwrap_or(0);
            Ipv4Addr::from_bits((ip.to_bits() | host).wrapping_sub(1)).into()
        }
        IpAddr::V6(ip) => {
            let host = u128::MAX.checked_shr(subnet.length.into()).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() | host).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(text: &str) -> Result<RangeSet, RangeError> {
        let confs: Vec<RangeConf> = serde_json::from_str(text).unwrap();
        RangeSet::new(&confs)
    }

    fn addresses(set: &RangeSet, last: Option<&str>) -> Vec<String> {
        set.candidates(last.map(|ip| ip.parse().unwrap()))
            .map(|c| c.address.address.to_string())
            .collect()
    }

    #[test]
    fn a_whole_network_gives_all_but_its_ends_and_the_router() {
        let v4 = set(r#"[{"subnet":"10.0.0.0/29"}]"#).unwrap();
        assert_eq!(v4.to_string(), "10.0.0.1-10.0.0.6");
        let all = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
        assert_eq!(addresses(&v4, None), all);
        let v6 = set(r#"[{"subnet":"fd00::/126"}]"#).unwrap();
        assert_eq!(addresses(&v6, None), ["fd00::2", "fd00::3"]);
        let first = v4.candidates(None).next().unwrap();
        assert_eq!(first.address.to_string(), "10.0.0.2/29");
        assert_eq!(first.gateway.to_string(), "10.0.0.1");
    }

    #[test]
    fn it_goes_on_after_the_last_and_round() {
        let two = set(
            r#"[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.4","rangeEnd":"10.0.0.6","gateway":"10.0.0.5"},
                {"subnet":"10.1.0.0/24","rangeStart":"10.1.0.9","rangeEnd":"10.1.0.9"}]"#,
        )
        .unwrap();
        assert_eq!(addresses(&two, None), ["10.0.0.4", "10.0.0.6", "10.1.0.9"]);
        assert_eq!(
            addresses(&two, Some("10.0.0.4")),
            ["10.0.0.6", "10.1.0.9", "10.0.0.4"]
        );
        assert_eq!(
            addresses(&two, Some("10.1.0.9")),
            ["10.0.0.4", "10.0.0.6", "10.1.0.9"]
        );
        assert_eq!(addresses(&two, Some("10.9.9.9")), addresses(&two, None));
        assert_eq!(addresses(&two, Some("fd00::1")), addresses(&two, None));
    }

    #[test]
    fn what_no_address_comes_of_is_refused() {
        for (text, message) in [
            ("[]", "there is no range"),
            (
                r#"[{"subnet":"10.0.0.0/31"}]"#,
                "network 10.0.0.0/31 is too small",
            ),
            (
                r#"[{"subnet":"10.0.0.1/24"}]"#,
                "10.0.0.1/24 has host bits set",
            ),
            (
                r#"[{"subnet":"10.0.0.0/24","rangeStart":"10.0.1.1"}]"#,
                "10.0.1.1 is not in 10.0.0.0/24",
            ),
            (
                r#"[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.8"}]"#,
                "10.0.0.8 is not in 10.0.0.0/24",
            ),
            (
                r#"[{"subnet":"10.0.0.0/24"},{"subnet":"fd00::/64"}]"#,
                "a range set of both families",
            ),
            (
                r#"[{"subnet":"10.0.0.0/24"},{"subnet":"10.0.0.0/16"}]"#,
                "10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.255.254 overlap",
            ),
            (
                r#"[{"subnet":"10.0.0.0/24","gateway":"::ffff:10.0.0.1"}]"#,
                "::ffff:10.0.0.1 is an IPv4 address written as an IPv6 one",
            ),
        ] {
            assert_eq!(set(text).unwrap_err().to_string(), message, "{text}");
        }
        let sets = [
            r#"[{"subnet":"10.0.0.0/24"}]"#,
            r#"[{"subnet":"10.0.0.0/25"}]"#,
        ];
        let sets = sets.map(|text| set(text).unwrap());
        assert!(RangeSet::check_apart(&sets).is_err());
        assert!(RangeSet::check_apart(&sets[..1]).is_ok());
    }

    proptest! {
        /// Wherever it begins: each address once, the router never, all in the set, and the last one given comes last.
        #[test]
        fn each_address_is_tried_once(
            ranges in proptest::collection::vec((1u8..250, 0u8..6, proptest::option::of(1u8..255)), 1..4),
            last in proptest::option::of((0u8..4, 1u8..255)),
        ) {
            let confs: Vec<RangeConf> = ranges
                .iter()
                .enumerate()
                .map(|(n, (start, more, gateway))| RangeConf {
                    subnet: format!("10.0.{n}.0/24").parse().unwrap(),
                    range_start: Some(Ipv4Addr::new(10, 0, n as u8, *start).into()),
                    range_end: Some(Ipv4Addr::new(10, 0, n as u8, start.saturating_add(*more).min(254)).into()),
                    gateway: gateway.map(|g| Ipv4Addr::new(10, 0, n as u8, g).into()),
                })
                .collect();
            let set = RangeSet::new(&confs).unwrap();
            let last: Option<IpAddr> = last.map(|(n, host)| Ipv4Addr::new(10, 0, n, host).into());
            let all: Vec<Candidate> = set.candidates(last).collect();
            let distinct: BTreeSet<_> = all.iter().map(|c| c.address).collect();
            prop_assert_eq!(distinct.len(), all.len());
            let every: BTreeSet<_> = set.candidates(None).map(|c| c.address).collect();
            prop_assert_eq!(&distinct, &every);
            for candidate in &all {
                prop_assert_eq!(set.find(candidate.address.address), Some(*candidate));
                prop_assert_ne!(candidate.address.address, candidate.gateway);
            }
            if let Some(last) = last.filter(|last| every.iter().any(|e| e.address == *last)) {
                prop_assert_eq!(all.last().unwrap().address.address, last);
            }
        }
    }
}
