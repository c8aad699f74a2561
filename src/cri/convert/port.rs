//! Published ports.

use super::{
    error::{At, FieldError},
    number,
};
use crate::{
    cri::api,
    pod::spec::{PortMapping, Protocol},
};

/// The ports to publish. Entries without a host port publish nothing and are left out.
pub fn mappings(
    at: &At<'_>,
    mappings: Vec<api::PortMapping>,
) -> Result<Vec<PortMapping>, FieldError> {
    let mut published: Vec<PortMapping> = Vec::with_capacity(mappings.len());
    for (i, mapping) in mappings.into_iter().enumerate() {
        let at = at.index(i);
        let Some(mapping) = one(&at, mapping)? else {
            continue;
        };
        if published.contains(&mapping) {
            continue;
        }
        let same_place = |other: &PortMapping| {
            (other.protocol, other.host_port, other.host_ip)
                == (mapping.protocol, mapping.host_port, mapping.host_ip)
        };
        if let Some(other) = published.iter().find(|other| same_place(other)) {
            return Err(at.field("host_port").bad_number(
                mapping.host_port,
                format!("is already published for port {}", other.container_port),
            ));
        }
        published.push(mapping);
    }
    Ok(published)
}

fn one(at: &At<'_>, mapping: api::PortMapping) -> Result<Option<PortMapping>, FieldError> {
    let protocol = match number::choice(&at.field("protocol"), mapping.protocol, "a protocol")? {
        api::Protocol::Tcp => Protocol::Tcp,
        api::Protocol::Udp => Protocol::Udp,
        api::Protocol::Sctp => Protocol::Sctp,
    };
    let host_ip = match mapping.host_ip.as_str() {
        "" => None,
        ip => Some(
            ip.parse()
                .map_err(|_| at.field("host_ip").bad(ip, "is not an IP address"))?,
        ),
    };
    if mapping.host_port == 0 {
        return Ok(None);
    }
    Ok(Some(PortMapping {
        protocol,
        container_port: port(&at.field("container_port"), mapping.container_port)?,
        host_port: port(&at.field("host_port"), mapping.host_port)?,
        host_ip,
    }))
}

fn port(at: &At<'_>, value: i32) -> Result<u16, FieldError> {
    u16::try_from(value)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| at.bad_number(value, "is not a port (1 to 65535)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At<'static> = At::root("ports");

    fn mapping(container_port: i32, host_port: i32, host_ip: &str) -> api::PortMapping {
        api::PortMapping {
            protocol: 1,
            container_port,
            host_port,
            host_ip: host_ip.into(),
        }
    }

    #[test]
    fn unpublished_entries_go() {
        let all = vec![
            mapping(80, 0, ""),
            mapping(80, 8080, "::1"),
            mapping(80, 8080, "::1"),
        ];
        assert_eq!(
            mappings(&AT, all),
            Ok(vec![PortMapping {
                protocol: Protocol::Udp,
                container_port: 80,
                host_port: 8080,
                host_ip: Some("::1".parse().unwrap()),
            }])
        );
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |m: Vec<api::PortMapping>| mappings(&AT, m).unwrap_err().to_string();
        assert_eq!(
            error(vec![mapping(0, 1, "")]),
            "ports[0].container_port: 0 is not a port (1 to 65535)"
        );
        assert_eq!(
            error(vec![mapping(1, 65536, "")]),
            "ports[0].host_port: 65536 is not a port (1 to 65535)"
        );
        assert_eq!(
            error(vec![mapping(1, 1, "localhost")]),
            "ports[0].host_ip: \"localhost\" is not an IP address"
        );
        assert_eq!(
            error(vec![mapping(1, 9, ""), mapping(2, 9, "")]),
            "ports[1].host_port: 9 is already published for port 1"
        );
        let mut odd = mapping(1, 1, "");
        odd.protocol = 7;
        assert_eq!(error(vec![odd]), "ports[0].protocol: 7 is not a protocol");
    }
}
