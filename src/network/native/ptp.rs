//! Pods with a link to the host alone: what the plugin ptp does.

use std::{net::IpAddr, path::Path};

use super::{
    NativeError,
    ipam::Lease,
    job::{Job, enter},
    link,
    masquerade::Masquerade,
    plugin::Ptp,
};
use crate::{
    network::cni::result::CniResult,
    sys::rtnetlink::{Address, Link, Route, Rtnetlink, Scope},
};

/// Place of the pod's link in a result.
const POD: usize = 1;

/// Attaches a pod. What is done stays done on failure, for DEL to undo. On a thread of its own.
pub(super) fn add(
    ptp: &Ptp,
    job: &Job,
    netns: &Path,
    masquerade: &Masquerade,
) -> Result<CniResult, NativeError> {
    let lease = job.ipam(&ptp.ipam)?.reserve(&job.claim(), &job.wanted)?;
    let mut result = plan(ptp, &lease);
    link::forward(result.ips.iter().map(|ip| ip.address.address))?;
    let mut host = Rtnetlink::open()?;
    let here = link::make(&mut host, job, netns, None, ptp.mtu)?;
    lead_to_pod(&mut host, &here, &result)?;
    if ptp.masquerade {
        masquerade.add_pod(job, &result)?;
    }
    let mut pod = enter(netns)?;
    let end = link::configure(&mut pod, job, &result)?;
    lead_to_host(&mut pod, &end, &result)?;
    let here = link::existing(&mut host, &here.name)?;
    result.interfaces = vec![link::told(&here, None), link::told(&end, Some(netns))];
    Ok(result)
}

/// Whether a pod still is attached as it was. On a thread of its own.
pub(super) fn check(ptp: &Ptp, job: &Job, result: &CniResult) -> Result<(), NativeError> {
    job.ipam(&ptp.ipam)?.check(&job.claim())?;
    link::check(job, result)
}

/// What a pod with these addresses has, but for its links. Pure.
fn plan(ptp: &Ptp, lease: &Lease) -> CniResult {
    CniResult {
        interfaces: Vec::new(),
        ips: lease.ips(POD),
        routes: ptp.ipam.routes.clone(),
        dns: ptp.dns.clone().unwrap_or_else(|| lease.dns.clone()),
    }
}

/// The host's end has the routers' addresses, and is the way to the pod's.
fn lead_to_pod(host: &mut Rtnetlink, link: &Link, result: &CniResult) -> Result<(), NativeError> {
    for ip in &result.ips {
        let Some(gateway) = ip.gateway else { continue };
        host.add_address(link, &Address::new(gateway, all_bits(gateway)))?;
        let route = Route {
            to: whole(ip.address.address),
            gateway: None,
            from: None,
            scope: Scope::Host,
        };
        link::unless_there(host.add_route(link, &route))?;
    }
    Ok(())
}

/// All that the pod sends goes to the host, for there is nobody else on the link.
fn lead_to_host(pod: &mut Rtnetlink, link: &Link, result: &CniResult) -> Result<(), NativeError> {
    for ip in &result.ips {
        let Some(gateway) = ip.gateway else { continue };
        let network = ip.address.network();
        let made_by_kernel = Route {
            to: (network.address, network.length),
            gateway: None,
            from: None,
            scope: Scope::Nowhere,
        };
        pod.delete_route(link, &made_by_kernel)?;
        let to_host = Route {
            to: whole(gateway),
            gateway: None,
            from: Some(ip.address.address),
            scope: Scope::Link,
        };
        pod.add_route(link, &to_host)?;
        let through_host = Route {
            to: (network.address, network.length),
            gateway: Some(gateway),
            from: Some(ip.address.address),
            scope: Scope::Universe,
        };
        pod.add_route(link, &through_host)?;
    }
    Ok(())
}

fn whole(ip: IpAddr) -> (IpAddr, u8) {
    (ip, all_bits(ip))
}

fn all_bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}
