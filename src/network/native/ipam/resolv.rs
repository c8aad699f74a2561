//! Resolver settings from a file that a network names. Pure.

use crate::network::cni::result::CniDns;

/// What a `resolv.conf` says, as the plugin host-local reads it.
pub(super) fn parse(text: &str) -> CniDns {
    let mut dns = CniDns::default();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        let (Some(keyword), Some(first)) = (words.next(), words.next()) else {
            continue;
        };
        let all = || std::iter::once(first).chain(words).map(str::to_owned);
        match keyword {
            "nameserver" => dns.nameservers.push(first.to_owned()),
            "domain" => dns.domain = first.to_owned(),
            "search" => dns.search.extend(all()),
            "options" => dns.options.extend(all()),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_counts_that_says_something() {
        let dns = parse(
            "# nameserver 9.9.9.9\n;nameserver 9.9.9.8\nnameserver 1.1.1.1 2.2.2.2\nnameserver fd00::1\n\
             domain a.example\nsearch b.example c.example\nsearch d.example\noptions ndots:2 rotate\nnameserver\nfoo bar\n",
        );
        assert_eq!(dns.nameservers, ["1.1.1.1", "fd00::1"]);
        assert_eq!(dns.domain, "a.example");
        assert_eq!(dns.search, ["b.example", "c.example", "d.example"]);
        assert_eq!(dns.options, ["ndots:2", "rotate"]);
    }
}
