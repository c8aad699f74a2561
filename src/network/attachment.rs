//! What a pod asks of its network and what it gets.

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::cni::{
    args::{ArgsError, Bandwidth},
    chain::INTERFACE,
    result::{CniDns, CniResult, Interface, IpPrefix, Route},
};
use crate::{
    id::Id,
    pod::spec::{Dns, PodSpec, PortMapping},
};

/// A pod to attach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodNetwork {
    /// Its sandbox.
    pub id: Id,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Path of its network namespace.
    pub netns: PathBuf,
    /// Ports published on the host.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Resolver settings.
    #[serde(default)]
    pub dns: Option<Dns>,
    /// Limits of its traffic.
    #[serde(default)]
    pub bandwidth: Bandwidth,
    /// Addresses it wants.
    #[serde(default)]
    pub ips: Vec<IpPrefix>,
    /// Hardware address it wants.
    #[serde(default)]
    pub mac: Option<String>,
    /// Names it wants to be known by.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its cgroup.
    #[serde(default)]
    pub cgroup_path: Option<String>,
    /// Networks its addresses are to be from.
    #[serde(default)]
    pub ip_ranges: Vec<IpPrefix>,
}

impl PodNetwork {
    /// What `spec` asks for.
    pub fn new(id: &Id, spec: &PodSpec, netns: PathBuf) -> Result<Self, ArgsError> {
        Ok(Self {
            ports: spec.port_mappings.clone(),
            dns: spec.dns.clone(),
            bandwidth: Bandwidth::from_annotations(&spec.annotations)?,
            namespace: spec.metadata.namespace.clone(),
            name: spec.metadata.name.clone(),
            uid: spec.metadata.uid.clone(),
            ..Self::bare(id.clone(), netns)
        })
    }

    /// A sandbox of which nothing else is known.
    pub(super) fn bare(id: Id, netns: PathBuf) -> Self {
        Self {
            id,
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
            netns,
            ports: Vec::new(),
            dns: None,
            bandwidth: Bandwidth::default(),
            ips: Vec::new(),
            mac: None,
            aliases: Vec::new(),
            cgroup_path: None,
            ip_ranges: Vec::new(),
        }
    }
}

/// An attached pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// The network.
    pub network: String,
    /// The pod's main link.
    pub interface: String,
    /// Addresses of the pod, its main one first.
    pub ips: Vec<PodIp>,
    /// All links the plugins made, on the host and in the pod.
    pub interfaces: Vec<Interface>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Resolver settings the network suggests.
    pub dns: CniDns,
}

/// An address of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIp {
    /// It, with its network.
    pub address: IpPrefix,
    /// Its network's router.
    pub gateway: Option<IpAddr>,
    /// Its link in the pod, where the plugin said.
    pub interface: Option<String>,
}

impl Attachment {
    /// What a result says of the pod; addresses of links of the host are not the pod's.
    pub(super) fn of_result(network: &str, result: CniResult) -> Self {
        let mut ips = Vec::new();
        for ip in result.ips {
            let link = ip.interface.and_then(|at| result.interfaces.get(at));
            if link.is_some_and(|link| link.sandbox.is_empty()) {
                continue;
            }
            ips.push(PodIp {
                address: ip.address,
                gateway: ip.gateway,
                interface: link.map(|link| link.name.clone()),
            });
        }
        // Links besides the main one come after it, whatever the plugins' order.
        ips.sort_by_key(|ip| {
            ip.interface
                .as_deref()
                .is_some_and(|name| name != INTERFACE)
        });
        Self {
            network: network.to_owned(),
            interface: INTERFACE.to_owned(),
            ips,
            interfaces: result.interfaces,
            routes: result.routes,
            dns: result.dns,
        }
    }

    /// The addresses alone, the main one first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.ips.iter().map(|ip| ip.address.address).collect()
    }

    /// Names of the links on the host.
    pub(super) fn host_links(&self) -> impl Iterator<Item = &str> {
        self.interfaces
            .iter()
            .filter(|link| link.sandbox.is_empty())
            .map(|link| link.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_host_are_not_the_pods() {
        let result = CniResult::parse(
            br#"{"interfaces":[{"name":"br0"},{"name":"net1","sandbox":"/n"},{"name":"eth0","sandbox":"/n"}],
               "ips":[{"address":"10.0.0.1/24","interface":0},{"address":"10.1.0.2/24","interface":1},
               {"address":"10.0.0.2/24","interface":2},{"address":"fd00::2/64"}]}"#,
        )
        .unwrap();
        let attachment = Attachment::of_result("n", result);
        let text: Vec<_> = attachment
            .addresses()
            .iter()
            .map(|ip| ip.to_string())
            .collect();
        assert_eq!(text, ["10.0.0.2", "fd00::2", "10.1.0.2"]);
        assert_eq!(attachment.ips[0].interface.as_deref(), Some("eth0"));
        assert_eq!(attachment.host_links().collect::<Vec<_>>(), ["br0"]);
    }
}
