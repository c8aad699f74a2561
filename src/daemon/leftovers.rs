//! What exists without a record: removed after a restart, in the background.
//!
//! It is there when a record was lost or set aside, or when the machine went down between a record's end
//! and that of the thing itself. Everything carries the ID of its pod or container as its name.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::{info, warn};

use crate::{
    backoff::backoff,
    causes::whole,
    container::remove,
    id::Id,
    oci::cgroup::Driver,
    pod::Recovered,
    services::Services,
    sys::{cgroup, mount, namespaces},
};

/// A kind of thing that carries the ID of a pod or container.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Container,
    MappedVolumes,
    DurableDirectory,
    Namespaces,
    SandboxDirectory,
    Cgroup,
}

/// What exists without a record.
pub(super) struct Leftovers {
    containers: Vec<(Kind, Id)>,
    /// The sandboxes that are on record, until the network was compared with them.
    network: Option<HashSet<Id>>,
    /// The last to go: network plugins may need the namespaces.
    sandboxes: Vec<(Kind, Id)>,
}

/// Compares what exists with what is on record. To be done before the daemon serves: what it makes from then
/// on is not left over.
pub(super) fn find(services: &Services, recovered: &Recovered) -> Leftovers {
    let pods: HashSet<Id> = recovered.sandboxes.iter().cloned().collect();
    let known: HashSet<Id> = recovered.containers.iter().chain(&pods).cloned().collect();
    let layout = &services.layout;
    let mut containers = unknown(&layout.bundles(), &known);
    let rootfs = services.storage.rootfs_records().into_iter();
    containers.extend(
        rootfs
            .map(|rootfs| rootfs.container)
            .filter(|id| !known.contains(id)),
    );
    let of = |kind, ids: Vec<Id>| ids.into_iter().map(move |id| (kind, id));
    Leftovers {
        containers: of(Kind::Container, containers)
            .chain(of(
                Kind::MappedVolumes,
                unknown(&layout.mapped_volumes(), &known),
            ))
            .chain(of(
                Kind::DurableDirectory,
                unknown(&layout.containers(), &known),
            ))
            .collect(),
        sandboxes: of(Kind::Namespaces, unknown(&layout.namespaces(), &pods))
            .chain(of(
                Kind::SandboxDirectory,
                unknown(&layout.sandboxes(), &pods),
            ))
            .chain(of(Kind::Cgroup, cgroups(services, &pods)))
            .collect(),
        network: Some(pods),
    }
}

/// Removes what was left over, behind the daemon's other work; what cannot be removed is tried again, for ever.
pub(super) fn remove_later(services: Arc<Services>, mut left: Leftovers) {
    tokio::spawn(async move {
        for tries in 0.. {
            left.containers = remove_all(&services, left.containers).await;
            left.network = match left.network {
                Some(pods) if !release_network(&services, &pods).await => Some(pods),
                _ => None,
            };
            left.sandboxes = remove_all(&services, left.sandboxes).await;
            if let Err(error) = services.images.collect().await {
                warn!(error = %whole(&error), "layers that nothing uses stay");
            }
            if left.containers.is_empty() && left.network.is_none() && left.sandboxes.is_empty() {
                return;
            }
            let again_in = backoff(tries);
            warn!(?again_in, "something that is on no record stays");
            tokio::time::sleep(again_in).await;
        }
    });
}

/// Removes one after another and gives what stays.
async fn remove_all(services: &Arc<Services>, left: Vec<(Kind, Id)>) -> Vec<(Kind, Id)> {
    let mut staying = Vec::new();
    for (kind, id) in left {
        info!(%id, ?kind, "removing what is on no record");
        if let Err(error) = remove(services, kind, &id).await {
            warn!(%id, ?kind, error = %whole(&*error), "what is on no record stays");
            staying.push((kind, id));
        }
    }
    staying
}

async fn remove(services: &Arc<Services>, kind: Kind, id: &Id) -> Result<(), Reason> {
    let layout = &services.layout;
    match kind {
        Kind::Container => remove_container(services, id).await,
        Kind::MappedVolumes => Ok(remove::unmount_mapped(services, id).await?),
        Kind::DurableDirectory => Ok(remove_dir(&layout.container(id))?),
        Kind::Namespaces => Ok(namespaces::unpin(&layout.sandbox_namespaces(id)).await?),
        Kind::SandboxDirectory => {
            mount::detach_all(&layout.sandbox(id).join("shm"))?;
            Ok(remove_dir(&layout.sandbox(id))?)
        }
        // Not empty as long as containers are in it whose sandbox was lost: they are removed meanwhile.
        Kind::Cgroup => Ok(cgroup::remove(&cgroup_parent(services).join(id.as_str()))?),
    }
}

/// Why something stays: it is only ever told.
type Reason = Box<dyn std::error::Error + Send + Sync>;

/// Whether nothing of the network is left that belongs to no sandbox on record.
async fn release_network(services: &Services, pods: &HashSet<Id>) -> bool {
    match services.network.gc(&pods.iter().cloned().collect()).await {
        Ok(report) => {
            for (id, error) in &report.failed {
                warn!(%id, error = %whole(error), "the network of a sandbox that is on no record stays");
            }
            report.failed.is_empty()
        }
        Err(error) => {
            warn!(error = %whole(&error), "the network was not compared with the records");
            false
        }
    }
}

/// Entries of a directory that are named by an ID which is not among the known ones.
fn unknown(dir: &Path, known: &HashSet<Id>) -> Vec<Id> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Id::parse(entry.ok()?.file_name().to_str()?).ok())
        .filter(|id| !known.contains(id))
        .collect()
}

async fn remove_container(services: &Services, id: &Id) -> Result<(), Reason> {
    // Which handler made it is not known any more; one that knows nothing of it has nothing to do.
    for (_, handler) in services.handlers.iter() {
        if let Ok(handler) = handler {
            handler.delete(id).await?;
        }
    }
    remove::remove_views(services, id).await?;
    services.storage.remove_rootfs(id).await?;
    services.images.release(id.as_str());
    Ok(remove_dir(&services.layout.bundle(id))?)
}

/// The cgroups of pods that are on no record.
fn cgroups(services: &Services, pods: &HashSet<Id>) -> Vec<Id> {
    if services.settings.cgroup_driver != Driver::Cgroupfs {
        return Vec::new();
    }
    let parent = cgroup_parent(services);
    // A pod has one in each hierarchy.
    let found: HashSet<Id> = cgroup::hierarchies()
        .unwrap_or_default()
        .iter()
        .flat_map(|root| unknown(&root.join(&parent), pods))
        .collect();
    found.into_iter().collect()
}

/// The parent of pods' cgroups, relative to the hierarchies' roots.
fn cgroup_parent(services: &Services) -> PathBuf {
    PathBuf::from(services.settings.cgroup_parent.trim_start_matches('/'))
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
