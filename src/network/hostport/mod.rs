//! Ports of the host that are ports of pods.
//!
//! Where a plugin takes them (`portMappings`) they are only kept account of, so that two pods asking for
//! one port is an error that names both. Elsewhere packets are sent on by one nftables table, `inet corten_TAG`: what it
//! is to hold follows from the account alone, and each change makes it so in one transaction.
//!
//! 127.0.0.1 is served, too: `route_localnet` is set on the host's links that lead to pods with ports, with a rule
//! that keeps others from reaching the host's 127.0.0.1 through them, and reset when the last such pod is gone. The kernel
//! has no such thing for `::1`, so a port on that address is refused.

mod script;
mod table;

use std::{
    collections::BTreeSet,
    fs, io,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub(super) use script::is_plain_link;
pub use script::{TableName, TagError};
pub use table::{Conflict, Target};

use super::{
    PodNetwork,
    process::{self, ProcessError},
};
use crate::{
    id::Id,
    step::{self, Step},
};
use table::{PortTable, Rules};

/// How long nft may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Where nft may be.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin";

/// Ports that could not be published.
#[derive(Debug, thiserror::Error)]
pub enum HostPortError {
    /// Another pod has it.
    #[error(transparent)]
    Conflict(#[from] Box<Conflict>),
    /// The pod has no address that the host's could be translated to.
    #[error("host port {port}: the pod has no {family} address to send packets to")]
    NoAddress {
        /// The port of the host.
        port: u16,
        /// Of which kind.
        family: &'static str,
    },
    /// The kernel does not send packets of `::1` on.
    #[error(
        "host port {0}: cannot be published on ::1 without a CNI plugin that takes portMappings"
    )]
    Loopback6(u16),
    /// nft is missing.
    #[error(
        "publishing host ports: nft is in none of {PATH}, and no CNI plugin takes portMappings"
    )]
    NoNft,
    /// nft did not run.
    #[error("publishing host ports")]
    Nft(#[source] ProcessError),
    /// nft would not.
    #[error("publishing host ports: nft: {0}")]
    Refused(String),
    /// The kernel setting that lets 127.0.0.1 reach pods.
    #[error("publishing host ports: writing {}", path.display())]
    Localnet {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the kernel was last told.
#[derive(Debug, Default, PartialEq)]
enum Told {
    /// Nothing yet since the start.
    #[default]
    Nothing,
    /// Something, and it is not known whether it took it.
    Doubtful,
    /// This.
    Rules(Rules),
}

/// All pods' ports of the host.
#[derive(Debug)]
pub struct HostPorts {
    name: TableName,
    table: Mutex<PortTable>,
    told: tokio::sync::Mutex<Told>,
    /// Links that may have been opened to 127.0.0.1 and not been closed yet.
    opened: Mutex<BTreeSet<String>>,
}

impl HostPorts {
    /// Nothing is published yet, nor taken back that an earlier run published.
    pub fn new(name: TableName) -> Self {
        Self {
            name,
            table: Mutex::default(),
            told: tokio::sync::Mutex::default(),
            opened: Mutex::default(),
        }
    }

    /// Gives a pod its ports or says who has them.
    pub fn reserve(&self, pod: &PodNetwork) -> Result<(), HostPortError> {
        let label = format!("{}/{}", pod.namespace, pod.name);
        Ok(locked(&self.table).reserve(&pod.id, &label, &pod.ports)?)
    }

    /// Notes where packets go, for [`Self::apply`] to make it so.
    pub fn point(&self, pod: &PodNetwork, target: Target) -> Result<(), HostPortError> {
        let has = |v4: bool| target.ips.iter().any(|ip| ip.address.is_ipv4() == v4);
        for port in &pod.ports {
            if port.host_ip == Some(Ipv6Addr::LOCALHOST.into()) {
                return Err(HostPortError::Loopback6(port.host_port));
            }
            let served = [true, false]
                .into_iter()
                .any(|v4| table::takes(port.host_ip, v4) && has(v4));
            if !served {
                return Err(HostPortError::NoAddress {
                    port: port.host_port,
                    family: match port.host_ip {
                        None => "IP",
                        Some(ip) if ip.is_ipv4() => "IPv4",
                        Some(_) => "IPv6",
                    },
                });
            }
        }
        let mut table = locked(&self.table);
        table.point(&pod.id, target);
        locked(&self.opened).extend(table.rules().links);
        Ok(())
    }

    /// Takes a pod's ports back, for [`Self::apply`] to make it so. Idempotent.
    pub fn release(&self, id: &Id) {
        locked(&self.table).release(id);
    }

    /// Makes the kernel do what is noted. Callers at the same time share one transaction.
    pub async fn apply(&self) -> Result<(), HostPortError> {
        let mut told = self.told.lock().await;
        let rules = locked(&self.table).rules();
        if matches!(&*told, Told::Rules(now) if *now == rules) {
            return Ok(());
        }
        let first = std::mem::replace(&mut *told, Told::Doubtful) == Told::Nothing;
        // The guard comes before what it guards, and goes after it.
        let closed: BTreeSet<_> = locked(&self.opened)
            .difference(&rules.links)
            .cloned()
            .collect();
        set_localnet(&closed, false)?;
        match self.transact(&rules).await {
            // Clearing away what an earlier run may have left: a machine without nftables has nothing of the kind.
            Err(e) if first && rules == Rules::default() => {
                tracing::warn!("{}", crate::causes::whole(&e));
            }
            done => done?,
        }
        set_localnet(&rules.links, true)?;
        step::reached(Step::LocalnetSet);
        locked(&self.opened).retain(|link| !closed.contains(link));
        *told = Told::Rules(rules);
        Ok(())
    }

    async fn transact(&self, rules: &Rules) -> Result<(), HostPortError> {
        let Some(nft) = find_nft() else {
            return match *rules == Rules::default() {
                // Nothing can have been published without it.
                true => Ok(()),
                false => Err(HostPortError::NoNft),
            };
        };
        let script = script::script(&self.name, rules);
        let env = [("PATH", PATH.to_owned())];
        step::reached(Step::NftCalled);
        let output = process::run(&nft, &["-f", "-"], &env, script.as_bytes(), LIMIT)
            .await
            .map_err(HostPortError::Nft)?;
        step::reached(Step::NftDone);
        match output.status.success() {
            true => Ok(()),
            false => Err(HostPortError::Refused(output.stderr)),
        }
    }
}

/// Locks what is whole at any time, so that a panic elsewhere leaves nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The links of the host among those of an attachment that lead to pods: bridges, and links to one pod
/// alone; ports of a bridge are not asked.
pub fn pod_links<'a>(links: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    links
        .into_iter()
        .filter(|name| script::is_plain_link(name))
        .filter(|name| {
            !Path::new("/sys/class/net")
                .join(name)
                .join("brport")
                .exists()
        })
        .map(str::to_owned)
        .collect()
}

fn set_localnet(links: &BTreeSet<String>, on: bool) -> Result<(), HostPortError> {
    for link in links {
        let path = PathBuf::from(format!("/proc/sys/net/ipv4/conf/{link}/route_localnet"));
        let value = if on { "1" } else { "0" };
        // procfs answers at once.
        match fs::write(&path, value) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(HostPortError::Localnet { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn find_nft() -> Option<PathBuf> {
    PATH.split(':')
        .map(|dir| Path::new(dir).join("nft"))
        .find(|path| path.is_file())
}
