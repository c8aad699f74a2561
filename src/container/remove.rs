//! Removing a container with all that it left.

use std::{fs, io, path::Path, sync::Arc};

use super::{End, error::ContainerError, mapped, reap, record::ContainerRecord, stop, volumes};
use crate::{
    id::Id,
    monitor::Monitor,
    services::Services,
    step::{self, Step},
    sys::mount,
};

/// Kills what runs and removes what is there; each step finds out for itself whether there is
/// anything to do, so it can be called again after a failure. Gives how what ran has ended.
pub(crate) async fn remove(
    services: &Arc<Services>,
    id: &Id,
    record: &ContainerRecord,
    monitor: Option<&Monitor>,
) -> Result<Option<End>, ContainerError> {
    let end = match (monitor, record.state.pid()) {
        (Some(monitor), Some(pid)) => Some(stop::kill(services, id, record, monitor, pid).await?),
        _ => None,
    };
    if !record.reaped {
        reap::reap(services, id, record).await?;
    }
    unmount_mapped(services, id).await?;
    remove_views(services, id).await?;
    services
        .storage
        .remove_rootfs(id)
        .await
        .map_err(ContainerError::Rootfs)?;
    services.images.release(id.as_str());
    let (held, own) = (services.clone(), id.clone());
    tokio::task::spawn_blocking(move || {
        // The storage's record of it may have been lost while it was mounted.
        let rootfs = held.layout.rootfs(&own);
        mount::detach_all(&rootfs).map_err(failed("unmounting", &rootfs))?;
        remove_dir(&held.layout.bundle(&own))?;
        step::reached(Step::BundleRemoved);
        remove_dir(&held.layout.container(&own))?;
        step::reached(Step::ContainerDirectoryRemoved);
        Ok(())
    })
    .await
    .map_err(|e| ContainerError::Panicked(e.to_string()))??;
    Ok(end)
}

/// Takes the mounts of the container's id-mapped volumes off the host.
pub(crate) async fn unmount_mapped(services: &Services, id: &Id) -> Result<(), ContainerError> {
    let dir = services.layout.mapped_volumes_of(id);
    tokio::task::spawn_blocking(move || mapped::unmount(&dir))
        .await
        .map_err(|e| ContainerError::Panicked(e.to_string()))?
        .map_err(ContainerError::Mapped)
}

/// Takes the container's views of images away.
pub(crate) async fn remove_views(services: &Services, id: &Id) -> Result<(), ContainerError> {
    for view in services.storage.views() {
        if volumes::container_of_view(&view.key) == id.as_str() {
            services
                .storage
                .remove_view(&view.key)
                .await
                .map_err(ContainerError::Rootfs)?;
        }
    }
    Ok(())
}

fn remove_dir(dir: &Path) -> Result<(), ContainerError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("removing", dir)(e)),
        _ => Ok(()),
    }
}

/// An error about a file of a container.
pub(super) fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ContainerError {
    let path = path.to_owned();
    move |source| ContainerError::File { step, path, source }
}
