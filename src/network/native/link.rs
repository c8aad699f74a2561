//! The pod's link, as all plugins that make one make it.

use std::{
    fs::{self, File},
    io,
    net::IpAddr,
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::mpsc,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use super::{
    NativeError,
    job::{Job, STACK, enter},
};
use crate::{
    id::Id,
    network::cni::result::{CniResult, Interface},
    step::{self, Step},
    sys::rtnetlink::{Address, Departures, Link, Route, Rtnetlink, RtnetlinkError, Scope, Veth},
};

/// How often a name by chance is looked for that no other link has.
const TRIES: usize = 10;
/// How long packets may take to pass through a link that is up.
const OPERATIONAL: Duration = Duration::from_millis(2500);
/// How long it may take to be sure that no other machine has an address.
const SETTLED: Duration = Duration::from_secs(10);

/// A link that is there.
pub(super) fn existing(netlink: &mut Rtnetlink, name: &str) -> Result<Link, NativeError> {
    let link = netlink.link(name)?;
    link.ok_or_else(|| NativeError::Gone(name.to_owned()))
}

/// Makes the pod's link and the host's end of it, which is returned, and up.
pub(super) fn make(
    host: &mut Rtnetlink,
    job: &Job,
    netns: &Path,
    master: Option<&Link>,
    mtu: Option<u32>,
) -> Result<Link, NativeError> {
    let file = File::open(netns).map_err(|source| NativeError::Enter {
        path: netns.to_owned(),
        source,
    })?;
    let mac = job.mac()?;
    let mut tries = 0;
    let name = loop {
        let name = format!("veth{}", &Id::random().as_str()[..8]);
        let made = host.add_veth(&Veth {
            name: &name,
            master: master.map(|link| link.index),
            peer: job.interface(),
            netns: file.as_fd(),
            mac: mac.as_deref(),
            mtu,
        });
        tries += 1;
        match made {
            Ok(()) => break name,
            // Or the pod has such a link already: then it goes on being refused.
            Err(e) if e.is_there_already() && tries < TRIES => {}
            Err(e) => return Err(e.into()),
        }
    };
    step::reached(Step::PodLinkMade);
    // Routes of this link are ours to make.
    set_if_there(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
    let link = existing(host, &name)?;
    host.set_up(&link)?;
    Ok(link)
}

/// Gives the pod's link its addresses and routes, and brings it up. The thread is in the pod's namespace.
pub(super) fn configure(
    pod: &mut Rtnetlink,
    job: &Job,
    result: &CniResult,
) -> Result<Link, NativeError> {
    let name = job.interface();
    let link = existing(pod, name)?;
    if result.ips.iter().any(|ip| ip.address.address.is_ipv6()) {
        for name in ["lo", name] {
            enable_ipv6(name)?;
        }
    }
    for ip in &result.ips {
        let address = Address::new(ip.address.address, ip.address.length);
        pod.add_address(&link, &address)?;
    }
    pod.set_up(&link)?;
    let gateway = |ipv4: bool| {
        let mut gateways = result.ips.iter().filter_map(|ip| ip.gateway);
        gateways.find(|gateway| gateway.is_ipv4() == ipv4)
    };
    if gateway(false).is_some() {
        settle(pod, &link)?;
    }
    for route in &result.routes {
        let to = (route.dst.address, route.dst.length);
        let route = Route {
            to,
            gateway: route.gw.or_else(|| gateway(to.0.is_ipv4())),
            from: None,
            scope: Scope::Universe,
        };
        unless_there(pod.add_route(&link, &route))?;
    }
    step::reached(Step::PodLinkConfigured);
    existing(pod, name)
}

/// Has the pod's link take its addresses for its own, and tell of them when it comes up. The thread is in the pod's
/// namespace.
pub(super) fn trust_addresses(job: &Job) {
    let name = job.interface();
    set_if_there(&format!("net/ipv6/conf/{name}/accept_dad"), "0");
    set_if_there(&format!("net/ipv4/conf/{name}/arp_notify"), "1");
}

/// Takes a second one of the same for the first.
pub(super) fn unless_there(done: Result<(), RtnetlinkError>) -> Result<(), RtnetlinkError> {
    match done {
        Err(e) if e.is_there_already() => Ok(()),
        done => done,
    }
}

/// Takes one that is no more for gone.
pub(super) fn unless_missing(done: Result<(), RtnetlinkError>) -> Result<(), RtnetlinkError> {
    match done {
        Err(e) if e.is_missing() => Ok(()),
        done => done,
    }
}

fn enable_ipv6(name: &str) -> Result<(), NativeError> {
    let path = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"));
    // Where it cannot be read there is no IPv6, and the address will be refused.
    match fs::read_to_string(&path) {
        Ok(value) if value.trim() != "0" => write(path, "0"),
        _ => Ok(()),
    }
}

fn settle(pod: &mut Rtnetlink, link: &Link) -> Result<(), NativeError> {
    let until = Instant::now() + SETTLED;
    loop {
        let addresses = pod.addresses(link)?;
        let waiting = |a: &&Address| a.ip.is_ipv6() && a.is_tentative;
        if addresses.iter().find(waiting).is_none() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(NativeError::Tentative(link.name.clone()));
        }
        sleep(Duration::from_millis(10));
    }
}

/// Waits until packets pass through the host's end of a pod's link.
pub(super) fn wait_operational(host: &mut Rtnetlink, name: &str) -> Result<Link, NativeError> {
    let until = Instant::now() + OPERATIONAL;
    let mut pause = Duration::from_micros(200);
    loop {
        let link = existing(host, name)?;
        if link.is_operational {
            return Ok(link);
        }
        if Instant::now() > until {
            return Err(NativeError::NotOperational(name.to_owned()));
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Deletes the pod's link, and the host's end with it. Idempotent; the thread stays in the pod's namespace.
pub(super) fn delete(job: &Job) -> Result<(), NativeError> {
    let Some(netns) = &job.netns else {
        return Ok(());
    };
    // Of the host's end, and so opened before the pod's namespace is entered.
    let departures = Departures::open().ok();
    let mut pod = enter(netns)?;
    if let Some(link) = pod.link(job.interface())? {
        delete_pair(pod, link, departures.as_ref())?;
    }
    step::reached(Step::PodLinkDeleted);
    Ok(())
}

/// Deletes a pair of links, one of which is in the thread's namespace. The kernel keeps who deletes one waiting for some
/// thirty milliseconds after it is gone, until nobody on any processor can still be looking at it; so another thread
/// waits for that, and this one until the host is told that the link is gone.
fn delete_pair(
    mut pod: Rtnetlink,
    link: Link,
    departures: Option<&Departures>,
) -> Result<(), NativeError> {
    let (open, held) = UnixStream::pair().map_err(NativeError::Thread)?;
    let (sender, outcome) = mpsc::channel();
    let peer = link.peer;
    let delete = move || {
        // Nobody may be waiting any more.
        let _ = sender.send(unless_missing(pod.delete_link(&link)));
        drop(held);
    };
    // It is in the namespace that this one is in.
    let thread = thread::Builder::new()
        .name("pod-link".into())
        .stack_size(STACK);
    thread.spawn(delete).map_err(NativeError::Thread)?;
    if let (Some(departures), Some(peer)) = (departures, peer)
        && departures.wait(peer, open.as_fd()).unwrap_or(false)
    {
        return Ok(());
    }
    let deleted = outcome.recv().map_err(|_| NativeError::Died)?;
    Ok(deleted?)
}

/// Packets of these families are sent on.
pub(super) fn forward(gateways: impl IntoIterator<Item = IpAddr>) -> Result<(), NativeError> {
    for gateway in gateways {
        let path = match gateway {
            IpAddr::V4(_) => "/proc/sys/net/ipv4/ip_forward",
            IpAddr::V6(_) => "/proc/sys/net/ipv6/conf/all/forwarding",
        };
        let on = fs::read_to_string(path).is_ok_and(|value| value.trim() == "1");
        if !on {
            write(path.into(), "1")?;
        }
    }
    Ok(())
}

/// Sets a kernel parameter of the thread's network namespace where there is one.
pub(super) fn set_if_there(name: &str, value: &str) {
    // A kernel without IPv6 has none of them.
    let _ = fs::write(Path::new("/proc/sys").join(name), value);
}

fn write(path: PathBuf, value: &str) -> Result<(), NativeError> {
    let done: io::Result<()> = fs::write(&path, value);
    done.map_err(|source| NativeError::Parameter { path, source })
}

/// A link in a result.
pub(super) fn told(link: &Link, sandbox: Option<&Path>) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: link.mac_text(),
        mtu: Some(link.mtu),
        sandbox: sandbox
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
    }
}

/// Whether the pod's link is as a result says. The thread stays in the pod's namespace.
pub(super) fn check(job: &Job, result: &CniResult) -> Result<(), NativeError> {
    let name = job.interface();
    let changed = |what: String| Err(NativeError::Changed(what));
    let Some(netns) = &job.netns else {
        return changed("the pod's network namespace is gone".into());
    };
    let mut pod = enter(netns)?;
    let link = existing(&mut pod, name)?;
    let told = result.interfaces.iter();
    let told = told.filter(|link| !link.sandbox.is_empty() && link.name == name);
    for told in told {
        if told.mac != link.mac_text() {
            return changed(format!(
                "{name} has the address {}, and not {}",
                link.mac_text(),
                told.mac
            ));
        }
    }
    let has = pod.addresses(&link)?;
    for ip in &result.ips {
        let wanted = (ip.address.address, ip.address.length);
        if !has.iter().any(|a| (a.ip, a.length) == wanted) {
            return changed(format!("{name} does not have the address {}", ip.address));
        }
    }
    let routes = pod.routes(&link)?;
    for route in &result.routes {
        let wanted = (route.dst.address, route.dst.length);
        let through = |r: &&Route| route.gw.is_none() || r.gateway == route.gw;
        if !routes.iter().filter(through).any(|r| r.to == wanted) {
            return changed(format!("{name} has no route to {}", route.dst));
        }
    }
    Ok(())
}
