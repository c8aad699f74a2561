//! A pod whose network is worked on, by a thread that enters its namespace and ends.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    NativeError,
    ipam::{Claim, Ipam, Owner, RangeConf, RangeError, RangeSet},
};
use crate::{
    id::Id,
    network::{
        PodNetwork,
        cni::{chain::INTERFACE, conf::PluginConf, result::CniResult, version::Version},
    },
    sys::{netns, rtnetlink::Rtnetlink},
};

/// Enough for what such a thread does.
pub(super) const STACK: usize = 512 * 1024;

/// What a pod and its network bring to the work.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// The pod's sandbox.
    pub id: Id,
    /// The network's name.
    pub network: String,
    /// The version that results are written in.
    pub version: Version,
    /// The pod's namespace; `None` when it is gone.
    pub netns: Option<PathBuf>,
    /// The hardware address the pod wants.
    pub mac: Option<String>,
    /// The addresses it wants.
    pub wanted: Vec<IpAddr>,
    /// Networks its addresses are to be of besides the configured ones.
    pub ranges: Vec<RangeConf>,
    /// How long a lock may be waited for.
    pub limit: Duration,
    /// What the last ADD of the list returned, or the one before in this.
    pub previous: Option<CniResult>,
}

impl Job {
    /// Of a pod in a network, for a plugin of that network's list.
    pub(super) fn new(
        (network, version): (&str, Version),
        pod: &PodNetwork,
        plugin: &PluginConf,
        limit: Duration,
    ) -> Self {
        let takes = |capability: &str| plugin.capabilities.contains(capability);
        let ips = pod.ips.iter().filter(|_| takes("ips"));
        let ranges = pod.ip_ranges.iter().filter(|_| takes("ipRanges"));
        Self {
            id: pod.id.clone(),
            network: network.to_owned(),
            version,
            netns: None,
            mac: pod.mac.clone().filter(|_| takes("mac")),
            wanted: ips.map(|ip| ip.address).collect(),
            ranges: ranges
                .map(|range| RangeConf::of_subnet(range.network()))
                .collect(),
            limit,
            previous: None,
        }
    }

    /// Name of the pod's link.
    pub(super) fn interface(&self) -> &'static str {
        INTERFACE
    }

    /// Whose addresses are meant.
    pub(super) fn claim(&self) -> Claim<'_> {
        Claim {
            network: &self.network,
            owner: Owner {
                id: self.id.as_str(),
                interface: INTERFACE,
            },
            limit: self.limit,
        }
    }

    /// The address management with the ranges that the pod brings.
    pub(super) fn ipam(&self, ipam: &Ipam) -> Result<Ipam, RangeError> {
        let own = self.ranges.iter();
        let mut sets = own
            .map(|range| RangeSet::new(std::slice::from_ref(range)))
            .collect::<Result<Vec<_>, _>>()?;
        sets.extend(ipam.sets.iter().cloned());
        RangeSet::check_apart(&sets)?;
        Ok(Ipam {
            sets,
            ..ipam.clone()
        })
    }

    /// The hardware address the pod wants, in octets.
    pub(super) fn mac(&self) -> Result<Option<Vec<u8>>, NativeError> {
        let Some(text) = &self.mac else {
            return Ok(None);
        };
        let octets = text.split(':').map(|octet| match octet.len() {
            2 => u8::from_str_radix(octet, 16).ok(),
            _ => None,
        });
        match octets.collect::<Option<Vec<u8>>>() {
            Some(octets) if octets.len() == 6 => Ok(Some(octets)),
            _ => Err(NativeError::Mac(text.clone())),
        }
    }

    /// The addresses that the pod is known to have.
    pub(super) fn known(&self) -> Vec<IpAddr> {
        let ips = self.previous.iter().flat_map(|result| &result.ips);
        ips.map(|ip| ip.address.address).collect()
    }
}

/// Does `work` on a thread of its own, which may enter any namespace.
pub(super) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NativeError> + Send + 'static,
) -> Result<T, NativeError> {
    netns::on_a_thread("pod-network", STACK, work)
        .await
        .map_err(NativeError::Thread)?
        .unwrap_or(Err(NativeError::Died))
}

/// Enters a network namespace for the rest of the thread's life, and opens a socket there.
pub(super) fn enter(path: &Path) -> Result<Rtnetlink, NativeError> {
    netns::enter(path).map_err(|source| NativeError::Enter {
        path: path.to_owned(),
        source,
    })?;
    Ok(Rtnetlink::open()?)
}
