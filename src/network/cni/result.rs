//! What plugins answer: results of every version, and errors.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Most addresses, interfaces or routes taken from a result.
const MAX_ENTRIES: usize = 1024;

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IpPrefix {
    /// The address, host bits included.
    pub address: IpAddr,
    /// Bits of the network.
    pub length: u8,
}

/// A text that is not an address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address with a prefix length")]
pub struct IpPrefixError(String);

impl IpPrefix {
    /// The network: the same with all host bits zero.
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.length))
                    .unwrap_or(0);
                Ipv4Addr::from_bits(a.to_bits() & mask).into()
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.length))
                    .unwrap_or(0);
                Ipv6Addr::from_bits(a.to_bits() & mask).into()
            }
        };
        Self { address, ..self }
    }
}

impl FromStr for IpPrefix {
    type Err = IpPrefixError;
    fn from_str(text: &str) -> Result<Self, IpPrefixError> {
        let error = || IpPrefixError(text.chars().take(80).collect());
        let (address, length) = text.split_once('/').ok_or_else(error)?;
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let length: u8 = length.parse().map_err(|_| error())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if length > most {
            return Err(error());
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl TryFrom<String> for IpPrefix {
    type Error = IpPrefixError;
    fn try_from(text: String) -> Result<Self, IpPrefixError> {
        text.parse()
    }
}

impl From<IpPrefix> for String {
    fn from(prefix: IpPrefix) -> Self {
        prefix.to_string()
    }
}

/// What ADD returned, in the terms of the newest version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CniResult {
    /// Links made, on the host and in the pod.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<IpConfig>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Resolver settings the network suggests.
    pub dns: CniDns,
}

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Hardware address.
    pub mac: String,
    /// Largest packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Path of the namespace it is in; empty for the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// It, with its network.
    pub address: IpPrefix,
    /// Its network's router.
    pub gateway: Option<IpAddr>,
    /// Index of its link among the interfaces.
    pub interface: Option<usize>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: IpPrefix,
    /// Through whom.
    pub gw: Option<IpAddr>,
}

/// Resolver settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CniDns {
    /// Name servers.
    pub nameservers: Vec<String>,
    /// Own domain.
    pub domain: String,
    /// Search list.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

/// An answer that is no result.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// Not JSON of a result's shape.
    #[error("not a CNI result: {0}")]
    Json(serde_json::Error),
    /// Too much of something.
    #[error("{field}: more than {MAX_ENTRIES}")]
    TooMany {
        /// Of what.
        field: &'static str,
    },
    /// An address names an interface that is not there.
    #[error("ips[{index}].interface: there is no interface {interface}")]
    NoInterface {
        /// The address.
        index: usize,
        /// As given.
        interface: i64,
    },
}

/// The error object of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CniError {
    /// What kind: below 100 from the specification.
    pub code: u32,
    /// What went wrong.
    #[serde(default)]
    pub msg: String,
    /// More of it.
    #[serde(default)]
    pub details: String,
}

impl CniError {
    /// Reads an error object; `None` when `bytes` is something else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.msg.trim(), self.code)?;
        match self.details.trim() {
            "" => Ok(()),
            details => write!(f, ": {details}"),
        }
    }
}

/// A result as it may come, of any version.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    interfaces: Option<Vec<Interface>>,
    #[serde(default)]
    ips: Option<Vec<RawIp>>,
    #[serde(default)]
    routes: Option<Vec<RawRoute>>,
    #[serde(default)]
    dns: Option<CniDns>,
    /// Versions below 0.3.0.
    #[serde(default)]
    ip4: Option<OldIp>,
    #[serde(default)]
    ip6: Option<OldIp>,
}

#[derive(Deserialize)]
struct RawIp {
    address: IpPrefix,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    interface: Option<i64>,
}

#[derive(Deserialize)]
struct RawRoute {
    dst: IpPrefix,
    #[serde(default)]
    gw: Option<String>,
}

#[derive(Deserialize)]
struct OldIp {
    ip: IpPrefix,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    routes: Option<Vec<RawRoute>>,
}

impl CniResult {
    /// Reads the result of an ADD, of whichever version.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResultError> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(ResultError::Json)?;
        let interfaces = bounded("interfaces", raw.interfaces)?;
        let mut ips = Vec::new();
        for (index, ip) in bounded("ips", raw.ips)?.into_iter().enumerate() {
            // A negative index stands for none in some plugins.
            let interface = match ip.interface.map(usize::try_from) {
                None | Some(Err(_)) => None,
                Some(Ok(at)) if at < interfaces.len() => Some(at),
                Some(Ok(at)) => {
                    return Err(ResultError::NoInterface {
                        index,
                        interface: i64::try_from(at).unwrap_or(i64::MAX),
                    });
                }
            };
            ips.push(IpConfig {
                address: ip.address,
                gateway: address(ip.gateway),
                interface,
            });
        }
        let mut routes = bounded("routes", raw.routes)?;
        for old in [raw.ip4, raw.ip6].into_iter().flatten() {
            ips.push(IpConfig {
                address: old.ip,
                gateway: address(old.gateway),
                interface: None,
            });
            routes.extend(bounded("routes", old.routes)?);
        }
        Ok(Self {
            interfaces,
            ips,
            routes: routes
                .into_iter()
                .map(|r| Route {
                    dst: r.dst,
                    gw: address(r.gw),
                })
                .collect(),
            dns: raw.dns.unwrap_or_default(),
        })
    }
}

/// A router's address is told for information only: a text that is none is as good as none.
fn address(text: Option<String>) -> Option<IpAddr> {
    text.and_then(|t| t.parse().ok())
}

fn bounded<T>(field: &'static str, list: Option<Vec<T>>) -> Result<Vec<T>, ResultError> {
    let list = list.unwrap_or_default();
    match list.len() > MAX_ENTRIES {
        true => Err(ResultError::TooMany { field }),
        false => Ok(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_version() {
        let new = CniResult::parse(
            br#"{"cniVersion":"1.0.0","interfaces":[{"name":"br0","mac":"aa"},{"name":"eth0","sandbox":"/ns","mtu":1500}],
               "ips":[{"interface":1,"address":"10.1.0.2/16","gateway":"10.1.0.1"},{"address":"fd00::2/64","interface":1}],
               "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0","gw":"fd00::1","mtu":1400}],"dns":{"nameservers":["1.1.1.1"]}}"#,
        )
        .unwrap();
        assert_eq!(new.interfaces[1].mtu, Some(1500));
        assert_eq!(new.ips[0].address.to_string(), "10.1.0.2/16");
        assert_eq!(new.ips[1].interface, Some(1));
        assert_eq!(new.routes[1].gw, Some("fd00::1".parse().unwrap()));

        let middle = CniResult::parse(
            br#"{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"/ns"}],
               "ips":[{"version":"4","interface":0,"address":"10.1.0.2/16"}],"dns":{}}"#,
        )
        .unwrap();
        assert_eq!(middle.ips.len(), 1);

        let old = CniResult::parse(
            br#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.2/16","gateway":"10.1.0.1","routes":[{"dst":"0.0.0.0/0"}]},
               "ip6":{"ip":"fd00::2/64"},"dns":{"domain":"x"}}"#,
        )
        .unwrap();
        assert_eq!((old.ips.len(), old.routes.len()), (2, 1));
        assert_eq!(
            CniResult::parse(br#"{"ips":null,"interfaces":null}"#).unwrap(),
            CniResult::default()
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for text in [
            "",
            "x",
            "[]x",
            r#"{"ips":[{"address":"10.0.0.1"}]}"#,
            r#"{"ips":[{"address":"10.0.0.1/33"}]}"#,
            r#"{"ips":[{"address":"10.0.0.1/24","interface":0}]}"#,
            r#"{"interfaces":7}"#,
        ] {
            assert!(CniResult::parse(text.as_bytes()).is_err(), "{text}");
        }
        let many = format!(r#"{{"interfaces":[{}]}}"#, vec!["{}"; 1025].join(","));
        assert!(matches!(
            CniResult::parse(many.as_bytes()),
            Err(ResultError::TooMany { .. })
        ));
    }

    #[test]
    fn shows_an_error_whole() {
        let error =
            CniError::parse(br#"{"cniVersion":"1.0.0","code":7,"msg":"bad conf","details":"x"}"#)
                .unwrap();
        assert_eq!(error.to_string(), "bad conf (code 7): x");
        assert!(CniError::parse(b"{}").is_none());
    }

    #[test]
    fn networks_lose_their_host_bits() {
        for (text, network) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("fd00::1:2/64", "fd00::/64"),
            ("fd00::1/0", "::/0"),
            ("fd00::1/128", "fd00::1/128"),
        ] {
            let prefix: IpPrefix = text.parse().unwrap();
            assert_eq!(prefix.network().to_string(), network);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = CniResult::parse(&bytes);
            let _ = CniError::parse(&bytes);
        }

        #[test]
        fn prefixes_survive_being_written(address in any::<IpAddr>(), length in 0u8..=32) {
            let prefix = IpPrefix { address, length };
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
    }
}
