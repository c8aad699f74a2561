//! What exists without a record: removed after a restart, in the background.
//!
//! It is there when a record was lost or set aside, or when the machine went down between a record's end
//! and that of the thing itself. Everything carries the ID of its pod or container as its name.

use std::{collections::HashSet, fs, io, path::Path, sync::Arc};

use tracing::{info, warn};

use crate::{
    container::remove,
    id::Id,
    pod::Recovered,
    services::Services,
    sys::{mount, namespaces},
};

/// What exists without a record, by the kind of thing.
pub(super) struct Leftovers {
    pods: HashSet<Id>,
    bundles: Vec<Id>,
    durable: Vec<Id>,
    rootfs: Vec<Id>,
    mapped: Vec<Id>,
    namespaces: Vec<Id>,
    sandboxes: Vec<Id>,
}

/// Compares what exists with what is on record. To be done before the daemon serves: what it makes from then
/// on is not left over.
pub(super) fn find(services: &Services, recovered: &Recovered) -> Leftovers {
    let pods: HashSet<Id> = recovered.sandboxes.iter().cloned().collect();
    let containers: HashSet<Id> = recovered.containers.iter().chain(&pods).cloned().collect();
    let layout = &services.layout;
    Leftovers {
        bundles: unknown(&layout.bundles(), &containers),
        durable: unknown(&layout.containers(), &containers),
        rootfs: services
            .storage
            .rootfs_records()
            .into_iter()
            .map(|rootfs| rootfs.container)
            .filter(|id| !containers.contains(id))
            .collect(),
        mapped: unknown(&layout.mapped_volumes(), &containers),
        namespaces: unknown(&layout.namespaces(), &pods),
        sandboxes: unknown(&layout.sandboxes(), &pods),
        pods,
    }
}

/// Removes what was left over, behind the daemon's other work.
pub(super) fn remove_later(services: Arc<Services>, left: Leftovers) {
    tokio::spawn(async move {
        for id in left.bundles.iter().chain(&left.rootfs) {
            remove_container(&services, id).await;
        }
        for id in &left.mapped {
            if let Err(error) = remove::unmount_mapped(&services, id).await {
                warn!(%id, %error, "id-mapped volumes of a container that is on no record stay");
            }
        }
        for id in &left.durable {
            report(id, remove_dir(&services.layout.container(id)));
        }
        release_network(&services, &left.pods).await;
        for id in &left.namespaces {
            if let Err(error) = namespaces::unpin(&services.layout.sandbox_namespaces(id)).await {
                warn!(%id, %error, "namespaces without a sandbox stay");
            }
        }
        for id in &left.sandboxes {
            let dir = services.layout.sandbox(id);
            report(
                id,
                mount::detach_all(&dir.join("shm")).and_then(|_| remove_dir(&dir)),
            );
        }
        if let Err(error) = services.images.collect().await {
            warn!(%error, "layers that nothing uses stay");
        }
    });
}

async fn release_network(services: &Services, pods: &HashSet<Id>) {
    match services.network.gc(&pods.iter().cloned().collect()).await {
        Ok(report) => {
            for (id, error) in report.failed {
                warn!(%id, %error, "the network of a sandbox that is on no record stays");
            }
        }
        Err(error) => warn!(%error, "the network was not compared with the records"),
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

async fn remove_container(services: &Services, id: &Id) {
    info!(%id, "removing a container that is on no record");
    // Which handler made it is not known any more; one that knows nothing of it has nothing to do.
    for (_, handler) in services.handlers.iter() {
        if let Ok(handler) = handler
            && let Err(error) = handler.delete(id).await
        {
            warn!(%id, %error, "a container that is on no record stays");
            return;
        }
    }
    if let Err(error) = remove::remove_views(services, id).await {
        warn!(%id, %error, "a view of an image that is on no record stays");
        return;
    }
    if let Err(error) = services.storage.remove_rootfs(id).await {
        warn!(%id, %error, "a root file system that is on no record stays");
        return;
    }
    services.images.release(id.as_str());
    report(id, remove_dir(&services.layout.bundle(id)));
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn report(id: &Id, result: io::Result<()>) {
    if let Err(error) = result {
        warn!(%id, %error, "a directory that is on no record stays");
    }
}
