//! The work of common plugins, done without them: no process is started, and what is left is what the plugins would leave.
//!
//! [`plugin::ways`] says of a list which plugins that is possible for. Everything that touches a pod's namespace runs on
//! a thread of its own, which ends with the work; every effect is idempotent, and DEL undoes what ADD did, wholly or in part.

mod answer;
mod bridge;
mod error;
mod ipam;
mod job;
mod link;
mod masquerade;
pub mod plugin;
mod ptp;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

pub use error::NativeError;
pub use ipam::IpamError;
pub use masquerade::{Masquerade, MasqueradeError, exists_at_all};

use super::{
    PodNetwork,
    cni::{
        conf::{ConfList, PluginConf},
        result::{CniResult, Interface, IpConfig, IpPrefix},
    },
};
use crate::{
    id::Id,
    locks::Locks,
    step::{self, Step},
    sys::rtnetlink::Rtnetlink,
};
use ipam::{Ipam, Owner};
use job::{Job, enter, on_a_thread};
use plugin::Plugin;

const LOOPBACK: &str = "lo";

/// Who does native work.
#[derive(Debug, Clone)]
pub struct Native {
    masquerade: Arc<Masquerade>,
    /// Work on a pod that nobody waits for any more goes on: what comes next for it waits for its end.
    busy: Arc<Locks<Id>>,
    /// How long a lock may be waited for.
    limit: Duration,
}

/// A plugin of a list and the pod that it is about.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The list.
    pub list: &'a ConfList,
    /// The plugin, as configured.
    pub conf: &'a PluginConf,
    /// The same, as understood.
    pub plugin: &'a Plugin,
    /// The pod.
    pub pod: &'a PodNetwork,
    /// The result of what was before it in ADD, and that of ADD afterwards.
    pub previous: Option<&'a Value>,
}

impl Call<'_> {
    fn job(&self, netns: Option<&Path>, limit: Duration) -> Job {
        let of = (self.list.name.as_str(), self.list.version);
        let previous = self.previous.and_then(|value| {
            let bytes = serde_json::to_vec(value).ok()?;
            CniResult::parse(&bytes).ok()
        });
        Job {
            netns: netns.map(PathBuf::from),
            previous,
            ..Job::new(of, self.pod, self.conf, limit)
        }
    }
}

impl Native {
    /// `tag` tells the packet filter tables of daemons apart, `limit` is how long one call may wait for others.
    pub fn new(tag: &str, limit: Duration) -> Self {
        Self {
            masquerade: Arc::new(Masquerade::new(tag)),
            busy: Arc::default(),
            limit,
        }
    }

    /// The pods that are masqueraded.
    pub fn masquerade(&self) -> &Masquerade {
        &self.masquerade
    }

    /// ADD: attaches a pod, and gives the result as a plugin would.
    pub async fn add(&self, call: Call<'_>) -> Result<Value, NativeError> {
        if let (Plugin::Portmap, Some(previous)) = (call.plugin, call.previous) {
            return Ok(previous.clone());
        }
        let guard = self.busy.lock(call.pod.id.clone()).await;
        let job = call.job(Some(&call.pod.netns), self.limit);
        let (plugin, netns) = (call.plugin.clone(), call.pod.netns.clone());
        let (masquerade, version) = (self.masquerade.clone(), job.version);
        let result = on_a_thread(move || {
            let _guard = guard;
            match &plugin {
                Plugin::Bridge(bridge) => bridge::add(bridge, &job, &netns, &masquerade),
                Plugin::Ptp(ptp) => ptp::add(ptp, &job, &netns, &masquerade),
                Plugin::Loopback => loopback_add(&job, &netns),
                Plugin::Portmap => Ok(job.previous.unwrap_or_default()),
            }
        });
        let result = result.await?;
        // What a program answered is handed on as it is.
        Ok(match (call.plugin, call.previous) {
            (Plugin::Loopback, Some(previous)) => previous.clone(),
            _ => answer::to_json(&result, version),
        })
    }

    /// DEL: detaches a pod. Idempotent; `netns` is `None` when it is gone.
    pub async fn del(&self, call: Call<'_>, netns: Option<&Path>) -> Result<(), NativeError> {
        if *call.plugin == Plugin::Portmap {
            return Ok(());
        }
        let guard = self.busy.lock(call.pod.id.clone()).await;
        let job = call.job(netns, self.limit);
        let plugin = call.plugin.clone();
        let masquerade = self.masquerade.clone();
        on_a_thread(move || {
            let _guard = guard;
            match plugin.ipam() {
                Some(ipam) => detach(ipam, &job, &masquerade),
                None => loopback_del(&job),
            }
        })
        .await
    }

    /// CHECK: whether a pod still is attached as it was.
    pub async fn check(&self, call: Call<'_>) -> Result<(), NativeError> {
        let job = call.job(Some(&call.pod.netns), self.limit);
        let plugin = call.plugin.clone();
        on_a_thread(move || {
            let result = job.previous.clone().unwrap_or_default();
            match &plugin {
                Plugin::Bridge(bridge) => bridge::check(bridge, &job, &result),
                Plugin::Ptp(ptp) => ptp::check(ptp, &job, &result),
                Plugin::Loopback => loopback_check(&job),
                Plugin::Portmap => Ok(()),
            }
        })
        .await
    }

    /// GC: takes back what pods other than `valid` have of a network.
    pub async fn gc(
        &self,
        network: &str,
        plugin: &Plugin,
        valid: &[&str],
        interface: &'static str,
    ) -> Result<(), NativeError> {
        let Some(ipam) = plugin.ipam().cloned() else {
            return Ok(());
        };
        let network = network.to_owned();
        let valid: Vec<String> = valid.iter().map(|id| (*id).to_owned()).collect();
        let limit = self.limit;
        on_a_thread(move || {
            let owners: Vec<_> = valid.iter().map(|id| Owner { id, interface }).collect();
            let count = ipam.keep_only(&network, &owners, limit)?;
            if count > 0 {
                tracing::info!(
                    network,
                    count,
                    "addresses of pods that are no more released"
                );
            }
            Ok(())
        })
        .await
    }

    /// Takes a pod that is detached by other means from the packet filter. Idempotent.
    pub async fn unmasquerade(&self, id: &Id) -> Result<(), NativeError> {
        let guard = self.busy.lock(id.clone()).await;
        if !self.masquerade.has(id) {
            return Ok(());
        }
        let (masquerade, id) = (self.masquerade.clone(), id.clone());
        on_a_thread(move || {
            let _guard = guard;
            Ok(masquerade.remove(&id)?)
        })
        .await
    }

    /// Makes the packet filter hold the pods that are known and no others.
    pub async fn restore(&self) -> Result<(), NativeError> {
        let masquerade = self.masquerade.clone();
        on_a_thread(move || Ok(masquerade.restore()?)).await
    }
}

/// Takes a pod's link and addresses back, whichever plugin's work they are.
fn detach(ipam: &Ipam, job: &Job, masquerade: &Masquerade) -> Result<(), NativeError> {
    masquerade.remove(&job.id)?;
    step::reached(Step::PodUnmasqueraded);
    link::delete(job)?;
    // The last: whoever gets the address next must not meet it here.
    Ok(job.ipam(ipam)?.release(&job.claim(), &job.known())?)
}

fn loopback_add(job: &Job, netns: &Path) -> Result<CniResult, NativeError> {
    let mut pod = enter(netns)?;
    let lo = link::existing(&mut pod, LOOPBACK)?;
    pod.set_up(&lo)?;
    if let Some(previous) = &job.previous {
        return Ok(previous.clone());
    }
    let lo = link::existing(&mut pod, LOOPBACK)?;
    let address = |address, length| IpConfig {
        address: IpPrefix { address, length },
        gateway: None,
        interface: Some(0),
    };
    let mut ips = vec![address(Ipv4Addr::LOCALHOST.into(), 8)];
    if pod.addresses(&lo)?.iter().any(|a| a.ip.is_ipv6()) {
        ips.push(address(Ipv6Addr::LOCALHOST.into(), 128));
    }
    let interfaces = vec![Interface {
        mac: "00:00:00:00:00:00".into(),
        ..link::told(&lo, Some(netns))
    }];
    Ok(CniResult {
        interfaces,
        ips,
        ..CniResult::default()
    })
}

fn loopback_del(job: &Job) -> Result<(), NativeError> {
    let Some(netns) = &job.netns else {
        return Ok(());
    };
    let mut pod: Rtnetlink = enter(netns)?;
    let lo = link::existing(&mut pod, LOOPBACK)?;
    Ok(pod.set_down(&lo)?)
}

fn loopback_check(job: &Job) -> Result<(), NativeError> {
    let netns = job.netns.as_deref().unwrap_or(Path::new(""));
    let mut pod = enter(netns)?;
    match link::existing(&mut pod, LOOPBACK)?.is_up {
        true => Ok(()),
        false => Err(NativeError::Changed("loopback is down".into())),
    }
}
