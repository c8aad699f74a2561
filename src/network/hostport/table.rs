//! Which pod has which port of the host. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use crate::{
    id::Id,
    network::cni::result::IpPrefix,
    pod::spec::{PortMapping, Protocol},
};

/// A port that another pod has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("host port {} is taken by pod {pod} (sandbox {id})", port_text(port))]
pub struct Conflict {
    /// The port as asked for.
    pub port: PortMapping,
    /// Who has it, as namespace/name.
    pub pod: String,
    /// Who has it.
    pub id: Id,
}

fn port_text(port: &PortMapping) -> String {
    let protocol = protocol_text(port.protocol);
    match port.host_ip {
        None => format!("{}/{protocol}", port.host_port),
        Some(IpAddr::V6(ip)) => format!("[{ip}]:{}/{protocol}", port.host_port),
        Some(IpAddr::V4(ip)) => format!("{ip}:{}/{protocol}", port.host_port),
    }
}

/// As packet filters and people write it.
pub(super) fn protocol_text(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// What a pod has.
#[derive(Debug, Clone, PartialEq)]
struct Pod {
    label: String,
    ports: Vec<PortMapping>,
    /// Where to send packets, where this runtime does that.
    target: Option<Target>,
}

/// Where the packets of a pod's ports go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// Addresses of the pod, with their networks.
    pub ips: Vec<IpPrefix>,
    /// Links of the host through which pods are reached from 127.0.0.1.
    pub links: BTreeSet<String>,
}

/// All pods' ports.
#[derive(Debug, Default)]
pub(super) struct PortTable {
    pods: BTreeMap<Id, Pod>,
}

/// Packets to a port of the host go to a pod's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address of the host; `None` for all of the family of `to`.
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host_port: u16,
    /// Address of the pod.
    pub to: IpAddr,
    /// Port of the pod.
    pub port: u16,
}

/// All that is to be in the packet filter.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rules {
    /// Ports.
    pub rules: BTreeSet<Rule>,
    /// Networks whose pods, calling a port, must be answered by way of the host.
    pub networks: BTreeSet<IpPrefix>,
    /// Links through which pods are reached from 127.0.0.1.
    pub links: BTreeSet<String>,
}

impl PortTable {
    /// Gives ports to a pod, which has none yet, or says who has one of them.
    pub(super) fn reserve(
        &mut self,
        id: &Id,
        label: &str,
        ports: &[PortMapping],
    ) -> Result<(), Box<Conflict>> {
        for (n, port) in ports.iter().enumerate() {
            let twice = ports[..n]
                .iter()
                .any(|p| overlap(p, port))
                .then_some((id, label));
            let other = self
                .pods
                .iter()
                .filter(|(other, _)| *other != id)
                .find(|(_, pod)| pod.ports.iter().any(|p| overlap(p, port)))
                .map(|(id, pod)| (id, pod.label.as_str()));
            if let Some((id, pod)) = twice.or(other) {
                return Err(Box::new(Conflict {
                    port: port.clone(),
                    pod: pod.to_owned(),
                    id: id.clone(),
                }));
            }
        }
        if !ports.is_empty() {
            let pod = Pod {
                label: label.to_owned(),
                ports: ports.to_vec(),
                target: None,
            };
            self.pods.insert(id.clone(), pod);
        }
        Ok(())
    }

    /// Packets to the pod's ports are ours to send on, to here.
    pub(super) fn point(&mut self, id: &Id, target: Target) {
        if let Some(pod) = self.pods.get_mut(id) {
            pod.target = Some(target);
        }
    }

    /// Takes a pod's ports back.
    pub(super) fn release(&mut self, id: &Id) {
        self.pods.remove(id);
    }

    /// What is to be in the packet filter.
    pub(super) fn rules(&self) -> Rules {
        let mut all = Rules::default();
        for pod in self.pods.values() {
            let Some(target) = &pod.target else { continue };
            for port in &pod.ports {
                // One address of a family: a pod's first is its main one.
                for v4 in [true, false] {
                    let to = target.ips.iter().find(|ip| ip.address.is_ipv4() == v4);
                    let Some(to) = to.filter(|_| takes(port.host_ip, v4)) else {
                        continue;
                    };
                    all.networks.insert(to.network());
                    all.rules.insert(Rule {
                        protocol: port.protocol,
                        host_ip: port.host_ip.filter(|ip| !ip.is_unspecified()),
                        host_port: port.host_port,
                        to: to.address,
                        port: port.container_port,
                    });
                    if v4 && reaches_localhost(port.host_ip) {
                        all.links.extend(target.links.iter().cloned());
                    }
                }
            }
        }
        all
    }
}

/// Whether a port on this address takes packets of a family.
pub(super) fn takes(host_ip: Option<IpAddr>, v4: bool) -> bool {
    host_ip.is_none_or(|ip| ip.is_ipv4() == v4)
}

fn reaches_localhost(host_ip: Option<IpAddr>) -> bool {
    match host_ip {
        None => true,
        Some(IpAddr::V4(ip)) => ip == Ipv4Addr::UNSPECIFIED || ip.is_loopback(),
        Some(IpAddr::V6(_)) => false,
    }
}

fn overlap(a: &PortMapping, b: &PortMapping) -> bool {
    let addresses = match (a.host_ip, b.host_ip) {
        (None, _) | (_, None) => true,
        (Some(x), Some(y)) => {
            x.is_ipv4() == y.is_ipv4() && (x == y || x.is_unspecified() || y.is_unspecified())
        }
    };
    a.protocol == b.protocol && a.host_port == b.host_port && addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn port(host_port: u16, host_ip: Option<&str>) -> PortMapping {
        PortMapping {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_port,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        }
    }

    fn dual() -> Target {
        Target {
            ips: ["10.1.2.3/24", "fd00::3/64", "10.9.9.9/24"]
                .map(|t| t.parse().unwrap())
                .to_vec(),
            links: BTreeSet::from(["br0".to_owned()]),
        }
    }

    #[test]
    fn names_who_has_a_port() {
        let mut table = PortTable::default();
        let (a, b) = (Id::random(), Id::random());
        table.reserve(&a, "ns/web", &[port(8080, None)]).unwrap();
        let error = table
            .reserve(
                &b,
                "ns/other",
                &[port(1, None), port(8080, Some("10.0.0.1"))],
            )
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("host port 10.0.0.1:8080/tcp is taken by pod ns/web (sandbox {a})")
        );
        // Nothing of a refused reservation stays.
        table.reserve(&a, "ns/web", &[port(8080, None)]).unwrap();
        table.reserve(&b, "ns/other", &[port(1, None)]).unwrap();
        table.release(&a);
        table.release(&a);
        table.reserve(&b, "ns/other", &[port(8080, None)]).unwrap();
        assert!(
            table
                .reserve(&a, "ns/web", &[port(9, None), port(9, Some("::1"))])
                .is_err()
        );
    }

    #[test]
    fn addresses_and_protocols_tell_ports_apart() {
        let mut table = PortTable::default();
        for ip in ["10.0.0.1", "10.0.0.2", "::"] {
            table
                .reserve(&Id::random(), "x", &[port(80, Some(ip))])
                .unwrap();
        }
        for ip in ["0.0.0.0", "10.0.0.1", "fd00::1"] {
            assert!(
                table
                    .reserve(&Id::random(), "x", &[port(80, Some(ip))])
                    .is_err()
            );
        }
        let udp = PortMapping {
            protocol: Protocol::Udp,
            ..port(80, None)
        };
        table.reserve(&Id::random(), "x", &[udp]).unwrap();
    }

    #[test]
    fn rules_follow_the_families() {
        let mut table = PortTable::default();
        let id = Id::random();
        let ports = [
            port(1, None),
            port(2, Some("0.0.0.0")),
            port(3, Some("fd00::9")),
            port(4, Some("192.0.2.1")),
        ];
        table.reserve(&id, "x", &ports).unwrap();
        assert_eq!(table.rules(), Rules::default());
        table.point(&id, dual());
        let rules = table.rules();
        let text: Vec<_> = rules
            .rules
            .iter()
            .map(|r| format!("{:?} {} {}", r.host_ip, r.host_port, r.to))
            .collect();
        assert_eq!(
            text,
            [
                "None 1 10.1.2.3",
                "None 1 fd00::3",
                "None 2 10.1.2.3",
                "Some(192.0.2.1) 4 10.1.2.3",
                "Some(fd00::9) 3 fd00::3"
            ]
        );
        assert_eq!(rules.networks.len(), 2);
        assert_eq!(rules.links.len(), 1);
        table.release(&id);
        assert_eq!(table.rules(), Rules::default());
    }

    proptest! {
        /// Whatever is asked for, no packet has two ways to go.
        #[test]
        fn no_two_rules_match_one_packet(asked in proptest::collection::vec((0u16..4, 0usize..5), 0..40)) {
            let addresses = [None, Some("0.0.0.0"), Some("10.0.0.1"), Some("::"), Some("fd00::1")];
            let mut table = PortTable::default();
            for (n, at) in asked {
                let id = Id::random();
                if table.reserve(&id, "x", &[port(n, addresses[at])]).is_ok() {
                    table.point(&id, dual());
                }
            }
            let mut seen = BTreeSet::new();
            for rule in table.rules().rules {
                let family = rule.to.is_ipv4();
                prop_assert!(seen.insert((rule.host_port, family, rule.host_ip)));
                if rule.host_ip.is_some() {
                    prop_assert!(!seen.contains(&(rule.host_port, family, None)));
                }
            }
        }
    }
}
