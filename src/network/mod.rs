//! Networks of pods: CNI plugins, ports of the host, and the files that tell a pod of its network.
//!
//! Each attachment is recorded before the first plugin runs, with the configuration used: detaching needs neither the
//! configuration directory nor the pod's namespace, and whatever was begun is found again after a crash.

pub mod attachment;
pub mod cni;
mod describe;
pub mod error;
pub mod files;
pub mod gc;
pub mod hostport;
pub mod native;
pub mod pod_cidr;
pub mod process;

use std::{
    borrow::Cow,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{RwLock, watch},
    task::AbortHandle,
};

pub use attachment::{Attachment, PodIp, PodNetwork};
pub use cni::args::Bandwidth;
pub use error::NetworkError;
pub use gc::GcReport;

use crate::{id::Id, sys::namespaces};
use cni::{
    args,
    cache::{Begun, Cache, Entry, Intent, Outcome},
    chain::{Chain, ChainError, settled_version},
    conf::ConfList,
    plugin::Runner,
    result::IpPrefix,
    watch::{Current, Source},
};
use hostport::{HostPortError, HostPorts, TableName, Target};
use native::{
    Native,
    plugin::{Usage, Way, handed_over, ways, ways_back},
};

/// What a network is made of.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Directory of CNI configurations; it may come into being later.
    pub conf_dir: PathBuf,
    /// Template of a configuration that is made when the node's pod addresses are known.
    pub conf_template: Option<PathBuf>,
    /// Directories of CNI plugins, searched in this order.
    pub plugin_dirs: Vec<PathBuf>,
    /// Directory of our records.
    pub cache_dir: PathBuf,
    /// Name of the network to use; `None` takes the first configuration by file name.
    pub default_network: Option<String>,
    /// Tells the packet filter tables of several daemons apart: lower-case letters, digits, underscores.
    pub tag: String,
    /// How long one call of a plugin may take.
    pub plugin_timeout: Duration,
    /// How many plugins run side by side.
    pub plugins_at_once: usize,
    /// Whether the work of common plugins is done without them.
    pub native: Usage,
    /// Whether plugins that can are told, after a start, to forget all pods but ours. Not for networks
    /// shared with another runtime.
    pub plugin_gc: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            conf_dir: "/etc/cni/net.d".into(),
            conf_template: None,
            plugin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            cache_dir: "/var/lib/corten/cni".into(),
            default_network: None,
            tag: "default".into(),
            plugin_timeout: Duration::from_secs(120),
            plugins_at_once: 64,
            native: Usage::Auto,
            plugin_gc: true,
        }
    }
}

/// Whether pods can be attached, and why not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkStatus {
    /// They can.
    pub ready: bool,
    /// One word; empty when ready.
    pub reason: &'static str,
    /// A sentence; empty when ready.
    pub message: String,
}

impl NetworkStatus {
    pub(crate) fn ready() -> Self {
        Self {
            ready: true,
            ..Self::default()
        }
    }

    pub(crate) fn not_ready(message: String) -> Self {
        Self {
            ready: false,
            reason: "NetworkPluginNotReady",
            message,
        }
    }
}

/// The network of all pods. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: NetworkConfig,
    runner: Runner,
    cache: Cache,
    current: watch::Receiver<Current>,
    watcher: AbortHandle,
    ports: HostPorts,
    native: Native,
    usage: Usage,
    /// Those whose record from before this start could not be read.
    unreadable: Vec<Id>,
    /// Those with a record from before this start and not attached anew since.
    earlier: Mutex<BTreeSet<Id>>,
    /// Held while a configuration is written.
    writing: tokio::sync::Mutex<()>,
    /// Attaching holds it shared: plugins must not be told which pods there are while one comes into being.
    attaching: RwLock<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Network {
    /// Reads configuration and records, and follows the configuration from then on.
    pub async fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        let name = TableName::of_tag(&config.tag)?;
        let runner = Runner::new(
            &config.plugin_dirs,
            config.plugin_timeout,
            config.plugins_at_once,
        );
        let cache = Cache::open(config.cache_dir.clone()).await?;
        let ports = HostPorts::new(name);
        let native = Native::new(&config.tag, config.plugin_timeout);
        let usage = usage(config.native).await;
        let mut earlier = BTreeSet::new();
        let mut unreadable = Vec::new();
        for id in cache.ids().await? {
            // One record that is no good is no reason not to start.
            match cache.load(&id).await {
                Ok(Entry::Known { intent, outcome }) => {
                    remember(&ports, &intent, outcome.as_deref());
                    remember_masquerade(&native, &intent, outcome.as_deref());
                }
                Ok(Entry::None) => {}
                Ok(Entry::Unreadable) => unreadable.push(id.clone()),
                Err(e) => tracing::warn!(sandbox = %id, "{}", crate::causes::whole(&e)),
            }
            earlier.insert(id);
        }
        let (current, watcher) = cni::watch::follow(Source {
            dir: config.conf_dir.clone(),
            plugin_dirs: config.plugin_dirs.clone(),
            network: config.default_network.clone(),
            runner: runner.clone(),
            native: native.clone(),
            usage,
        })
        .await;
        let inner = Inner {
            config,
            runner,
            cache,
            current,
            watcher,
            ports,
            native,
            usage,
            unreadable,
            earlier: Mutex::new(earlier),
            writing: tokio::sync::Mutex::default(),
            attaching: RwLock::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether pods can be attached. From memory.
    pub fn status(&self) -> NetworkStatus {
        self.inner.current.borrow().status.clone()
    }

    /// How pods are attached, for people. From memory.
    pub fn describe(&self) -> Value {
        let current = self.inner.current.borrow();
        describe::describe(current.conf.as_deref(), &current.status, self.inner.usage)
    }

    /// Sandboxes whose record of their attachment could not be read at the start.
    pub fn unreadable(&self) -> &[Id] {
        &self.inner.unreadable
    }

    /// Name of the network new pods are attached to. From memory.
    pub fn network_name(&self) -> Option<String> {
        let current = self.inner.current.borrow();
        current.conf.as_ref().map(|conf| conf.name.clone())
    }

    /// Waits until pods can be attached.
    pub async fn wait_ready(&self, limit: Duration) -> Result<(), NetworkError> {
        let mut current = self.inner.current.clone();
        let ready = current.wait_for(|now| now.status.ready);
        match tokio::time::timeout(limit, ready).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(NetworkError::NotReady(self.status().message)),
        }
    }

    /// Is told the networks of the node's pods: where there is a template, a configuration is made of it.
    pub async fn set_pod_cidrs(&self, cidrs: Vec<IpPrefix>) -> Result<(), NetworkError> {
        let inner = self.inner.clone();
        let _writing = self.inner.writing.lock().await;
        let written = tokio::task::spawn_blocking(move || {
            let config = &inner.config;
            let Some(template) = &config.conf_template else {
                tracing::debug!(?cidrs, "told of the node's pod addresses");
                return Ok(());
            };
            let network = config.default_network.as_deref();
            let means = (&inner.runner, inner.usage);
            pod_cidr::write(template, &config.conf_dir, network, means, &cidrs)
        });
        match written.await {
            Ok(written) => Ok(written?),
            Err(e) => Err(NetworkError::Panicked(e.to_string())),
        }
    }

    /// Gives a pod its ports of the host, or says who has them. [`Self::del`] takes them back.
    pub fn reserve_ports(&self, pod: &PodNetwork) -> Result<(), NetworkError> {
        Ok(self.inner.ports.reserve(pod)?)
    }

    /// Attaches a pod. On failure what was done is undone; should that fail, too, [`Self::del`] does it later.
    ///
    /// A pod that already is attached, or was in part, is detached first. When this future is dropped the
    /// plugin that runs is killed; [`Self::del`] cleans up.
    pub async fn add(&self, pod: &PodNetwork) -> Result<Attachment, NetworkError> {
        let inner = &*self.inner;
        let _attaching = inner.attaching.read().await;
        let Some(conf) = inner.current.borrow().conf.clone() else {
            return Err(NetworkError::NotReady(self.status().message));
        };
        args::cni_args(pod)?;
        if inner.cache.load(&pod.id).await? != Entry::None {
            self.del(&pod.id).await?;
        }
        inner.earlier().remove(&pod.id);
        inner.ports.reserve(pod)?;
        let ways = ways(&conf, inner.usage);
        let intent = Intent::new(pod.clone(), (*conf).clone(), &ways);
        let begun = match inner.cache.begin(&intent).await {
            Ok(begun) => begun,
            Err(e) => {
                inner.ports.release(&pod.id);
                return Err(e.into());
            }
        };
        let mut result = None;
        match inner.attach(&intent, &ways, begun, &mut result).await {
            Ok(attachment) => Ok(attachment),
            Err(e) => {
                if let Err(undo) = inner.detach(&intent, result.as_ref()).await {
                    tracing::warn!(sandbox = %pod.id, "undoing a failed attachment: {}", crate::causes::whole(&undo));
                }
                Err(e)
            }
        }
    }

    /// Asks the plugins whether a pod still is attached as it was.
    pub async fn check(&self, id: &Id) -> Result<(), NetworkError> {
        match self.inner.cache.load(id).await? {
            Entry::Known {
                intent,
                outcome: Some(outcome),
            } => {
                let (conf, ways) = self.inner.way_back(&intent).await;
                let chain = self.inner.chain(&conf, &ways);
                Ok(chain.check(&intent.pod, &outcome.result).await?)
            }
            Entry::Known { .. } => Err(NetworkError::Incomplete(id.clone())),
            Entry::None | Entry::Unreadable => Err(NetworkError::NotAttached(id.clone())),
        }
    }

    /// Detaches a pod with the configuration it was attached with. Idempotent; to be tried again after a failure.
    pub async fn del(&self, id: &Id) -> Result<(), NetworkError> {
        let inner = &*self.inner;
        match inner.cache.load(id).await? {
            Entry::Known { intent, outcome } => {
                let result = outcome.as_ref().map(|o| &o.result);
                inner.detach(&intent, result).await?;
            }
            Entry::None => {
                inner.ports.release(id);
                inner.ports.apply().await?;
            }
            Entry::Unreadable => {
                inner.ports.release(id);
                inner.ports.apply().await?;
                inner.detach_unknown(id).await;
                inner.cache.forget(id).await?;
            }
        }
        inner.earlier().remove(id);
        Ok(())
    }

    /// All sandboxes that are attached, wholly or in part.
    pub async fn cached(&self) -> Result<Vec<Id>, NetworkError> {
        Ok(self.inner.cache.ids().await?)
    }

    /// How a sandbox is attached; `None` when it is not, or only in part.
    pub async fn attachment(&self, id: &Id) -> Result<Option<Attachment>, NetworkError> {
        Ok(match self.inner.cache.load(id).await? {
            Entry::Known { outcome, .. } => outcome.map(|o| o.attachment),
            Entry::None | Entry::Unreadable => None,
        })
    }
}

impl Inner {
    fn chain<'a>(&'a self, conf: &'a ConfList, ways: &'a [Way]) -> Chain<'a> {
        Chain {
            conf,
            ways,
            runner: &self.runner,
            native: &self.native,
        }
    }

    /// The list to check or detach a pod with, and how each of its plugins is done.
    async fn way_back<'a>(&self, intent: &'a Intent) -> (Cow<'a, ConfList>, Vec<Way>) {
        let ways = ways_back(&intent.conf, self.usage, &intent.native);
        let Some(mut conf) = handed_over(&intent.conf, &ways, &intent.native) else {
            return (Cow::Borrowed(&intent.conf), ways);
        };
        if conf.versions.len() > 1 {
            // Programs had no say in it.
            conf.version = settled_version(&conf, &ways, &self.runner).await;
        }
        (Cow::Owned(conf), ways)
    }

    fn earlier(&self) -> MutexGuard<'_, BTreeSet<Id>> {
        // A set of identifiers is never half changed.
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attach(
        &self,
        intent: &Intent,
        ways: &[Way],
        begun: Begun,
        result: &mut Option<Value>,
    ) -> Result<Attachment, NetworkError> {
        let chain = self.chain(&intent.conf, ways);
        let (added, synced) = tokio::join!(chain.add(&intent.pod), begun.sync());
        let (raw, parsed) = added?;
        let raw = result.insert(raw).clone();
        synced?;
        let attachment = Attachment::of_result(&intent.conf.name, parsed);
        let outcome = Outcome::new(raw, attachment);
        self.cache.finish(&intent.pod.id, &outcome).await?;
        if intent.native_ports {
            self.ports.point(&intent.pod, target(&outcome.attachment))?;
            self.ports.apply().await?;
        }
        Ok(outcome.attachment)
    }

    async fn detach(&self, intent: &Intent, result: Option<&Value>) -> Result<(), NetworkError> {
        let id = &intent.pod.id;
        if intent.native_ports {
            // Before the address is another pod's.
            self.ports.release(id);
            self.ports.apply().await?;
        }
        let netns = Some(intent.pod.netns.as_path()).filter(|p| namespaces::is_pinned(p));
        let (conf, ways) = self.way_back(intent).await;
        let chain = self.chain(&conf, &ways);
        chain.del(&intent.pod, netns, result).await?;
        // By now it is gone where that is done natively.
        self.native.unmasquerade(id).await?;
        self.ports.release(id);
        Ok(self.cache.forget(id).await?)
    }

    /// The record is no good: what can be done without it is done with the configuration of today.
    async fn detach_unknown(&self, id: &Id) {
        let Some(conf) = self.current.borrow().conf.clone() else {
            return;
        };
        let ways = ways(&conf, self.usage);
        let chain = self.chain(&conf, &ways);
        let pod = PodNetwork::bare(id.clone(), PathBuf::new());
        let done: Result<(), ChainError> = chain.del(&pod, None::<&Path>, None).await;
        if let Err(e) = done {
            tracing::warn!(sandbox = %id, "detaching without a record: {}", crate::causes::whole(&e));
        }
    }
}

/// Takes up a pod that an earlier run attached.
fn remember(ports: &HostPorts, intent: &Intent, outcome: Option<&Outcome>) {
    let taken_up = || -> Result<(), HostPortError> {
        ports.reserve(&intent.pod)?;
        match outcome {
            Some(outcome) if intent.native_ports => {
                ports.point(&intent.pod, target(&outcome.attachment))
            }
            _ => Ok(()),
        }
    };
    if let Err(e) = taken_up() {
        tracing::warn!(sandbox = %intent.pod.id, "{}", crate::causes::whole(&e));
    }
}

/// Takes up a pod that an earlier run masqueraded.
fn remember_masquerade(native: &Native, intent: &Intent, outcome: Option<&Outcome>) {
    let ways = ways_back(&intent.conf, Usage::Auto, &intent.native);
    let masqueraded = ways
        .iter()
        .any(|way| matches!(way, Way::Native(plugin) if plugin.masquerades()));
    if let (true, Some(outcome)) = (masqueraded, outcome) {
        let ips = outcome.attachment.ips.iter().map(|ip| ip.address);
        native.masquerade().remember(&intent.pod.id, ips.collect());
    }
}

/// What can be done natively on this kernel.
async fn usage(wanted: Usage) -> Usage {
    match wanted {
        Usage::Never => Usage::Never,
        _ => match tokio::task::spawn_blocking(native::exists_at_all).await {
            Ok(true) => Usage::Auto,
            _ => Usage::WithoutMasquerade,
        },
    }
}

fn target(attachment: &Attachment) -> Target {
    Target {
        ips: attachment.ips.iter().map(|ip| ip.address).collect(),
        links: hostport::pod_links(attachment.host_links()),
    }
}

#[cfg(test)]
mod tests;
