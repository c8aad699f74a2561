//! Pods that call the world by the host's address: one table of the packet filter, held to the account of who does.
//!
//! The account follows from the records of attachments. While the networks in it stay the same, a pod comes and goes as an
//! element of a set; otherwise, and first after a start, the table is made anew in one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::job::Job;
use crate::{
    id::Id,
    network::cni::result::{CniResult, IpPrefix},
    step::{self, Step},
    sys::{
        nftables::{Masked, SetKind, Transaction},
        rtnetlink::octets,
    },
};

const CHAIN: &str = "postrouting";

/// The packet filter would not.
#[derive(Debug, thiserror::Error)]
#[error("masquerading pods: table inet {table}")]
pub struct MasqueradeError {
    table: String,
    #[source]
    source: io::Error,
}

/// All pods that are masqueraded.
#[derive(Debug)]
pub struct Masquerade {
    table: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Addresses with their networks.
    pods: BTreeMap<Id, Vec<IpPrefix>>,
    /// The networks that the kernel's table is made for; `None` when that is not known.
    told: Option<BTreeSet<IpPrefix>>,
}

impl Masquerade {
    /// Nothing is told to the kernel yet. `tag` tells daemons apart: lower-case letters, digits, underscores.
    pub fn new(tag: &str) -> Self {
        Self {
            // No tag has a '-': this is no other daemon's table of host ports.
            table: format!("corten-masquerade_{tag}"),
            state: Mutex::default(),
        }
    }

    /// Takes up a pod that an earlier run masqueraded, for [`Self::restore`] to make it so.
    pub fn remember(&self, id: &Id, addresses: Vec<IpPrefix>) {
        self.state().pods.insert(id.clone(), addresses);
    }

    /// Whether a pod is masqueraded.
    pub fn has(&self, id: &Id) -> bool {
        self.state().pods.contains_key(id)
    }

    /// Masquerades a pod. Blocking, but brief, and in the calling thread's network namespace, as all that follows.
    pub fn add(&self, id: &Id, addresses: Vec<IpPrefix>) -> Result<(), MasqueradeError> {
        let mut state = self.state();
        state.pods.insert(id.clone(), addresses.clone());
        self.tell(&mut state, |transaction| {
            for (set, ip) in elements(&addresses) {
                transaction.add_elements(&set, &[ip]);
            }
        })
    }

    /// Masquerades a pod that is being attached.
    pub(super) fn add_pod(&self, job: &Job, result: &CniResult) -> Result<(), MasqueradeError> {
        self.add(&job.id, result.ips.iter().map(|ip| ip.address).collect())?;
        step::reached(Step::PodMasqueraded);
        Ok(())
    }

    /// Masquerades a pod no more. Idempotent.
    pub fn remove(&self, id: &Id) -> Result<(), MasqueradeError> {
        let mut state = self.state();
        let Some(addresses) = state.pods.remove(id) else {
            return Ok(());
        };
        self.tell(&mut state, |transaction| {
            for (set, ip) in elements(&addresses) {
                transaction.delete_elements(&set, &[ip]);
            }
        })
    }

    /// Makes the table hold the pods that are known and no others, whatever it held before.
    pub fn restore(&self) -> Result<(), MasqueradeError> {
        let mut state = self.state();
        state.told = None;
        self.tell(&mut state, |_| {})
    }

    fn tell(
        &self,
        state: &mut State,
        change: impl FnOnce(&mut Transaction<'_>),
    ) -> Result<(), MasqueradeError> {
        let networks = networks(&state.pods);
        if state.told.take().is_some_and(|told| told == networks) {
            let mut transaction = Transaction::new(&self.table);
            change(&mut transaction);
            if transaction.commit().is_ok() {
                state.told = Some(networks);
                return Ok(());
            }
            // Somebody else was at the table.
        }
        let mut transaction = Transaction::new(&self.table);
        // What is to be deleted has to be there.
        transaction.add_table();
        transaction.delete_table();
        if !networks.is_empty() {
            build(&mut transaction, &networks, &state.pods);
        }
        match transaction.commit() {
            // A kernel without nftables has no table either.
            Err(_) if networks.is_empty() && !exists_at_all() => {}
            done => done.map_err(|source| MasqueradeError {
                table: self.table.clone(),
                source,
            })?,
        }
        state.told = Some(networks);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is told is taken out before it changes: nothing is ever half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the kernel can masquerade in a table of both families.
pub fn exists_at_all() -> bool {
    let name = format!("corten-trial_{}", std::process::id());
    let network = IpPrefix {
        address: Ipv4Addr::UNSPECIFIED.into(),
        length: 8,
    };
    let mut transaction = Transaction::new(&name);
    transaction.add_table();
    build(
        &mut transaction,
        &BTreeSet::from([network]),
        &BTreeMap::new(),
    );
    // It is looked at whole, and never comes into being.
    transaction.delete_table();
    transaction.commit().is_ok()
}

fn build(
    transaction: &mut Transaction<'_>,
    networks: &BTreeSet<IpPrefix>,
    pods: &BTreeMap<Id, Vec<IpPrefix>>,
) {
    transaction.add_table();
    transaction.add_source_nat_chain(CHAIN);
    for (number, network) in (1..).zip(networks) {
        let (set, kind) = (set_name(*network), kind(network.address));
        transaction.add_set(&set, kind, number);
        let of_network = |address: &&IpPrefix| address.network() == *network;
        let ips = pods.values().flatten().filter(of_network);
        let ips: Vec<_> = ips.map(|address| octets(address.address)).collect();
        transaction.add_elements(&set, &ips);
        transaction.add_masquerade(CHAIN, &set, kind, &[masked(*network), multicast(kind)]);
    }
}

fn networks(pods: &BTreeMap<Id, Vec<IpPrefix>>) -> BTreeSet<IpPrefix> {
    let addresses = pods.values().flatten();
    addresses.map(|address| address.network()).collect()
}

/// The addresses with the sets they are in.
fn elements(addresses: &[IpPrefix]) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    addresses
        .iter()
        .map(|address| (set_name(address.network()), octets(address.address)))
}

/// A name that nft takes for one, too.
fn set_name(network: IpPrefix) -> String {
    let octets: String = octets(network.address)
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    format!("pods-{octets}-{}", network.length)
}

fn kind(ip: IpAddr) -> SetKind {
    match ip {
        IpAddr::V4(_) => SetKind::V4,
        IpAddr::V6(_) => SetKind::V6,
    }
}

fn multicast(kind: SetKind) -> Masked {
    masked(match kind {
        SetKind::V4 => IpPrefix {
            address: Ipv4Addr::new(224, 0, 0, 0).into(),
            length: 4,
        },
        SetKind::V6 => IpPrefix {
            address: Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(),
            length: 8,
        },
    })
}

fn masked(network: IpPrefix) -> Masked {
    let ones = match network.address {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::BROADCAST),
        IpAddr::V6(_) => Ipv6Addr::from_bits(u128::MAX).into(),
    };
    let mask = IpPrefix {
        address: ones,
        ..network
    };
    Masked {
        address: octets(network.network().address),
        mask: octets(mask.network().address),
    }
}
