//! The packet filter as text for `nft -f -`. Pure: numbers, addresses and checked names alone become text.

use std::{fmt::Write, net::IpAddr};

use super::table::{Rule, Rules, protocol_text};
use crate::network::cni::result::IpPrefix;

/// A name of a table: safe as a word for nft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName(String);

/// A tag that cannot be a part of a table's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tag {0:?} is not made of 1 to 32 lower-case letters, digits and underscores")]
pub struct TagError(pub String);

impl TableName {
    /// `corten_TAG`.
    pub fn of_tag(tag: &str) -> Result<Self, TagError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if tag.is_empty() || tag.len() > 32 || !tag.bytes().all(plain) {
            return Err(TagError(tag.chars().take(80).collect()));
        }
        Ok(Self(format!("corten_{tag}")))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a link's name can be quoted for nft and be a part of a path.
pub(in crate::network) fn is_plain_link(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..16).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(plain)
}

/// One transaction that makes the table be `rules`, whatever it was before; without rules there is no table.
pub(super) fn script(table: &TableName, rules: &Rules) -> String {
    let name = table.as_str();
    let mut text = format!("add table inet {name}\n");
    if rules.rules.is_empty() {
        text.push_str(&format!("delete table inet {name}\n"));
        return text;
    }
    text.push_str(&frame(name));
    let mut element = |set: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "add element inet {name} {set} {{ {value} }}");
    };
    let (mut ports, mut backends) = (Vec::new(), Vec::new());
    for rule in &rules.rules {
        let (family, protocol) = (family(rule.to), protocol_text(rule.protocol));
        let to = format!("{} . {}", rule.to, rule.port);
        match rule.host_ip {
            None => element(
                &format!("any{family}"),
                format!("{protocol} . {} : {to}", rule.host_port),
            ),
            Some(ip) => element(
                &format!("at{family}"),
                format!("{ip} . {protocol} . {} : {to}", rule.host_port),
            ),
        }
        ports.push(rule.host_port);
        backends.push((family, backend(rule)));
    }
    ports.sort_unstable();
    ports.dedup();
    backends.sort_unstable();
    backends.dedup();
    ports
        .into_iter()
        .for_each(|p| element("ports", p.to_string()));
    for (family, value) in backends {
        element(&format!("backends{family}"), value);
    }
    for network in &rules.networks {
        let IpPrefix { address, length } = network;
        element(
            &format!("networks{}", self::family(*address)),
            format!("{address}/{length}"),
        );
    }
    for link in rules.links.iter().filter(|l| is_plain_link(l)) {
        element("links", format!("\"{link}\""));
    }
    text
}

fn family(ip: IpAddr) -> char {
    if ip.is_ipv4() { '4' } else { '6' }
}

fn backend(rule: &Rule) -> String {
    format!(
        "{} . {} . {}",
        rule.to,
        protocol_text(rule.protocol),
        rule.port
    )
}

/// The table without what it holds. Every line says what is to be, so that it may be run again and again.
fn frame(t: &str) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        text.push_str(&words.replace('@', t));
        text.push('\n');
    };
    for (family, addr) in [('4', "ipv4_addr"), ('6', "ipv6_addr")] {
        for (name, kind) in [
            (
                "any",
                format!(
                    "map inet @ any{family} {{ type inet_proto . inet_service : {addr} . inet_service ; }}"
                ),
            ),
            (
                "at",
                format!(
                    "map inet @ at{family} {{ type {addr} . inet_proto . inet_service : {addr} . inet_service ; }}"
                ),
            ),
            (
                "backends",
                format!(
                    "set inet @ backends{family} {{ type {addr} . inet_proto . inet_service ; }}"
                ),
            ),
            (
                "networks",
                format!(
                    "set inet @ networks{family} {{ type {addr} ; flags interval ; auto-merge ; }}"
                ),
            ),
        ] {
            line(&format!("add {kind}"));
            let what = if kind.starts_with("map") {
                "map"
            } else {
                "set"
            };
            line(&format!("flush {what} inet @ {name}{family}"));
        }
    }
    line("add set inet @ ports { type inet_service ; }");
    line("flush set inet @ ports");
    line("add set inet @ links { type ifname ; }");
    line("flush set inet @ links");
    for (chain, hook) in [
        ("dispatch", ""),
        (
            "incoming",
            " { type nat hook prerouting priority dstnat ; policy accept ; }",
        ),
        (
            "local",
            " { type nat hook output priority -100 ; policy accept ; }",
        ),
        (
            "answers",
            " { type nat hook postrouting priority srcnat ; policy accept ; }",
        ),
        (
            "guard",
            " { type filter hook prerouting priority raw ; policy accept ; }",
        ),
    ] {
        line(&format!("add chain inet @ {chain}{hook}"));
        line(&format!("flush chain inet @ {chain}"));
    }
    let mut rule = |words: &str| {
        text.push_str("add rule inet ");
        text.push_str(t);
        text.push(' ');
        text.push_str(words);
        text.push('\n');
    };
    // Packets of ::1 never leave the loopback link: whoever calls it is refused at once rather than kept waiting.
    rule("dispatch ip6 daddr ::1 return");
    rule("dispatch dnat ip to ip daddr . meta l4proto . th dport map @at4");
    rule("dispatch dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6");
    rule("dispatch meta nfproto ipv4 dnat ip to meta l4proto . th dport map @any4");
    rule("dispatch meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @any6");
    for chain in ["incoming", "local"] {
        rule(&format!("{chain} fib daddr type local jump dispatch"));
    }
    // A pod that calls a port of the host, maybe its own, sits beside the pod that answers: without this the
    // answer would go straight back, from an address that the caller never called.
    for (family, ip) in [('4', "ip"), ('6', "ip6")] {
        rule(&format!(
            "answers ct status dnat {ip} daddr . meta l4proto . th dport @backends{family} \
             meta l4proto {{ tcp, udp, sctp }} ct original proto-dst @ports {ip} saddr @networks{family} masquerade"
        ));
    }
    // So would the answer to 127.0.0.1, which is the pod's own there.
    rule(
        "answers ct status dnat ip daddr . meta l4proto . th dport @backends4 ip saddr 127.0.0.0/8 masquerade",
    );
    // Links that let 127.0.0.1 out must not let it in.
    rule("guard iifname @links ip daddr 127.0.0.0/8 drop");
    rule("guard iifname @links ip saddr 127.0.0.0/8 drop");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::spec::Protocol;

    fn name() -> TableName {
        TableName::of_tag("test").unwrap()
    }

    #[test]
    fn tags_are_words() {
        for bad in ["", "A", "a b", "a;b", "a\n", &"a".repeat(33)] {
            assert!(TableName::of_tag(bad).is_err(), "{bad}");
        }
        assert_eq!(name().as_str(), "corten_test");
    }

    #[test]
    fn without_rules_there_is_no_table() {
        assert_eq!(
            script(&name(), &Rules::default()),
            "add table inet corten_test\ndelete table inet corten_test\n"
        );
    }

    #[test]
    fn every_rule_becomes_an_element() {
        let rule = |host_ip: Option<&str>, to: &str| Rule {
            protocol: Protocol::Udp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 53,
            to: to.parse().unwrap(),
            port: 5353,
        };
        let mut rules = Rules::default();
        rules.rules.insert(rule(None, "10.0.0.2"));
        rules.rules.insert(rule(Some("fd00::1"), "fd00::2"));
        rules.networks.insert("10.0.0.0/24".parse().unwrap());
        rules.links.insert("br0".into());
        rules.links.insert("br\";flush".into());
        let text = script(&name(), &rules);
        for line in [
            "add element inet corten_test any4 { udp . 53 : 10.0.0.2 . 5353 }",
            "add element inet corten_test at6 { fd00::1 . udp . 53 : fd00::2 . 5353 }",
            "add element inet corten_test backends6 { fd00::2 . udp . 5353 }",
            "add element inet corten_test networks4 { 10.0.0.0/24 }",
            "add element inet corten_test links { \"br0\" }",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("flush\""));
    }
}
