//! Setting a sandbox up.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use rustix::mount::MountFlags;

use super::{
    error::PodError,
    infra::{self, Infra},
    msg::{Mailbox, Msg, SetUpFailure},
    record::PodRecord,
    spec::{PidMode, PodSpec, Shared},
    stop,
};
use crate::{
    id::Id,
    network::{Attachment, PodNetwork, files},
    services::Services,
    sys::{
        mount,
        namespaces::{self, NamespaceSet, Setup},
    },
};

/// What a sandbox has gained once it is set up.
pub(super) struct PodUp {
    pub(super) attachment: Option<Attachment>,
    pub(super) infra: Option<Infra>,
}

/// Sets a sandbox up; what fails half way is taken down again.
pub(super) async fn set_up(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
    me: &Mailbox,
) -> Result<PodUp, SetUpFailure> {
    match try_set_up(services, id, record, me).await {
        Ok(up) => Ok(up),
        Err(error) => {
            let left = stop::tear_down(services, id, record, None)
                .await
                .and(super::remove::files(services, id, record).await)
                .err();
            Err(SetUpFailure { error, left })
        }
    }
}

async fn try_set_up(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
    me: &Mailbox,
) -> Result<PodUp, PodError> {
    let spec = &record.spec;
    let step = |text: &str| {
        let text = text.to_owned();
        async move {
            let _ = me.send(Msg::Step(text)).await;
        }
    };
    if spec.namespaces.network == Shared::Pod {
        step("waiting for the network to be ready").await;
        services
            .network
            .wait_ready(services.settings.network_ready_timeout)
            .await
            .map_err(PodError::Network)?;
    }

    step("making files and namespaces").await;
    let files_made = {
        let (services, id, spec) = (services.clone(), id.clone(), spec.clone());
        tokio::task::spawn_blocking(move || make_files(&services, &id, &spec))
    };
    files_made
        .await
        .map_err(|e| PodError::Panicked(e.to_string()))??;
    make_namespaces(services, id, spec).await?;

    let mut attachment = None;
    if spec.namespaces.network == Shared::Pod {
        step("adding the pod to the network").await;
        attachment = Some(
            services
                .network
                .add(&pod_network(services, id, record))
                .await
                .map_err(PodError::Network)?,
        );
    }
    let ips = attachment
        .as_ref()
        .map(Attachment::ips)
        .unwrap_or_default();
    let hosts = files::hosts(&hostname(spec), &ips, spec.namespaces.network == Shared::Node)
        .map_err(PodError::Contents)?;
    write(&services.layout.sandbox(id).join("hosts"), hosts.as_bytes())?;

    let mut infra = None;
    if spec.namespaces.pid == PidMode::Pod {
        step("starting the infra process").await;
        infra = Some(infra::start(services, id, record).await?);
    }
    Ok(PodUp { attachment, infra })
}

/// What the network is told of a pod.
pub(super) fn pod_network(services: &Services, id: &Id, record: &PodRecord) -> PodNetwork {
    let spec = &record.spec;
    PodNetwork {
        id: id.to_string(),
        namespace: spec.metadata.namespace.clone(),
        name: spec.metadata.name.clone(),
        uid: spec.metadata.uid.clone(),
        netns: services.layout.sandbox_namespaces(id).join("net"),
        ports: spec.port_mappings.clone(),
        annotations: spec.annotations.clone(),
        dns: spec.dns.clone(),
        cgroup_path: None,
    }
}

/// The host name containers of the pod see.
pub(crate) fn hostname(spec: &PodSpec) -> String {
    if spec.hostname.is_empty() {
        host_name()
    } else {
        spec.hostname.clone()
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn make_files(services: &Services, id: &Id, spec: &PodSpec) -> Result<(), PodError> {
    let dir = services.layout.sandbox(id);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&dir)
        .map_err(failed("making directory", &dir))?;
    let resolv = files::resolv_conf(spec.dns.as_ref()).map_err(PodError::Contents)?;
    write(&dir.join("resolv.conf"), resolv.as_bytes())?;
    write(&dir.join("hostname"), format!("{}\n", hostname(spec)).as_bytes())?;
    if spec.namespaces.ipc == Shared::Pod {
        let shm = dir.join("shm");
        fs::DirBuilder::new()
            .mode(0o1777)
            .create(&shm)
            .map_err(failed("making directory", &shm))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let options = format!("mode=1777,size={}", services.settings.shm_size);
        mount::mount_at("tmpfs", &shm, flags, &options)
            .map_err(failed("mounting a tmpfs on", &shm))?;
    }
    Ok(())
}

async fn make_namespaces(services: &Services, id: &Id, spec: &PodSpec) -> Result<(), PodError> {
    let set = NamespaceSet {
        net: spec.namespaces.network == Shared::Pod,
        ipc: spec.namespaces.ipc == Shared::Pod,
        uts: spec.namespaces.network == Shared::Pod,
    };
    let setup = Setup {
        hostname: set.uts.then(|| hostname(spec)),
        sysctls: spec.sysctls.clone(),
    };
    namespaces::create_pinned(&services.layout.sandbox_namespaces(id), set, &setup)
        .await
        .map(drop)
        .map_err(PodError::Namespaces)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PodError> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .map_err(failed("writing", path))
}

pub(super) fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PodError {
    let path = path.to_owned();
    move |source| PodError::File { step, path, source }
}
