//! Keeping up with the directory of configurations.
//!
//! A task reads the directory whenever inotify tells of a change in it, in the directory above it (it may be made or
//! replaced later) or among the plugins. Where inotify cannot tell, and while there is nothing to
//! use, it looks again every few seconds.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::{sync::watch, time::timeout};

use super::{
    chain::{Chain, settled_version},
    conf::ConfList,
    dir::Scan,
    plugin::Runner,
};
use crate::network::{
    NetworkStatus,
    native::{
        Native,
        plugin::{Usage, Way, ways},
    },
};

/// Changes within this time are read as one.
const SETTLE: Duration = Duration::from_millis(100);
/// Between looks while there is nothing to use.
const POLL: Duration = Duration::from_secs(2);
/// Between questions to plugins that answer STATUS.
const ASK: Duration = Duration::from_secs(15);

/// What is in use now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Current {
    /// The configuration for new pods.
    pub conf: Option<Arc<ConfList>>,
    /// Whether pods can be attached.
    pub status: NetworkStatus,
}

/// What to watch.
#[derive(Debug, Clone)]
pub struct Source {
    /// The directory.
    pub dir: PathBuf,
    /// Where plugins are.
    pub plugin_dirs: Vec<PathBuf>,
    /// Name of the network to use; `None` for the first.
    pub network: Option<String>,
    /// Who calls plugins.
    pub runner: Runner,
    /// Who does the work of others.
    pub native: Native,
    /// Which others there are.
    pub usage: Usage,
}

/// Reads the directory now and follows it until the receivers are gone.
///
/// No plugin runs before this returns: one that hangs must not hold up a start.
pub async fn follow(source: Source) -> (watch::Receiver<Current>, tokio::task::AbortHandle) {
    let mut events = Events::open();
    events.watch(&source, None);
    let first = source.scan().await;
    let asks = first
        .conf
        .as_ref()
        .is_some_and(|c| c.versions.len() > 1 || c.version.has_status_and_gc());
    let (tx, rx) = watch::channel(match asks {
        true => Current {
            conf: None,
            status: NetworkStatus::not_ready(
                "the CNI plugins are being asked whether they are ready".into(),
            ),
        },
        false => first,
    });
    source.tell(&rx.borrow());
    let task = tokio::spawn(async move {
        let mut pause = asks.then_some(Duration::ZERO);
        loop {
            let conf = tx.borrow().conf.clone();
            let pause = pause.take().or(match &conf {
                None => Some(POLL),
                Some(conf) if conf.version.has_status_and_gc() => Some(ASK),
                Some(_) => None,
            });
            tokio::select! {
                () = events.change(pause) => {}
                () = tx.closed() => return,
            }
            events.watch(&source, conf.as_ref().map(|c| c.name.as_str()));
            let next = source.ask(source.scan().await).await;
            tx.send_if_modified(|now| {
                let changed = *now != next;
                if changed {
                    source.tell(&next);
                    *now = next;
                }
                changed
            });
        }
    });
    (rx, task.abort_handle())
}

impl Source {
    /// Logs what is in use, and which of its plugins run as programs and why.
    fn tell(&self, now: &Current) {
        let conf = now.conf.as_deref();
        tracing::info!(
            network = conf.map(|c| c.name.as_str()),
            ready = now.status.ready,
            message = now.status.message,
            "network configuration"
        );
        let Some(conf) = conf else { return };
        for (plugin, way) in conf.plugins.iter().zip(ways(conf, self.usage)) {
            let plugin = plugin.kind.as_str();
            match way {
                Way::Native(_) => tracing::info!(plugin, "done without the plugin"),
                Way::Program(why) => tracing::info!(plugin, why, "done by the plugin"),
            }
        }
    }

    /// What the directory holds.
    async fn scan(&self) -> Current {
        let source = self.clone();
        let scan = tokio::task::spawn_blocking(move || {
            Scan::read(&source.dir, &source.runner, source.usage)
        })
        .await
        .unwrap_or_default();
        let name = self.network.as_deref();
        match scan.choose(name) {
            Some(list) => Current {
                conf: Some(Arc::new(list.clone())),
                status: NetworkStatus::ready(),
            },
            None => Current {
                conf: None,
                status: NetworkStatus::not_ready(scan.complaint(&self.dir, name)),
            },
        }
    }

    /// Settles the version with the plugins, and lets them say whether they are ready, where they can.
    async fn ask(&self, mut now: Current) -> Current {
        let Some(conf) = &mut now.conf else {
            return now;
        };
        if conf.versions.len() > 1 {
            let list = Arc::make_mut(conf);
            let ways = ways(list, self.usage);
            list.version = settled_version(list, &ways, &self.runner).await;
        }
        let ways = ways(conf, self.usage);
        let chain = Chain {
            conf,
            ways: &ways,
            runner: &self.runner,
            native: &self.native,
        };
        if let Err(e) = chain.status().await {
            now.status = NetworkStatus::not_ready(crate::causes::whole(&e));
        }
        now
    }
}

/// Changes as inotify tells them; without it, none.
struct Events {
    told: Option<(Watches, EventStream<Vec<u8>>)>,
    /// The watch on the directory above, and the one name in it that matters.
    above: Option<(WatchDescriptor, OsString)>,
    blind: bool,
}

impl Events {
    fn open() -> Self {
        let open = || -> std::io::Result<_> {
            let inotify = Inotify::init()?;
            Ok((inotify.watches(), inotify.into_event_stream(vec![0; 4096])?))
        };
        let told = open()
            .inspect_err(|e| tracing::warn!("inotify: {e}; network configuration is polled"))
            .ok();
        Self {
            told,
            above: None,
            blind: true,
        }
    }

    /// Watches what there is to watch now. Watching something twice is watching it once.
    fn watch(&mut self, source: &Source, network: Option<&str>) {
        let Some((watches, _)) = &mut self.told else {
            return;
        };
        let inside = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF;
        let above = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONLYDIR;
        // The absence of these is no blindness: what they would tell is looked for while there is nothing to use.
        if let (Some(parent), Some(name)) = (source.dir.parent(), source.dir.file_name()) {
            let watch = watches.add(parent, above).ok();
            self.above = watch.map(|watch| (watch, name.to_owned()));
        }
        let beside = network.map(|name| source.dir.join(name));
        for dir in source.plugin_dirs.iter().cloned().chain(beside) {
            let _ = watches.add(dir, inside);
        }
        self.blind = watches.add(&source.dir, inside).is_err();
    }

    /// Waits for a change and for quiet after it, or for `pause` to pass.
    async fn change(&mut self, pause: Option<Duration>) {
        let pause = match (self.told.is_some(), self.blind) {
            (true, false) => pause,
            _ => Some(pause.unwrap_or(POLL)),
        };
        let first = match pause {
            Some(pause) => timeout(pause, self.next()).await.is_ok(),
            None => {
                self.next().await;
                true
            }
        };
        // A directory that never comes to rest is read all the same.
        for _ in 0..20 {
            if !first || timeout(SETTLE, self.next()).await.is_err() {
                return;
            }
        }
    }

    async fn next(&mut self) {
        loop {
            let Some((_, stream)) = &mut self.told else {
                return std::future::pending().await;
            };
            match stream.next().await {
                Some(Ok(event)) => match &self.above {
                    Some((above, name))
                        if event.wd == *above && event.name.as_ref() != Some(name) => {}
                    _ => return,
                },
                Some(Err(_)) | None => {
                    tracing::warn!("inotify ended; network configuration is polled");
                    self.told = None;
                }
            }
        }
    }
}
