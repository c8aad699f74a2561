//! Pods as ports of a bridge: what the plugin bridge does.

use std::{net::IpAddr, path::Path};

use super::{
    NativeError,
    ipam::{Candidate, Lease},
    job::{Job, enter},
    link,
    masquerade::Masquerade,
    plugin::Bridge,
};
use crate::{
    network::cni::result::{CniResult, IpPrefix, Route},
    step::{self, Step},
    sys::rtnetlink::{Address, Link, Rtnetlink},
};

/// Place of the pod's link in a result.
const POD: usize = 2;

/// Attaches a pod. What is done stays done on failure, for DEL to undo. On a thread of its own.
pub(super) fn add(
    bridge: &Bridge,
    job: &Job,
    netns: &Path,
    masquerade: &Masquerade,
) -> Result<CniResult, NativeError> {
    let lease = job.ipam(&bridge.ipam)?.reserve(&job.claim(), &job.wanted)?;
    let mut host = Rtnetlink::open()?;
    let mut result = plan(bridge, &lease);
    let br = ensure(&mut host, bridge)?;
    if bridge.is_gateway {
        become_gateway(&mut host, bridge, &br, &result)?;
    }
    step::reached(Step::BridgeReady);
    let port = link::make(&mut host, job, netns, Some(&br), bridge.mtu)?;
    if bridge.hairpin {
        host.set_hairpin(&port)?;
    }
    if bridge.masquerade {
        masquerade.add_pod(job, &result)?;
    }
    let mut pod = enter(netns)?;
    link::trust_addresses(job);
    let end = link::configure(&mut pod, job, &result)?;
    let port = link::wait_operational(&mut host, &port.name)?;
    // Its hardware address may follow those of its ports.
    let br = link::existing(&mut host, &bridge.name)?;
    result.interfaces = vec![
        link::told(&br, None),
        link::told(&port, None),
        link::told(&end, Some(netns)),
    ];
    Ok(result)
}

/// Whether a pod still is attached as it was. On a thread of its own.
pub(super) fn check(bridge: &Bridge, job: &Job, result: &CniResult) -> Result<(), NativeError> {
    job.ipam(&bridge.ipam)?.check(&job.claim())?;
    let mut host = Rtnetlink::open()?;
    let br = link::existing(&mut host, &bridge.name)?;
    let ports = result.interfaces.iter();
    let ports = ports.filter(|link| link.sandbox.is_empty() && link.name != bridge.name);
    for told in ports {
        let port = link::existing(&mut host, &told.name)?;
        if port.master != Some(br.index) {
            let what = format!("{} is no port of {}", port.name, br.name);
            return Err(NativeError::Changed(what));
        }
    }
    link::check(job, result)
}

/// What a pod with these addresses has, but for its links. Pure.
fn plan(bridge: &Bridge, lease: &Lease) -> CniResult {
    let mut result = CniResult {
        interfaces: Vec::new(),
        ips: lease.ips(POD),
        routes: bridge.ipam.routes.clone(),
        dns: bridge.dns.clone().unwrap_or_else(|| lease.dns.clone()),
    };
    for Candidate { gateway, .. } in &lease.addresses {
        let default = everywhere(gateway);
        let mut routes = result.routes.iter();
        let has_default = routes.any(|route| route.dst == default && route.gw.is_some());
        if bridge.is_default_gateway && !has_default {
            result.routes.push(Route {
                dst: default,
                gw: Some(*gateway),
            });
        }
    }
    result
}

fn everywhere(family_of: &IpAddr) -> IpPrefix {
    IpPrefix {
        address: *family_of,
        length: 0,
    }
    .network()
}

/// The bridge, which is made if needed, and up.
fn ensure(host: &mut Rtnetlink, bridge: &Bridge) -> Result<Link, NativeError> {
    let name = &bridge.name;
    let br = match host.link(name)? {
        Some(br) => br,
        None => {
            // Another pod may be first.
            link::unless_there(host.add_bridge(name, bridge.mtu))?;
            link::existing(host, name)?
        }
    };
    if br.kind != "bridge" {
        return Err(NativeError::NoBridge(name.clone()));
    }
    if bridge.promiscuous && !br.is_promiscuous {
        host.set_promiscuous(&br)?;
    }
    link::set_if_there(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
    if !br.is_up {
        host.set_up(&br)?;
    }
    Ok(br)
}

/// Gives the bridge the addresses of the pods' routers, and has the host send on what comes to them.
fn become_gateway(
    host: &mut Rtnetlink,
    bridge: &Bridge,
    br: &Link,
    result: &CniResult,
) -> Result<(), NativeError> {
    let gateways: Vec<Address> = result
        .ips
        .iter()
        .filter_map(|ip| Some(Address::new(ip.gateway?, ip.address.length)))
        .collect();
    for gateway in &gateways {
        ensure_address(host, bridge, br, gateway)?;
    }
    link::forward(gateways.iter().map(|gateway| gateway.ip))
}

fn ensure_address(
    host: &mut Rtnetlink,
    bridge: &Bridge,
    br: &Link,
    wanted: &Address,
) -> Result<(), NativeError> {
    let has = host.addresses(br)?;
    let same = |a: &Address| (a.ip, a.length) == (wanted.ip, wanted.length);
    if has.iter().any(same) {
        return Ok(());
    }
    for other in has.iter().filter(|other| is_in_the_way(other, wanted)) {
        if !bridge.force_address {
            return Err(NativeError::OtherAddress {
                bridge: bridge.name.clone(),
                has: format!("{}/{}", other.ip, other.length),
                wanted: format!("{}/{}", wanted.ip, wanted.length),
            });
        }
        link::unless_missing(host.delete_address(br, other))?;
    }
    link::unless_there(host.add_address(br, wanted))?;
    // Otherwise it is the lowest of its ports', and changes as they come and go.
    Ok(host.pin_mac(br)?)
}

/// A bridge has one address of IPv4, and as many of IPv6 as there are networks.
fn is_in_the_way(other: &Address, wanted: &Address) -> bool {
    let length = other.length.min(wanted.length);
    let network = |a: &Address| {
        IpPrefix {
            address: a.ip,
            length,
        }
        .network()
    };
    match (other.ip, wanted.ip) {
        (IpAddr::V4(_), IpAddr::V4(_)) => true,
        (IpAddr::V6(_), IpAddr::V6(_)) => network(other) == network(wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        let prefix: IpPrefix = text.parse().unwrap();
        Address::new(prefix.address, prefix.length)
    }

    #[test]
    fn one_address_of_ipv4_and_one_of_each_network_of_ipv6() {
        for (other, wanted, is) in [
            ("10.0.0.1/24", "10.1.0.1/24", true),
            ("10.0.0.1/24", "fd00::1/64", false),
            ("fd00::1/64", "fd01::1/64", false),
            ("fd00::1/64", "fd00::2/64", true),
            ("fd00::1/48", "fd00:0:0:9::1/64", true),
            ("fe80::1/64", "fd00::1/64", false),
        ] {
            assert_eq!(
                is_in_the_way(&address(other), &address(wanted)),
                is,
                "{other} {wanted}"
            );
        }
    }
}
