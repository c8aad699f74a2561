//! The infra process: PID 1 of a PID namespace that the containers of a pod share.

use std::{fs, os::unix::fs::DirBuilderExt, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    create::{failed, give, root_of},
    error::PodError,
    record::PodRecord,
    spec::{PidMode, Shared},
};
use crate::{
    container::{create, error::ContainerError},
    id::Id,
    monitor::{self, Adopted, Monitor},
    oci::{
        Handler, seccomp,
        spec::{self, InfraInput, NamespacePaths},
    },
    services::Services,
    step::{self, Step},
    sys::elf,
};

/// A running infra process.
pub(super) struct Infra {
    pub(super) pid: i32,
    pub(super) monitor: Monitor,
}

/// How long a killed infra process may take to end.
const KILLED: Duration = Duration::from_secs(20);

/// Makes and starts the infra process; its container has the sandbox's ID.
pub(super) async fn start(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
) -> Result<Infra, PodError> {
    let handler = handler(services, record)?;
    {
        let (services, id) = (services.clone(), id.clone());
        let (record, handler) = (record.clone(), handler.clone());
        tokio::task::spawn_blocking(move || write_bundle(&services, &id, &record, &handler))
            .await
            .map_err(|e| PodError::Panicked(e.to_string()))??;
    }
    let request = create::base_request(services, id, &handler, false);
    let created = monitor::spawn(&services.monitor, request)
        .await
        .map_err(|error| PodError::InfraMonitor(create::in_runtimes_words(error)))?;
    handler.start(id).await.map_err(PodError::InfraRuntime)?;
    Ok(Infra {
        pid: created.pid,
        monitor: created.monitor,
    })
}

fn write_bundle(
    services: &Services,
    id: &Id,
    record: &PodRecord,
    handler: &Handler,
) -> Result<(), PodError> {
    let program = services.monitor.path();
    // It runs in a root of its own, where there is no library.
    if !elf::is_static(program).map_err(failed("reading", program))? {
        return Err(PodError::DynamicMonitor(program.to_owned()));
    }
    let rootfs = services.layout.rootfs(id);
    for (dir, mode) in [
        (services.layout.bundle(id), 0o711),
        (rootfs.clone(), 0o755),
        (services.layout.container(id), 0o700),
    ] {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&dir)
            .map_err(failed("making directory", &dir))?;
        step::reached(Step::ContainerDirectoryMade);
    }
    let spec = &record.spec;
    // The runtime makes mount points there as the root user of the pod.
    give(&rootfs, root_of(spec)).map_err(failed("handing over", &rootfs))?;
    let filter = seccomp::load(services.seccomp(&spec.seccomp)).map_err(PodError::Seccomp)?;
    services
        .check_apparmor(&spec.apparmor)
        .map_err(PodError::Apparmor)?;
    let cgroup = services
        .cgroup_parent(id, spec)
        .map_err(PodError::Cgroup)?
        .container(id);
    let pinned = |own: Shared, name: &str| -> Option<PathBuf> {
        (own == Shared::Pod).then(|| services.layout.sandbox_namespaces(id).join(name))
    };
    let built = spec::infra(&InfraInput {
        id,
        pod: spec,
        namespaces: &NamespacePaths {
            network: pinned(spec.namespaces.network, "net"),
            ipc: pinned(spec.namespaces.ipc, "ipc"),
            uts: pinned(spec.namespaces.network, "uts"),
            pid: None,
            user: spec
                .namespaces
                .user
                .as_ref()
                .map(|_| services.layout.sandbox_namespaces(id).join("user")),
        },
        rootfs: &rootfs,
        program,
        labels: services.sandbox_labels(record).as_ref(),
        cgroups_path: &cgroup.spec,
        seccomp: &filter,
        node: &services.node,
        features: &handler.features,
        allowed_annotations: &handler.config.allowed_annotations,
        defaults: &services.settings.defaults,
    })
    .map_err(PodError::InfraSpec)?;
    create::write_config(&services.layout.bundle(id), &built.spec).map_err(of_container)
}

/// Kills the infra process, where there is one, and has the runtime forget it.
pub(super) async fn stop(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
    monitor: Option<Monitor>,
) -> Result<(), PodError> {
    if record.spec.namespaces.pid != PidMode::Pod {
        return Ok(());
    }
    let handler = handler(services, record)?;
    // The runtime kills what still runs; without a pod of this kind it knows nothing of the ID.
    handler.delete(id).await.map_err(PodError::InfraRuntime)?;
    if let Some(monitor) = monitor
        && timeout(KILLED, monitor.exited()).await.is_err()
    {
        return Err(PodError::InfraLost(format!(
            "process {} was killed but has not ended",
            monitor.pid()
        )));
    }
    Ok(())
}

/// Finds the infra process of a sandbox again.
pub(super) async fn adopt(services: &Services, id: &Id) -> Result<Monitor, PodError> {
    match monitor::adopt(&create::paths(services, id)).await {
        Ok(Adopted::Alive(monitor)) => Ok(monitor),
        Ok(Adopted::Exited(record)) => Err(PodError::InfraLost(record.status.to_string())),
        Ok(Adopted::Failed(failure)) => Err(PodError::InfraLost(failure.text)),
        Ok(Adopted::Lost) => Err(PodError::InfraLost("so is its monitor".into())),
        Err(error) => Err(PodError::InfraMonitor(error)),
    }
}

fn handler(services: &Services, record: &PodRecord) -> Result<Arc<Handler>, PodError> {
    services
        .handlers
        .get(&record.handler)
        .map_err(PodError::Handler)
}

fn of_container(error: ContainerError) -> PodError {
    PodError::Container(Arc::new(error))
}
