//! Setting a sandbox up.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::Path,
    sync::Arc,
};

use rustix::mount::MountFlags;

use super::{
    error::PodError,
    infra::{self, Infra},
    limits::PodResources,
    msg::{Mailbox, Msg, SetUpFailure},
    record::PodRecord,
    spec::{PidMode, PodSpec, Shared},
    stop, update,
};
use crate::{
    id::Id,
    id_map::Owner,
    lsm::relabel,
    network::{Attachment, PodNetwork, files},
    services::Services,
    step::{self, Step},
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
    if spec.namespaces.user.is_some() {
        let handler = services
            .handlers
            .get(&record.handler)
            .map_err(PodError::Handler)?;
        services
            .user_namespaces(&handler)
            .map_err(PodError::Users)?;
    }
    let tell = |text: &str| {
        let text = text.to_owned();
        async move {
            let _ = me.send(Msg::Step(text)).await;
        }
    };
    let mut network = None;
    if spec.namespaces.network == Shared::Pod {
        let netns = services.layout.sandbox_namespaces(id).join("net");
        let mut pod = PodNetwork::new(id, spec, netns).map_err(PodError::Annotations)?;
        if !services.settings.host_ports {
            pod.ports.clear();
        }
        // Before anything is made: another pod may have a port.
        services
            .network
            .reserve_ports(&pod)
            .map_err(PodError::Network)?;
        network = Some(pod);
        tell("waiting for the network to be ready").await;
        services
            .network
            .wait_ready(services.settings.network_ready_timeout)
            .await
            .map_err(PodError::Network)?;
    }

    tell("making files and namespaces").await;
    let labels = services.sandbox_labels(record);
    let label = labels.map(|labels| labels.mount.to_string());
    let files_made = {
        let (services, id, spec) = (services.clone(), id.clone(), spec.clone());
        let label = label.clone();
        tokio::task::spawn_blocking(move || make_files(&services, &id, &spec, label.as_deref()))
    };
    files_made
        .await
        .map_err(|e| PodError::Panicked(e.to_string()))??;
    make_namespaces(services, id, spec).await?;
    let limits = PodResources::of(spec);
    update::set(services, id, spec, PodResources::default(), limits).await?;

    let mut attachment = None;
    if let Some(pod) = network {
        tell("adding the pod to the network").await;
        attachment = Some(
            services
                .network
                .add(&pod)
                .await
                .map_err(PodError::Network)?,
        );
    }
    let ips = attachment
        .as_ref()
        .map(Attachment::addresses)
        .unwrap_or_default();
    make_hosts(services, id, spec, &ips).await?;
    step::reached(Step::HostsWritten);
    if let Some(label) = label {
        label_files(services, id, label).await?;
    }

    let mut infra = None;
    if spec.namespaces.pid == PidMode::Pod {
        tell("starting the infra process").await;
        infra = Some(infra::start(services, id, record).await?);
    }
    Ok(PodUp { attachment, infra })
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
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

fn make_files(
    services: &Services,
    id: &Id,
    spec: &PodSpec,
    label: Option<&str>,
) -> Result<(), PodError> {
    let dir = services.layout.sandbox(id);
    let owner = root_of(spec);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&dir)
        .map_err(failed("making directory", &dir))?;
    step::reached(Step::SandboxDirectoryMade);
    let host = host_resolver(spec).map_err(failed("reading", Path::new(RESOLV_CONF)))?;
    let resolv = files::resolv_conf(spec.dns.as_ref(), &host).map_err(PodError::Contents)?;
    write(&dir.join("resolv.conf"), &resolv, owner)?;
    let name = files::hostname(&hostname(spec)).map_err(PodError::Contents)?;
    write(&dir.join("hostname"), name.as_bytes(), owner)?;
    step::reached(Step::SandboxFilesWritten);
    if spec.namespaces.ipc == Shared::Pod {
        let shm = dir.join("shm");
        fs::DirBuilder::new()
            .mode(0o1777)
            .create(&shm)
            .map_err(failed("making directory", &shm))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let mut options = format!("mode=1777,size={}", services.settings.shm_size);
        if let Some(owner) = owner {
            options.push_str(&format!(",uid={},gid={}", owner.uid, owner.gid));
        }
        if let Some(label) = label {
            options.push_str(&format!(",context=\"{label}\""));
        }
        mount::mount_at("tmpfs", &shm, flags, &options)
            .map_err(failed("mounting a tmpfs on", &shm))?;
        step::reached(Step::ShmMounted);
    }
    Ok(())
}

/// The host's resolver settings, and where systemd-resolved keeps those that a pod can use too.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const RESOLVED_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// The host's resolver settings, for a pod that brings none.
fn host_resolver(spec: &PodSpec) -> io::Result<Vec<u8>> {
    if spec.dns.is_some() {
        return Ok(Vec::new());
    }
    let host = read_or_empty(Path::new(RESOLV_CONF))?;
    if spec.namespaces.network == Shared::Pod && files::only_loopback_servers(&host) {
        let resolved = read_or_empty(Path::new(RESOLVED_CONF))?;
        if !resolved.is_empty() {
            return Ok(resolved);
        }
    }
    Ok(host)
}

fn read_or_empty(path: &Path) -> io::Result<Vec<u8>> {
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut text = Vec::new();
    file.take(files::MAX_RESOLV_CONF as u64 + 1)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// `hosts` of the sandbox: the host's own on the host's network, or made from the pod's addresses.
async fn make_hosts(
    services: &Arc<Services>,
    id: &Id,
    spec: &PodSpec,
    ips: &[std::net::IpAddr],
) -> Result<(), PodError> {
    let path = services.layout.sandbox(id).join("hosts");
    let owner = root_of(spec);
    let own = match spec.namespaces.network {
        Shared::Node => None,
        Shared::Pod => Some(files::hosts(&hostname(spec), ips).map_err(PodError::Contents)?),
    };
    tokio::task::spawn_blocking(move || match own {
        Some(text) => write(&path, text.as_bytes(), owner),
        None => {
            let host = Path::new("/etc/hosts");
            let text = read_or_empty(host).map_err(failed("reading", host))?;
            write(&path, &text, owner)
        }
    })
    .await
    .map_err(|e| PodError::Panicked(e.to_string()))?
}

/// Lets the pod's containers read the files that are mounted into them.
async fn label_files(services: &Services, id: &Id, label: String) -> Result<(), PodError> {
    let dir = services.layout.sandbox(id);
    tokio::task::spawn_blocking(move || {
        ["hostname", "hosts", "resolv.conf"]
            .iter()
            .try_for_each(|name| relabel::relabel(&dir.join(name), &label))
    })
    .await
    .map_err(|e| PodError::Panicked(e.to_string()))?
    .map_err(PodError::Relabel)
}

async fn make_namespaces(services: &Services, id: &Id, spec: &PodSpec) -> Result<(), PodError> {
    let set = NamespaceSet {
        net: spec.namespaces.network == Shared::Pod,
        ipc: spec.namespaces.ipc == Shared::Pod,
        uts: spec.namespaces.network == Shared::Pod,
        user: spec.namespaces.user.clone(),
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

/// Who on the host the pod's root user is, unless it is the host's own.
pub(super) fn root_of(spec: &PodSpec) -> Option<Owner> {
    spec.namespaces.user.as_ref()?.root()
}

/// Writes a file of the sandbox, which the root user of its containers can change.
fn write(path: &Path, bytes: &[u8], owner: Option<Owner>) -> Result<(), PodError> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .and_then(|()| give(path, owner))
        .map_err(failed("writing", path))
}

/// Gives a new file or directory to the root user of a pod.
pub(super) fn give(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    match owner {
        Some(owner) => chown(path, Some(owner.uid), Some(owner.gid)),
        None => Ok(()),
    }
}

pub(super) fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PodError {
    let path = path.to_owned();
    move |source| PodError::File { step, path, source }
}
