//! Host names and resolver settings.

use std::net::IpAddr;

use super::{
    error::{At, FieldError},
    text,
};
use crate::{cri::api, pod::spec::Dns};

/// Longest host name the kernel takes.
pub const HOSTNAME_MAX: usize = 64;
/// Most entries of one kind in a resolver configuration.
const ENTRIES_MAX: usize = 64;
/// Longest entry: a domain name has at most 253 characters, options are shorter.
const ENTRY_MAX: usize = 256;

/// A host name of dot-separated RFC 1123 labels; empty when none is asked for.
pub fn hostname(at: &At<'_>, value: String) -> Result<String, FieldError> {
    if value.is_empty() {
        return Ok(value);
    }
    text::check(at, &value, HOSTNAME_MAX)?;
    for label in value.split('.') {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let valid = !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !valid {
            return Err(at.bad(
                &value,
                "is not a host name (labels of letters, digits and inner hyphens, joined by dots)",
            ));
        }
    }
    Ok(value)
}

/// Resolver settings.
pub fn dns(at: &At<'_>, config: api::DnsConfig) -> Result<Dns, FieldError> {
    let servers = words(&at.field("servers"), config.servers)?;
    for (i, server) in servers.iter().enumerate() {
        // A link-local address may carry its zone.
        let address = server.split_once('%').map_or(server.as_str(), |(a, _)| a);
        if address.parse::<IpAddr>().is_err() {
            return Err(at
                .field("servers")
                .index(i)
                .bad(server, "is not an IP address"));
        }
    }
    Ok(Dns {
        servers,
        searches: words(&at.field("searches"), config.searches)?,
        options: words(&at.field("options"), config.options)?,
    })
}

fn words(at: &At<'_>, values: Vec<String>) -> Result<Vec<String>, FieldError> {
    if values.len() > ENTRIES_MAX {
        return Err(at.wrong(format!(
            "has {} entries, at most {ENTRIES_MAX} are possible",
            values.len()
        )));
    }
    values
        .into_iter()
        .enumerate()
        .map(|(i, value)| text::word(&at.index(i), value, ENTRY_MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At<'static> = At::root("c");

    #[test]
    fn hostnames() {
        for good in ["", "a", "web-0", "web-0.default.svc", "A1", &"a".repeat(63)] {
            assert!(hostname(&AT, good.into()).is_ok(), "{good}");
        }
        let long = format!("{}.{}", "a".repeat(40), "b".repeat(40));
        for bad in [
            "-a",
            "a-",
            "a_b",
            "a..b",
            ".a",
            "a b",
            "a\n",
            &long,
            &"a".repeat(64),
        ] {
            assert!(hostname(&AT, bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_cannot_be_injected() {
        let config = |server: &str, search: &str| api::DnsConfig {
            servers: vec![server.into()],
            searches: vec![search.into()],
            options: vec!["ndots:5".into()],
        };
        assert!(dns(&AT, config("10.0.0.1", "svc.local")).is_ok());
        assert!(dns(&AT, config("fe80::1%eth0", ".")).is_ok());
        assert_eq!(
            dns(&AT, config("ns.example", "a")).unwrap_err().to_string(),
            "c.servers[0]: \"ns.example\" is not an IP address"
        );
        assert!(dns(&AT, config("10.0.0.1", "a\nnameserver 6.6.6.6")).is_err());
        assert!(dns(&AT, config("::1%a\nx", "a")).is_err());
    }
}
