//! Addresses of pods, given away as the plugin host-local does it.

mod range;
mod resolv;
mod store;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub(super) use range::{Candidate, RangeConf, RangeError, RangeSet};
pub(super) use store::{Owner, StoreError};

use crate::{
    network::cni::result::{CniDns, IpConfig, Route},
    step::{self, Step},
};
use store::Store;

/// Where reservations are kept when a network does not say.
pub(super) const DATA_DIR: &str = "/var/lib/cni/networks";
/// Most that is read of a resolver file.
const MAX_RESOLV_CONF: u64 = 1 << 20;

/// How addresses are managed: host-local's configuration, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipam {
    /// Where reservations are kept.
    pub data_dir: PathBuf,
    /// A pod has an address of each.
    pub sets: Vec<RangeSet>,
    /// What a pod's routes are.
    pub routes: Vec<Route>,
    /// A file with resolver settings.
    pub resolv_conf: Option<PathBuf>,
}

/// Who wants addresses, and which.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The network's name.
    pub network: &'a str,
    /// For whom.
    pub owner: Owner<'a>,
    /// How long the lock may be waited for.
    pub limit: Duration,
}

/// What a pod was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lease {
    /// An address of each range set.
    pub addresses: Vec<Candidate>,
    /// Resolver settings of the network.
    pub dns: CniDns,
}

/// An address that could not be given away or taken back.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// The records.
    #[error("address reservations")]
    Store(#[from] StoreError),
    /// All are in use.
    #[error("no IP addresses available in range set: {0}")]
    Exhausted(RangeSet),
    /// It has one.
    #[error("{ip} has been allocated to {id}, duplicate allocation is not allowed")]
    Duplicate {
        /// Which.
        ip: IpAddr,
        /// Who.
        id: String,
    },
    /// The network's own.
    #[error("requested ip {0} is subnet's gateway")]
    Gateway(IpAddr),
    /// Somebody has it.
    #[error("requested IP address {ip} is not available in range set {set}")]
    Taken {
        /// Which.
        ip: IpAddr,
        /// Of what.
        set: RangeSet,
    },
    /// No range has it.
    #[error("failed to allocate all requested IPs: {0}")]
    Foreign(IpAddr),
    /// A pod that should have one.
    #[error("no address is reserved for {0}")]
    NotReserved(String),
    /// The resolver file.
    #[error("resolvConf: {}", path.display())]
    ResolvConf {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Lease {
    /// The addresses as a result has them, of the link at a place in it.
    pub fn ips(&self, link: usize) -> Vec<IpConfig> {
        let addresses = self.addresses.iter();
        addresses
            .map(|candidate| IpConfig {
                address: candidate.address,
                gateway: Some(candidate.gateway),
                interface: Some(link),
            })
            .collect()
    }
}

impl Ipam {
    /// Gives an address of each range set, the wanted ones where there are. On failure none is given. Blocking.
    pub fn reserve(&self, claim: &Claim<'_>, wanted: &[IpAddr]) -> Result<Lease, IpamError> {
        let dns = match &self.resolv_conf {
            Some(path) => read_resolv_conf(path)?,
            None => CniDns::default(),
        };
        let store = Store::open(&self.data_dir, claim.network, claim.limit)?;
        self.check_unreserved(&store, claim)?;
        let mut addresses = Vec::new();
        let mut wanted = wanted.to_vec();
        let mut all = || {
            for (index, set) in self.sets.iter().enumerate() {
                let at = wanted.iter().position(|ip| set.find(*ip).is_some());
                let one = at.map(|at| wanted.remove(at));
                let address = reserve_one(&store, claim, index, set, one)?;
                step::reached(Step::AddressReserved);
                addresses.push(address);
            }
            match wanted.first() {
                Some(ip) => Err(IpamError::Foreign(*ip)),
                None => Ok(()),
            }
        };
        if let Err(e) = all() {
            let given: Vec<IpAddr> = addresses.iter().map(|c| c.address.address).collect();
            if !given.is_empty() {
                store.release(&claim.owner, &given)?;
            }
            return Err(e);
        }
        Ok(Lease { addresses, dns })
    }

    /// A pod has no two addresses of one range set.
    fn check_unreserved(&self, store: &Store, claim: &Claim<'_>) -> Result<(), IpamError> {
        let has = store.of(&claim.owner)?;
        let of_ours = |ip: &&IpAddr| self.sets.iter().any(|set| set.find(**ip).is_some());
        match has.iter().find(of_ours) {
            None => Ok(()),
            Some(ip) => Err(IpamError::Duplicate {
                ip: *ip,
                id: claim.owner.id.to_owned(),
            }),
        }
    }

    /// Takes a pod's addresses back; `known` are those that it is thought to have. Idempotent; blocking.
    pub fn release(&self, claim: &Claim<'_>, known: &[IpAddr]) -> Result<(), IpamError> {
        // It has one of each set: where fewer are known, the others are looked for.
        let all = if known.len() < self.sets.len() {
            &[]
        } else {
            known
        };
        if let Some(store) = Store::existing(&self.data_dir, claim.network, claim.limit)? {
            store.release(&claim.owner, all)?;
        }
        step::reached(Step::AddressesReleased);
        Ok(())
    }

    /// Whether a pod has an address, whichever. Blocking.
    pub fn check(&self, claim: &Claim<'_>) -> Result<(), IpamError> {
        let none = || IpamError::NotReserved(claim.owner.id.to_owned());
        let store = Store::existing(&self.data_dir, claim.network, claim.limit)?;
        let has = store.ok_or_else(none)?.of(&claim.owner)?;
        match has.is_empty() {
            true => Err(none()),
            false => Ok(()),
        }
    }

    /// Takes all addresses of a network back but those of the pods in `valid`; says how many it were. Blocking.
    pub fn keep_only(
        &self,
        network: &str,
        valid: &[Owner<'_>],
        limit: Duration,
    ) -> Result<usize, IpamError> {
        match Store::existing(&self.data_dir, network, limit)? {
            Some(store) => {
                let stray = |text: &str| !store::is_of_any(text, valid.iter().copied());
                Ok(store.release_those(stray)?)
            }
            None => Ok(0),
        }
    }
}

fn reserve_one(
    store: &Store,
    claim: &Claim<'_>,
    index: usize,
    set: &RangeSet,
    wanted: Option<IpAddr>,
) -> Result<Candidate, IpamError> {
    if let Some(ip) = wanted {
        let taken = || IpamError::Taken {
            ip,
            set: set.clone(),
        };
        let candidate = set.find(ip).ok_or_else(taken)?;
        if candidate.gateway == ip {
            return Err(IpamError::Gateway(ip));
        }
        return match store.reserve(ip, &claim.owner, index)? {
            true => Ok(candidate),
            false => Err(taken()),
        };
    }
    for candidate in set.candidates(store.last(index)) {
        if store.reserve(candidate.address.address, &claim.owner, index)? {
            return Ok(candidate);
        }
    }
    Err(IpamError::Exhausted(set.clone()))
}

fn read_resolv_conf(path: &Path) -> Result<CniDns, IpamError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_RESOLV_CONF).read_to_string(&mut text))
        .map_err(|source| IpamError::ResolvConf {
            path: path.to_owned(),
            source,
        })?;
    Ok(resolv::parse(&text))
}
