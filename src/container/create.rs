//! Making a container: image, root file system, specification, monitor, runtime.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use oci_spec::runtime::Spec;
use tokio::task::spawn_blocking;
use tracing::info;

use super::{
    error::ContainerError,
    mapped,
    record::{ContainerRecord, UserIds},
    remove::{self, failed},
    signal,
    spec::{ContainerSpec, MountSource, Users},
    state::ContainerState,
    volumes,
};
use crate::{
    id::Id,
    id_map::UserMappings,
    image::Image,
    lsm::{relabel, selinux::Labels},
    monitor::{
        self, CreateRequest, LogConfig, MIN_LOG_SIZE, Monitor, MonitorError, MonitorPaths, Stdin,
        StdioOwner,
    },
    oci::{
        Handler, command,
        device::{self, ResolvedDevice},
        message,
        mount::{self, ResolvedMount},
        mountinfo::MountTable,
        rootfs, seccomp,
        spec::{self, Built, ImageProcess, NamespacePaths, SandboxFiles, SpecInput},
        user::{self, ResolvedUser},
    },
    pod::{
        create::hostname,
        record::PodRecord,
        spec::{PidMode, Shared},
    },
    services::{Services, now},
    step::{self, Step},
    storage::RootfsOptions,
};

/// Why a container could not be made, and what could then not be taken down.
pub(crate) struct CreateFailure {
    pub(crate) error: ContainerError,
    pub(crate) left: Option<ContainerError>,
}

/// A container that was made.
pub(crate) struct CreatedContainer {
    pub(crate) pid: i32,
    pub(crate) monitor: Monitor,
    pub(crate) record: ContainerRecord,
}

/// The pod a container is made in.
pub(crate) struct Home {
    pub(crate) id: Id,
    pub(crate) record: PodRecord,
    /// Process whose PID namespace the container asks to see.
    pub(crate) target: Option<i32>,
}

/// What is recorded before anything is made.
pub(crate) fn intent(
    services: &Services,
    pod: &Id,
    record: &PodRecord,
    spec: ContainerSpec,
) -> Result<ContainerRecord, ContainerError> {
    let mut spec = spec;
    spec.security.pid = pid_mode(spec.security.pid, &record.spec.namespaces.pid)?;
    check_users(&spec.security.users, record.spec.namespaces.user.as_ref())?;
    check_supported(&spec)?;
    let name = &spec.image.image;
    let image = services
        .images
        .get(name)
        .map_err(ContainerError::Image)?
        .ok_or_else(|| ContainerError::ImageNotFound(name.clone()))?;
    let log_path = match (&record.spec.log_directory, &spec.log_path) {
        (Some(dir), Some(path)) => Some(dir.join(path)),
        _ => None,
    };
    Ok(ContainerRecord {
        pod: pod.clone(),
        image_id: image.id.clone(),
        image_ref: known_by(&image),
        created_at: now(),
        log_path,
        handler: record.handler.clone(),
        stop_signal: signal::first(spec.stop_signal, &image.config.stop_signal)
            .map_err(ContainerError::StopSignal)?,
        user: None,
        mount_images: BTreeMap::new(),
        resources: spec.resources.clone(),
        boot_id: services.boot_id.clone(),
        state: ContainerState::Creating,
        removing: false,
        reaped: false,
        spec: Arc::new(spec),
    })
}

/// Whose processes a container sees. POD, which is also what a request that says nothing carries,
/// means the sandbox's choice; more than the sandbox was made for is refused.
fn pid_mode(container: PidMode, sandbox: &PidMode) -> Result<PidMode, ContainerError> {
    match container {
        PidMode::Pod => Ok(sandbox.clone()),
        PidMode::Node if *sandbox != PidMode::Node => Err(ContainerError::PidMode {
            container: container.name(),
            sandbox: sandbox.name(),
        }),
        other => Ok(other),
    }
}

/// A container has the user namespace of its sandbox; one that expects another would not be what it thinks.
fn check_users(container: &Users, sandbox: Option<&UserMappings>) -> Result<(), ContainerError> {
    let sandbox = match (container, sandbox) {
        (Users::Pod, _) | (Users::Node, None) => return Ok(()),
        (Users::Mapped(wanted), Some(there)) if wanted == there => return Ok(()),
        (Users::Mapped(_), Some(_)) => "one with other mappings",
        (Users::Node, Some(_)) => "one of its own",
        (Users::Mapped(_), None) => "the host's",
    };
    Err(ContainerError::Users { sandbox })
}

/// Refuses what would otherwise be passed over in silence.
fn check_supported(spec: &ContainerSpec) -> Result<(), ContainerError> {
    if !spec.cdi_devices.is_empty() {
        return Err(ContainerError::Unsupported(
            "config.CDI_devices: CDI devices",
        ));
    }
    Ok(())
}

/// What an image is known by: a digested reference where there is one, else its ID.
fn known_by(image: &Image) -> String {
    image.repo_digests.first().unwrap_or(&image.id).clone()
}

/// Makes a container; what fails half way is taken down again.
pub(crate) async fn create(
    services: &Arc<Services>,
    id: &Id,
    record: &ContainerRecord,
    home: &Home,
) -> Result<CreatedContainer, CreateFailure> {
    // Before there is anything to take down.
    let looked = services.looks.at_all(&record.spec.mounts).await;
    if let Err(error) = looked {
        return Err(CreateFailure {
            error: ContainerError::NoAnswer(error),
            left: None,
        });
    }
    match try_create(services, id, record, home).await {
        Ok(made) => Ok(made),
        Err(error) => {
            let left = remove::remove(services, id, record, None).await.err();
            Err(CreateFailure { error, left })
        }
    }
}

async fn try_create(
    services: &Arc<Services>,
    id: &Id,
    record: &ContainerRecord,
    home: &Home,
) -> Result<CreatedContainer, ContainerError> {
    let image = hold_image(services, &record.image_id, id)?;
    let handler = services.handler(&record.handler)?;
    let label = services
        .labels(&home.record, &record.spec.security)
        .map(|labels| labels.mount.to_string());
    make_directories(services, id, record).await?;
    services
        .storage
        .create_rootfs(
            id,
            &image.layers,
            &services.layout.rootfs(id),
            RootfsOptions {
                users: home.record.spec.namespaces.user.clone(),
                context: label.clone(),
                ..RootfsOptions::default()
            },
        )
        .await
        .map_err(ContainerError::Rootfs)?;
    let mut record = record.clone();
    let users = home.record.spec.namespaces.user.as_ref();
    let look = volumes::Look {
        context: label.clone(),
        users: users.cloned(),
    };
    let views = volumes::mount(services, id, &mut record, &look)
        .await
        .map_err(|error| ContainerError::Volume(Box::new(error)))?;

    let user = {
        let (services, id) = (services.clone(), id.clone());
        let (record, home) = (
            record.clone(),
            (home.id.clone(), home.record.clone(), home.target),
        );
        let handler = handler.clone();
        spawn_blocking(move || {
            let (pod_id, pod, target) = home;
            let home = Home {
                id: pod_id,
                record: pod,
                target,
            };
            write_spec(&services, &id, &record, &home, &handler, &image, &views)
        })
        .await
        .map_err(|e| ContainerError::Panicked(e.to_string()))??
    };
    let mut request = request(services, id, &record, &handler);
    request.owner = stdio_owner(users);
    let created = monitor::spawn(&services.monitor, request)
        .await
        .map_err(|error| ContainerError::Monitor(in_runtimes_words(error)))?;
    // The container has bound them by now.
    remove::unmount_mapped(services, id).await?;
    record.user = Some(UserIds {
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
    });
    Ok(CreatedContainer {
        pid: created.pid,
        monitor: created.monitor,
        record,
    })
}

/// Keeps an image's layers for as long as the container is there.
fn hold_image(services: &Services, image: &str, owner: &Id) -> Result<Arc<Image>, ContainerError> {
    services
        .images
        .acquire(image, owner.as_str())
        .map_err(ContainerError::Image)
}

async fn make_directories(
    services: &Arc<Services>,
    id: &Id,
    record: &ContainerRecord,
) -> Result<(), ContainerError> {
    let (services, id, log) = (services.clone(), id.clone(), record.log_path.clone());
    spawn_blocking(move || {
        let log_dir = log.as_deref().and_then(Path::parent).map(Path::to_owned);
        for (dir, mode) in [
            (services.layout.bundle(&id), 0o711),
            (services.layout.rootfs(&id), 0o755),
            (services.layout.container(&id), 0o700),
        ] {
            make_dir(&dir, mode)?;
        }
        log_dir.map_or(Ok(()), |dir| make_dir(&dir, 0o755))
    })
    .await
    .map_err(|e| ContainerError::Panicked(e.to_string()))?
}

fn make_dir(dir: &Path, mode: u32) -> Result<(), ContainerError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(dir)
        .map_err(failed("making directory", dir))?;
    step::reached(Step::ContainerDirectoryMade);
    Ok(())
}

/// Looks up what the specification needs to know of the host, builds it, and writes it.
fn write_spec(
    services: &Services,
    id: &Id,
    record: &ContainerRecord,
    home: &Home,
    handler: &Handler,
    image: &Image,
    views: &[Option<PathBuf>],
) -> Result<ResolvedUser, ContainerError> {
    let container = &record.spec;
    let rootfs_path = services.layout.rootfs(id);
    let process = image_process(image);
    let user = user::resolve(
        &rootfs_path,
        &user::Request {
            run_as: &container.security.user,
            image_user: &process.user,
            supplemental: &container.security.supplemental_groups,
            policy: container.security.supplemental_groups_policy,
        },
    )
    .map_err(ContainerError::User)?;
    let root = home
        .record
        .spec
        .namespaces
        .user
        .as_ref()
        .and_then(UserMappings::root);
    let volumes = process.volumes.iter().map(String::as_str);
    rootfs::prepare(&rootfs_path, volumes, root).map_err(ContainerError::Prepare)?;
    let mut mounts = resolve_mounts(services, container, views)?;
    let labels = services.labels(&home.record, &container.security);
    relabel_volumes(&mounts, labels.as_ref())?;
    if !handler.features.idmap_mounts {
        mapped::mount(&services.layout.mapped_volumes_of(id), &mut mounts)
            .map_err(ContainerError::Mapped)?;
    }
    let devices = resolve_devices(services, container, handler)?;
    let filter = seccomp::load(services.seccomp(&container.security.seccomp))
        .map_err(ContainerError::Seccomp)?;
    services
        .check_apparmor(&container.security.apparmor)
        .map_err(ContainerError::Apparmor)?;
    let cgroup = services
        .cgroup_parent(&home.id, &home.record.spec)
        .map_err(ContainerError::Cgroup)?
        .container(id);
    let Built { spec, clamped } = spec::build(&SpecInput {
        id,
        sandbox_id: &home.id,
        container,
        pod: &home.record.spec,
        image: &process,
        user: &user,
        hostname: &hostname(&home.record.spec),
        namespaces: &namespaces(services, container, home),
        files: &files(services, home),
        rootfs: &rootfs_path,
        mounts: &mounts,
        devices: &devices,
        seccomp: &filter,
        labels: labels.as_ref(),
        cgroups_path: &cgroup.spec,
        node: &services.node,
        features: &handler.features,
        allowed_annotations: &handler.config.allowed_annotations,
        defaults: &services.settings.defaults,
    })
    .map_err(ContainerError::Spec)?;
    for part in &clamped {
        info!(container = %id, "{part}");
    }
    write_config(&services.layout.bundle(id), &spec)?;
    Ok(user)
}

/// Writes a bundle's `config.json`.
pub(crate) fn write_config(bundle: &Path, spec: &Spec) -> Result<(), ContainerError> {
    use std::io::Write;
    let path = bundle.join("config.json");
    let text = serde_json::to_vec(spec).map_err(|source| ContainerError::SpecFile {
        path: path.clone(),
        source,
    })?;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(&text))
        .map_err(failed("writing", &path))?;
    step::reached(Step::ConfigWritten);
    Ok(())
}

fn image_process(image: &Image) -> ImageProcess {
    let config = &image.config;
    ImageProcess {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
        volumes: config.volumes.clone(),
        stop_signal: config.stop_signal.clone(),
    }
}

fn resolve_mounts(
    services: &Services,
    container: &ContainerSpec,
    views: &[Option<PathBuf>],
) -> Result<Vec<ResolvedMount>, ContainerError> {
    if container.mounts.is_empty() {
        return Ok(Vec::new());
    }
    let table = MountTable::read().map_err(failed("reading", Path::new("/proc/self/mountinfo")))?;
    container
        .mounts
        .iter()
        .zip(views)
        .map(|(mount, view)| {
            let refused = &services.settings.refused_mount_sources;
            let mut found = mount::resolve(mount, view.as_deref(), &table, refused)?;
            if view.is_some() {
                // A view of an image shows the pod's IDs already.
                found.mount.uid_mappings.clear();
                found.mount.gid_mappings.clear();
            }
            Ok(found)
        })
        .collect::<Result<_, _>>()
        .map_err(ContainerError::Mount)
}

/// Gives the volumes of the request that are to be the container's own its label.
fn relabel_volumes(
    mounts: &[ResolvedMount],
    labels: Option<&Labels>,
) -> Result<(), ContainerError> {
    let Some(labels) = labels.filter(|labels| !labels.is_super_privileged()) else {
        return Ok(());
    };
    let label = labels.mount.to_string();
    for resolved in mounts {
        let own = matches!(resolved.mount.source, MountSource::Host(_));
        // An image's files have the label from the mount itself.
        if resolved.mount.selinux_relabel && own {
            relabel::relabel(&resolved.source, &label).map_err(ContainerError::Relabel)?;
        }
    }
    Ok(())
}

fn resolve_devices(
    services: &Services,
    container: &ContainerSpec,
    handler: &Handler,
) -> Result<Vec<ResolvedDevice>, ContainerError> {
    let mut all = Vec::new();
    if container.security.privileged && !handler.config.privileged_without_host_devices {
        all = device::host(Path::new("/dev")).map_err(ContainerError::Device)?;
    }
    for device in services
        .settings
        .additional_devices
        .iter()
        .chain(&container.devices)
    {
        for resolved in device::resolve(device).map_err(ContainerError::Device)? {
            all.retain(|d: &ResolvedDevice| d.path != resolved.path);
            all.push(resolved);
        }
    }
    Ok(all)
}

fn namespaces(services: &Services, container: &ContainerSpec, home: &Home) -> NamespacePaths {
    let pinned = |own: Shared, name: &str| {
        (own == Shared::Pod).then(|| services.layout.sandbox_namespaces(&home.id).join(name))
    };
    let asked = &home.record.spec.namespaces;
    let of = |pid: i32| PathBuf::from(format!("/proc/{pid}/ns/pid"));
    NamespacePaths {
        network: pinned(asked.network, "net"),
        ipc: pinned(asked.ipc, "ipc"),
        // The host's network comes with the host's name.
        uts: pinned(asked.network, "uts"),
        pid: match container.security.pid {
            PidMode::Pod => home.record.infra_pid.map(of),
            PidMode::Target(_) => home.target.map(of),
            PidMode::Container | PidMode::Node => None,
        },
        user: asked
            .user
            .as_ref()
            .map(|_| services.layout.sandbox_namespaces(&home.id).join("user")),
    }
}

fn files(services: &Services, home: &Home) -> SandboxFiles {
    let dir = services.layout.sandbox(&home.id);
    SandboxFiles {
        hostname: Some(dir.join("hostname")),
        hosts: Some(dir.join("hosts")),
        resolv_conf: Some(dir.join("resolv.conf")),
        shm: Some(match home.record.spec.namespaces.ipc {
            Shared::Pod => dir.join("shm"),
            Shared::Node => PathBuf::from("/dev/shm"),
        }),
    }
}

/// The monitor hands on all that the runtime wrote, its log lines among it; people want the sentence.
pub(crate) fn in_runtimes_words(error: MonitorError) -> MonitorError {
    match error {
        MonitorError::Create(mut failure) => {
            failure.text = message::extract(failure.text.as_bytes());
            MonitorError::Create(failure)
        }
        MonitorError::ExecRuntime { status, stderr } => MonitorError::ExecRuntime {
            status,
            stderr: message::extract(stderr.as_bytes()),
        },
        other => other,
    }
}

/// Where a container's monitor is found.
pub(crate) fn paths(services: &Services, id: &Id) -> MonitorPaths {
    MonitorPaths {
        ctl_socket: services.layout.ctl_socket(id),
        exit_record: services.layout.exit_record(id),
        create_timeout: services.settings.create_timeout,
    }
}

/// What the monitor of a container is told.
fn request(
    services: &Services,
    id: &Id,
    record: &ContainerRecord,
    handler: &Handler,
) -> CreateRequest {
    let spec = &record.spec;
    let mut request = base_request(services, id, handler, spec.tty);
    request.stdin = match (spec.stdin, spec.stdin_once) {
        (false, _) => Stdin::Closed,
        (true, false) => Stdin::Open,
        (true, true) => Stdin::Once,
    };
    request.log = record.log_path.clone().map(|path| LogConfig {
        path,
        max_size: services
            .settings
            .log_size_max
            .map(|size| size.max(MIN_LOG_SIZE)),
    });
    request.attach_socket = Some(services.layout.attach_socket(id));
    request
}

/// Who a container's standard streams belong to: with a user namespace its root user, who could not open
/// them anew, as `/dev/stdout`, if they were the host's.
pub(crate) fn stdio_owner(users: Option<&UserMappings>) -> Option<StdioOwner> {
    users.and_then(UserMappings::root).map(|root| StdioOwner {
        uid: root.uid,
        gid: root.gid,
    })
}

/// What every monitor is told: where its container's files are, and how to make it.
pub(crate) fn base_request(
    services: &Services,
    id: &Id,
    handler: &Handler,
    tty: bool,
) -> CreateRequest {
    let bundle = services.layout.bundle(id);
    let pid_file = bundle.join("init.pid");
    // Relative to the bundle: the path of a socket has room for 107 bytes only.
    let console = tty.then(|| PathBuf::from("console.sock"));
    let paths = paths(services, id);
    CreateRequest {
        id: id.clone(),
        runtime_argv: handler.create_command(&command::Create {
            id,
            bundle: &bundle,
            pid_file: &pid_file,
            console_socket: console.as_deref(),
            log: Path::new("/dev/stderr"),
        }),
        bundle,
        pid_file,
        console_socket: console,
        stdin: Stdin::Closed,
        owner: None,
        log: None,
        exit_record: paths.exit_record,
        ctl_socket: paths.ctl_socket,
        attach_socket: None,
        cgroups: services.settings.monitor_cgroups.clone(),
        oom_file: None,
        env: runtime_environment(),
        create_timeout: services.settings.create_timeout,
        drain: CreateRequest::DRAIN,
    }
}

/// The environment of monitors and runtimes: where to find programs, and where systemd's bus is.
fn runtime_environment() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    ["PATH", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"]
        .into_iter()
        .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
        .collect()
}
