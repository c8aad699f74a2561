//! What pods and containers use: measured when somebody asks.
//!
//! cgroup files are read below the roots of the hierarchies, whose descriptors are the only ones kept; links are
//! asked for over one socket; what containers have written is counted in the background. A whole list is measured in
//! one piece of blocking work, from the published views: no actor is asked.

mod disk;
mod files;
pub mod machine;
pub mod metrics;
mod network;
pub mod parse;
mod processes;
mod rate;
pub mod sample;
mod v1;
mod v2;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;

use self::{
    disk::{Asked, Disk},
    files::Roots,
    machine::Machine,
    network::Network,
    rate::Rate,
    sample::{ContainerSample, Cpu, Detail, Memory, PodSample, Usage},
};
use crate::{
    container::view::{ContainerState, ContainerView},
    id::Id,
    pod::{
        Pods,
        view::{PodView, PodViewState},
    },
    services::{Services, now},
};

/// How often what is remembered of pods and containers that are gone is thrown away.
const TIDY: Duration = Duration::from_secs(30);

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// The work itself failed.
    #[error("measuring pods and containers: {0}")]
    Panicked(String),
}

/// Measures the pods of a node. Clones are the same.
#[derive(Clone)]
pub struct Stats(Arc<Inner>);

struct Inner {
    services: Arc<Services>,
    pods: Pods,
    roots: Roots,
    network: Network,
    disk: Disk,
    rates: Mutex<HashMap<Id, Rate>>,
    tidied: Mutex<Instant>,
}

impl Stats {
    /// Finds out how this machine accounts.
    pub fn new(pods: Pods) -> Self {
        let services = pods.services().clone();
        let roots = Roots::open().unwrap_or_else(|error| {
            warn!(%error, "no cgroups: nothing can be measured");
            Roots::none()
        });
        let storage = services.storage.clone();
        let count = move |id: &Id| {
            let usage = storage.upper_usage(id).ok()?;
            Some((usage.bytes, usage.inodes))
        };
        Self(Arc::new(Inner {
            services,
            pods,
            roots,
            network: Network::default(),
            disk: Disk::new(Box::new(count)),
            rates: Mutex::default(),
            tidied: Mutex::new(Instant::now()),
        }))
    }

    /// Measures containers. One whose pod went away meanwhile is left out.
    pub async fn containers(
        &self,
        views: Vec<Arc<ContainerView>>,
    ) -> Result<Vec<ContainerSample>, StatsError> {
        self.blocking(move |inner| inner.containers(views, Detail::Stats))
            .await
    }

    /// Measures pods with their containers.
    pub async fn pods(
        &self,
        views: Vec<Arc<PodView>>,
        detail: Detail,
    ) -> Result<Vec<PodSample>, StatsError> {
        self.blocking(move |inner| inner.pods(views, detail)).await
    }

    /// What metrics say of the machine for all these pods.
    pub async fn machine(&self, pods: Arc<Vec<PodSample>>) -> Result<Machine, StatsError> {
        self.blocking(move |inner| Machine::look(inner.services.storage.root(), &pods))
            .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, StatsError> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let done = work(&inner);
            inner.tidy();
            done
        })
        .await
        .map_err(|e| StatsError::Panicked(e.to_string()))
    }
}

impl Inner {
    fn containers(&self, views: Vec<Arc<ContainerView>>, detail: Detail) -> Vec<ContainerSample> {
        let storage: Arc<Path> = self.services.storage.root().into();
        let asked: Vec<Asked<'_>> = views
            .iter()
            .map(|view| Asked {
                id: &view.id,
                finished_at: finished_at(view),
            })
            .collect();
        let written = self.disk.ask(&asked);
        let mut samples: Vec<ContainerSample> = views
            .iter()
            .zip(written)
            .filter_map(|(view, writable)| {
                let pod = self.pods.table().pod(&view.pod_id)?;
                let parent = self.services.cgroup_parent(&pod.id, &pod.spec).ok()?;
                Some(ContainerSample {
                    view: view.clone(),
                    at: 0,
                    cgroup: parent.container(&view.id).relative,
                    usage: None,
                    nano_cores: None,
                    writable,
                    storage: storage.clone(),
                    processes: None,
                })
            })
            .collect();
        for sample in samples.iter_mut().filter(|sample| lives(&sample.view)) {
            sample.at = now();
            sample.usage = self.roots.usage(&sample.cgroup, detail);
            sample.nano_cores = self.rate(&sample.view.id, sample.usage.as_ref());
            if detail == Detail::Metrics && sample.usage.is_some() {
                let pids = self.roots.processes(&sample.cgroup);
                sample.processes = Some(processes::look(&pids, sample.view.pid));
            }
        }
        samples
    }

    fn pods(&self, views: Vec<Arc<PodView>>, detail: Detail) -> Vec<PodSample> {
        let containers = views
            .iter()
            .flat_map(|pod| pod.containers.iter().cloned())
            .collect();
        let mut by_pod: HashMap<Id, Vec<ContainerSample>> = HashMap::new();
        for sample in self.containers(containers, detail) {
            by_pod
                .entry(sample.view.pod_id.clone())
                .or_default()
                .push(sample);
        }
        views
            .into_iter()
            .map(|view| {
                let containers = by_pod.remove(&view.id).unwrap_or_default();
                self.pod(view, containers, detail)
            })
            .collect()
    }

    fn pod(
        &self,
        view: Arc<PodView>,
        containers: Vec<ContainerSample>,
        detail: Detail,
    ) -> PodSample {
        let cgroup = self
            .services
            .cgroup_parent(&view.id, &view.spec)
            .map(|parent| parent.relative())
            .unwrap_or_else(|_| PathBuf::new());
        let mut sample = PodSample {
            at: now(),
            cgroup,
            usage: None,
            nano_cores: None,
            links: None,
            containers,
            view,
        };
        if sample.view.state == PodViewState::Ready {
            sample.usage = Some(
                self.roots
                    .usage(&sample.cgroup, detail)
                    .unwrap_or_else(|| sum(&sample.containers)),
            );
            sample.nano_cores = self.rate(&sample.view.id, sample.usage.as_ref());
            sample.links = sample
                .view
                .netns
                .as_ref()
                .and_then(|netns| self.network.links(&sample.view.id, netns));
        }
        sample
    }

    /// CPU lately: the rate since the last look.
    fn rate(&self, id: &Id, usage: Option<&Usage>) -> Option<u64> {
        let used = usage?.cpu.as_ref()?.total_ns;
        let at = Instant::now();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        match rates.get_mut(id) {
            Some(rate) => rate.next(used, at),
            None => {
                rates.insert(id.clone(), Rate::new(used, at));
                None
            }
        }
    }

    fn tidy(&self) {
        {
            let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
            if tidied.elapsed() < TIDY {
                return;
            }
            *tidied = Instant::now();
        }
        let table = self.pods.table();
        let pod_lives = |id: &Id| {
            table
                .pod(id)
                .is_some_and(|p| p.state == PodViewState::Ready)
        };
        let container_is = |id: &Id| table.container(id).is_some();
        self.network.retain(pod_lives);
        self.disk.retain(container_is);
        self.rates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|id, _| pod_lives(id) || container_is(id));
    }
}

/// The sum of a pod's containers, where the pod has no cgroup of its own: before its first container, and where its
/// parent is the root.
fn sum(containers: &[ContainerSample]) -> Usage {
    let mut sum = Usage {
        cpu: Some(Cpu::default()),
        memory: Some(Memory::default()),
        ..Usage::default()
    };
    for usage in containers.iter().filter_map(|one| one.usage.as_ref()) {
        sum.add(usage);
    }
    sum
}

/// Whether a container has processes.
fn lives(view: &ContainerView) -> bool {
    matches!(
        view.state,
        ContainerState::Created | ContainerState::Running { .. }
    )
}

fn finished_at(view: &ContainerView) -> Option<i64> {
    match view.state {
        ContainerState::Exited { finished_at, .. } => Some(finished_at),
        _ => None,
    }
}
