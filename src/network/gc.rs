//! After a start: forgetting pods that are no more.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, stream};

use super::{
    Network, NetworkError,
    cni::{cache::Entry, chain::ChainError},
    native::plugin::ways,
};
use crate::id::Id;

/// How many pods are detached side by side.
const AT_ONCE: usize = 8;
/// How often it is tried to find no pod being attached, and the time between.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// What was found to be left over, and how it went.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Detached.
    pub removed: Vec<Id>,
    /// Not detached: to be tried again with [`Network::del`].
    pub failed: Vec<(Id, NetworkError)>,
    /// What plugins said when they were told to forget all but our pods.
    pub plugins: Vec<ChainError>,
}

impl Network {
    /// Detaches each sandbox that an earlier run of the daemon attached and that is not among `live`; makes the
    /// packet filter hold the ports of the others alone; tells plugins that can (CNI 1.1) to forget all but these.
    ///
    /// Sandboxes attached since this start are left alone, so that it may run while pods are made. Only if ports cannot
    /// be published or records not be listed is it an error.
    pub async fn gc(&self, live: &BTreeSet<Id>) -> Result<GcReport, NetworkError> {
        let mut report = GcReport::default();
        let published = self.inner.ports.apply().await;
        if let Err(e) = self.inner.native.restore().await {
            tracing::warn!("{}", crate::causes::whole(&e));
        }
        let stale: Vec<Id> = self.inner.earlier().difference(live).cloned().collect();
        let mut done = stream::iter(stale)
            .map(|id| async move {
                let done = self.del(&id).await;
                (id, done)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((id, done)) = done.next().await {
            match done {
                Ok(()) => report.removed.push(id),
                Err(e) => report.failed.push((id, e)),
            }
        }
        if self.inner.config.plugin_gc {
            self.plugin_gc(&mut report).await?;
        }
        published?;
        Ok(report)
    }

    async fn plugin_gc(&self, report: &mut GcReport) -> Result<(), NetworkError> {
        let inner = &*self.inner;
        let Some(conf) = inner.current.borrow().conf.clone() else {
            return Ok(());
        };
        if conf.disable_gc || !conf.version.has_status_and_gc() {
            return Ok(());
        }
        // Tried rather than waited for: whoever waits for the whole lock holds up those who come to share it.
        let mut alone = None;
        for _ in 0..TRIES {
            alone = inner.attaching.try_write().ok();
            if alone.is_some() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if alone.is_none() {
            tracing::info!("pods are being attached: plugins are not told to forget others");
            return Ok(());
        }
        let mut valid = Vec::new();
        for id in inner.cache.ids().await? {
            match inner.cache.load(&id).await? {
                Entry::Known { intent, .. } if intent.conf.name != conf.name => {}
                // One that cannot be read may be anyone's: better kept than lost.
                _ => valid.push(id),
            }
        }
        let valid: Vec<_> = valid.iter().map(Id::as_str).collect();
        let ways = ways(&conf, inner.usage);
        let chain = inner.chain(&conf, &ways);
        report.plugins = chain.gc(&valid).await;
        Ok(())
    }
}
