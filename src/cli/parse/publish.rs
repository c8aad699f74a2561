//! `--publish [IP:]HOST:CTR[/PROTOCOL]`.

use std::net::IpAddr;

use crate::pod::spec::{PortMapping, Protocol};

const FORM: &str = "write [IP:]HOST_PORT:CONTAINER_PORT[/tcp|udp|sctp], like 8080:80";

/// Reads a published port.
pub(in crate::cli) fn parse(text: &str) -> Result<PortMapping, String> {
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((ports, "sctp")) => (ports, Protocol::Sctp),
        Some((_, other)) => {
            return Err(format!("the protocol {other:?} is not tcp, udp or sctp"));
        }
    };
    let (host, container) = ports.rsplit_once(':').ok_or(FORM)?;
    let (address, host) = match host.rsplit_once(':') {
        None => (None, host),
        Some((address, host)) => (Some(ip(address)?), host),
    };
    Ok(PortMapping {
        protocol,
        container_port: port(container)?,
        host_port: port(host)?,
        host_ip: address,
    })
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("{text:?} is not an IP address; {FORM}"))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port > 0 && text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| format!("{text:?} is not a port from 1 to 65535; {FORM}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_ports() {
        let mapping = parse("8080:80").unwrap();
        assert_eq!((mapping.host_port, mapping.container_port), (8080, 80));
        assert_eq!(mapping.protocol, Protocol::Tcp);
        assert_eq!(parse("53:53/udp").unwrap().protocol, Protocol::Udp);
        assert_eq!(
            parse("127.0.0.1:1:2").unwrap().host_ip,
            Some("127.0.0.1".parse().unwrap())
        );
        assert_eq!(
            parse("[::1]:1:2/sctp").unwrap().host_ip,
            Some("::1".parse().unwrap())
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("80", "8080:80"),
            ("0:80", "\"0\""),
            ("80:65536", "\"65536\""),
            ("+1:80", "\"+1\""),
            ("80:80/icmp", "\"icmp\""),
            ("host:80:80", "\"host\""),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn every_pair_is_read(host in 1u16.., container in 1u16..) {
            let mapping = parse(&format!("{host}:{container}")).unwrap();
            prop_assert_eq!((mapping.host_port, mapping.container_port), (host, container));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
