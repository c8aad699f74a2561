//! The files that tell a pod of its network: `resolv.conf`, `hosts`, `hostname`. Pure.

use std::net::IpAddr;

use crate::pod::spec::Dns;

/// Largest resolver file taken from the host.
pub const MAX_RESOLV_CONF: usize = 64 << 10;
/// Most entries of each kind, and the longest of them.
const MAX_ENTRIES: usize = 64;
const MAX_ENTRY: usize = 512;
/// Longest host name the kernel keeps.
const MAX_HOSTNAME: usize = 64;

/// Text that cannot go into a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// One entry.
    #[error("{field} {value:?} {reason}")]
    Entry {
        /// Of which list.
        field: &'static str,
        /// As given, shortened.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A whole list.
    #[error("{field}: more than {MAX_ENTRIES}")]
    TooMany {
        /// Which.
        field: &'static str,
    },
    /// The host's file.
    #[error("the host's resolv.conf is larger than {MAX_RESOLV_CONF} bytes")]
    HostFile,
}

/// `resolv.conf` of a pod: its own settings, or what the host has where it brings none.
pub fn resolv_conf(dns: Option<&Dns>, host: &[u8]) -> Result<Vec<u8>, FilesError> {
    let given = dns.filter(|d| **d != Dns::default());
    let Some(dns) = given else {
        return match host.len() > MAX_RESOLV_CONF {
            true => Err(FilesError::HostFile),
            false => Ok(host.to_vec()),
        };
    };
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let searches = words("dns search", &dns.searches)?;
        text.push_str(&format!("search {searches}\n"));
    }
    bounded("dns server", &dns.servers)?;
    for server in &dns.servers {
        // A zone may follow the address of a link.
        let address = server.split_once('%').map_or(server.as_str(), |(a, _)| a);
        word("dns server", server)?;
        if address.parse::<IpAddr>().is_err() {
            return Err(entry("dns server", server, "is not an IP address"));
        }
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        let options = words("dns option", &dns.options)?;
        text.push_str(&format!("options {options}\n"));
    }
    Ok(text.into_bytes())
}

/// Whether a resolver file names only servers on the host's loopback, which a pod with a network of its own cannot
/// reach; systemd-resolved keeps the real ones in `/run/systemd/resolve/resolv.conf`.
pub fn only_loopback_servers(resolv_conf: &[u8]) -> bool {
    let text = String::from_utf8_lossy(resolv_conf);
    let mut servers = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next())
        .peekable();
    servers.peek().is_some()
        && servers.all(|s| s.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

/// `hosts` of a pod: loopback, and the pod's own name at each of its addresses.
pub fn hosts(hostname: &str, ips: &[IpAddr]) -> Result<String, FilesError> {
    check_hostname(hostname)?;
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for ip in ips {
        text.push_str(&format!("{ip}\t{hostname}\n"));
    }
    Ok(text)
}

/// `hostname` of a pod.
pub fn hostname(hostname: &str) -> Result<String, FilesError> {
    check_hostname(hostname)?;
    Ok(format!("{hostname}\n"))
}

fn check_hostname(hostname: &str) -> Result<(), FilesError> {
    word("hostname", hostname)?;
    match hostname.len() > MAX_HOSTNAME {
        true => Err(entry("hostname", hostname, "is too long")),
        false => Ok(()),
    }
}

fn words(field: &'static str, list: &[String]) -> Result<String, FilesError> {
    bounded(field, list)?;
    list.iter().try_for_each(|text| word(field, text))?;
    Ok(list.join(" "))
}

fn bounded(field: &'static str, list: &[String]) -> Result<(), FilesError> {
    match list.len() > MAX_ENTRIES {
        true => Err(FilesError::TooMany { field }),
        false => Ok(()),
    }
}

fn word(field: &'static str, text: &str) -> Result<(), FilesError> {
    if text.is_empty() {
        return Err(entry(field, text, "is empty"));
    }
    if text.len() > MAX_ENTRY {
        return Err(entry(field, text, "is too long"));
    }
    if text
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || c == '#')
    {
        let reason = "has a space, a line break, '#' or a control character";
        return Err(entry(field, text, reason));
    }
    Ok(())
}

fn entry(field: &'static str, value: &str, reason: &'static str) -> FilesError {
    FilesError::Entry {
        field,
        value: value.chars().take(80).collect(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dns(servers: &[&str], searches: &[&str], options: &[&str]) -> Dns {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Dns {
            servers: own(servers),
            searches: own(searches),
            options: own(options),
        }
    }

    #[test]
    fn resolver_settings() {
        let dns = dns(
            &["10.0.0.10", "fe80::1%eth0"],
            &["ns.svc.cluster.local", "."],
            &["ndots:5", "edns0"],
        );
        assert_eq!(
            String::from_utf8(resolv_conf(Some(&dns), b"host").unwrap()).unwrap(),
            "search ns.svc.cluster.local .\nnameserver 10.0.0.10\nnameserver fe80::1%eth0\noptions ndots:5 edns0\n"
        );
        for none in [None, Some(&Dns::default())] {
            assert_eq!(resolv_conf(none, b"host").unwrap(), b"host");
        }
        assert_eq!(
            resolv_conf(None, &vec![0; MAX_RESOLV_CONF + 1]),
            Err(FilesError::HostFile)
        );
    }

    #[test]
    fn nothing_adds_a_line() {
        for bad in [
            dns(&["10.0.0.1\nnameserver 6.6.6.6"], &[], &[]),
            dns(&["dns.example"], &[], &[]),
            dns(&[""], &[], &[]),
            dns(&[], &["a b"], &[]),
            dns(&[], &["a\noptions x"], &[]),
            dns(&[], &[], &["ndots:5\n"]),
            dns(&[], &[], &["#"]),
            dns(&["10.0.0.1"; 65], &[], &[]),
        ] {
            assert!(resolv_conf(Some(&bad), b"").is_err(), "{bad:?}");
        }
        assert!(hosts("a\n6.6.6.6 b", &[]).is_err());
        assert!(hostname("a b").is_err() && hostname("").is_err());
        assert!(hostname(&"x".repeat(65)).is_err());
    }

    #[test]
    fn hosts_name_the_pod() {
        let ips = ["10.0.0.2", "fd00::2"].map(|ip| ip.parse().unwrap());
        let text = hosts("web-0", &ips).unwrap();
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost"));
        assert!(text.ends_with("10.0.0.2\tweb-0\nfd00::2\tweb-0\n"));
        assert_eq!(hostname("web-0").unwrap(), "web-0\n");
    }

    #[test]
    fn sees_a_stub_resolver() {
        assert!(only_loopback_servers(
            b"# x\nnameserver 127.0.0.53\noptions edns0\n"
        ));
        assert!(!only_loopback_servers(
            b"nameserver 127.0.0.53\nnameserver 10.0.0.1\n"
        ));
        assert!(!only_loopback_servers(b"search x\n"));
    }

    proptest! {
        #[test]
        fn lines_are_as_many_as_entries(servers in proptest::collection::vec(".{0,20}", 0..4), search in ".{0,20}", option in ".{0,20}") {
            let dns = Dns { servers, searches: vec![search], options: vec![option] };
            if let Ok(text) = resolv_conf(Some(&dns), b"") {
                prop_assert_eq!(String::from_utf8(text).unwrap().lines().count(), dns.servers.len() + 2);
            }
        }

        #[test]
        fn hosts_have_one_line_an_address(name in ".{0,70}", ips in proptest::collection::vec(any::<IpAddr>(), 0..4)) {
            if let Ok(text) = hosts(&name, &ips) {
                prop_assert_eq!(text.lines().count(), 6 + ips.len());
            }
        }
    }
}
