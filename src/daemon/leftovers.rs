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

/// Compares what exists with what is on record, and removes the difference.
pub(super) fn remove_later(services: Arc<Services>, recovered: Recovered) {
    tokio::spawn(async move {
        let pods: HashSet<Id> = recovered.sandboxes.into_iter().collect();
        let containers: HashSet<Id> = recovered
            .containers
            .into_iter()
            .chain(pods.iter().cloned())
            .collect();
        for id in unknown(&services.layout.bundles(), &containers) {
            remove_container(&services, &id).await;
        }
        for id in unknown(&services.layout.containers(), &containers) {
            report(&id, remove_dir(&services.layout.container(&id)));
        }
        for rootfs in services.storage.rootfs_records() {
            if !containers.contains(&rootfs.container) {
                remove_container(&services, &rootfs.container).await;
            }
        }
        release_network(&services, &pods).await;
        for id in unknown(&services.layout.namespaces(), &pods) {
            if let Err(error) = namespaces::unpin(&services.layout.sandbox_namespaces(&id)).await {
                warn!(%id, %error, "namespaces without a sandbox stay");
            }
        }
        for id in unknown(&services.layout.sandboxes(), &pods) {
            let dir = services.layout.sandbox(&id);
            report(
                &id,
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
