//! Removing a sandbox with all that is in it.

use std::{fs, io, sync::Arc};

use super::{
    create::failed,
    error::PodError,
    msg::{ContainerOp, Mailbox},
    record::PodRecord,
    stop,
};
use crate::{
    id::Id,
    monitor::Monitor,
    services::Services,
    step::{self, Step},
};

/// Stops what runs, removes the containers and then the sandbox's files and cgroup.
pub(super) async fn remove(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
    infra: Option<Monitor>,
    me: &Mailbox,
) -> Result<(), PodError> {
    stop::every_container(me, ContainerOp::Remove, "removing containers").await?;
    stop::tear_down(services, id, record, infra).await?;
    files(services, id, record).await
}

/// Removes the sandbox's directory and, where corten made it, its cgroup.
pub(super) async fn files(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
) -> Result<(), PodError> {
    let (services, id, record) = (services.clone(), id.clone(), record.clone());
    tokio::task::spawn_blocking(move || {
        let layout = &services.layout;
        for dir in [
            layout.sandbox(&id),
            layout.bundle(&id),
            layout.container(&id),
        ] {
            match fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("removing", &dir)(e));
                }
                _ => step::reached(Step::SandboxDirectoryRemoved),
            }
        }
        if let Some(cgroup) = services.own_pod_cgroup(&id, &record.spec) {
            crate::sys::cgroup::remove(&cgroup).map_err(failed("removing cgroup", &cgroup))?;
            step::reached(Step::PodCgroupRemoved);
        }
        Ok(())
    })
    .await
    .map_err(|e| PodError::Panicked(e.to_string()))?
}
