//! The daemon: built, recovered, serving, drained.

mod backend;
mod confinement;
mod leftovers;
mod lock;
mod memory;
mod settings;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::{CniNative, Config, ConfigError},
    container::{looks::Looks, volumes::container_of_view},
    cri::{
        server::{self, Drained, ServeError},
        socket::{Socket, SocketError},
    },
    image::{ImageError, Images, ImagesConfig},
    layout::Layout,
    monitor::MonitorBinary,
    network::{Network, NetworkConfig, NetworkError, native::plugin::Usage},
    oci::{
        Handlers,
        capability::UnknownCapability,
        handler::HandlerError,
        node::{Node, NodeError},
        seccomp::Filters,
    },
    pod::{Pods, Recovered},
    services::Services,
    step::{self, Step},
    storage::{Storage, StorageError},
    store::{Store, StoreError},
    stream::{self, server::StreamError},
    sys::{
        cgroup, descriptors,
        namespaces::{self, NamespaceError},
    },
};
use backend::Node as Backend;

/// Why the daemon could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The asynchronous runtime.
    #[error("starting the daemon's threads")]
    Threads(#[source] io::Error),
    /// The descriptors it was started with.
    #[error("keeping open files from other programs")]
    Descriptors(#[source] io::Error),
    /// A directory.
    #[error("making directory {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another daemon works on the same directory.
    #[error(
        "{0} is in use by another corten daemon; stop that one, or choose another --root and --runroot"
    )]
    InUse(PathBuf),
    /// An option that only shows to be wrong on this machine.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A capability in the configuration.
    #[error("default_capabilities")]
    Capability(#[from] UnknownCapability),
    /// Facts about the machine.
    #[error("looking at this machine")]
    Node(#[from] NodeError),
    /// The default OCI runtime.
    #[error("default_runtime")]
    Handler(#[source] HandlerError),
    /// Records.
    #[error("opening the records")]
    Store(#[from] StoreError),
    /// Layers.
    #[error("opening the storage")]
    Storage(#[from] StorageError),
    /// Images.
    #[error("opening the images")]
    Images(#[from] ImageError),
    /// Network.
    #[error("opening the network")]
    Network(#[from] NetworkError),
    /// Pinned namespaces.
    #[error("preparing the directory of namespaces")]
    Namespaces(#[from] NamespaceError),
    /// Streams.
    #[error("serving streams")]
    Streams(#[from] StreamError),
    /// Server.
    #[error("serving")]
    Server(#[from] ServeError),
    /// The socket.
    #[error("listen")]
    Socket(#[from] SocketError),
    /// Signals.
    #[error("listening to signals")]
    Signals(#[source] io::Error),
}

/// Runs a daemon until it is told to stop (SIGTERM or SIGINT); its containers run on.
pub fn run(config: Config) -> Result<(), DaemonError> {
    descriptors::keep_from_children().map_err(DaemonError::Descriptors)?;
    crate::sys::heap::return_large();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("corten")
        .build()
        .map_err(DaemonError::Threads)?;
    let result = runtime.block_on(serve(config));
    // What still blocks in the kernel must not keep the daemon from ending.
    runtime.shutdown_background();
    result
}

async fn serve(config: Config) -> Result<(), DaemonError> {
    make_dirs(&config)?;
    let _lock = lock::take(&config.root)?;
    let _runlock = lock::take(&config.runroot)?;
    let stop = stop_signal()?;
    let services = Arc::new(assemble(&config).await?);
    let (pods, recovered) = Pods::open(services.clone()).await?;
    let damage = damage(&services, &recovered);
    for found in &damage {
        warn!("damaged: {found}");
    }
    let streaming = stream::server::Server::bind(settings::streams(&config)).await?;
    let pods_behind = pods.clone();
    let behind = Arc::new(stream::behind::Node::new(pods.clone()));
    let backend = Arc::new(Backend::new(pods, streaming.streams(), &config, damage));
    let left = leftovers::find(&services, &recovered);
    let socket = Socket::bind(config.listen.path())?;
    step::reached(Step::Listening);
    pods_behind.take_down(recovered.rebooted);
    leftovers::remove_later(services.clone(), left);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    info!(socket = %config.listen.path().display(), "serving");
    let drain = config.drain_timeout;
    let stopping = services.leaving.clone();
    let streams = tokio::spawn(streaming.run(behind, stopping.clone(), drain));
    let stop = async {
        stop.await;
        // Streams end with the daemon: they do not wait for requests under way.
        stopping.cancel();
    };
    let drained = server::serve(
        socket,
        backend,
        Arc::new(memory::Keeper::start()),
        stop,
        drain,
    )
    .await?;
    if let Err(error) = streams.await {
        warn!(%error, "the streaming server broke off");
    }
    match drained {
        Drained::Whole => info!("stopped; containers run on"),
        Drained::Cut => warn!("stopped with requests under way; containers run on"),
    }
    tidy(&services, &config);
    Ok(())
}

async fn assemble(config: &Config) -> Result<Services, DaemonError> {
    let layout = Layout::new(&config.root, &config.runroot);
    let monitor = MonitorBinary::new(config.find_monitor()?);
    let node = Node::detect()?;
    let handlers = Handlers::probe(
        &settings::handlers(config),
        &config.default_runtime,
        &config.runroot.join("runtimes"),
        settings::driver(config),
    )
    .await;
    for (name, handler) in handlers.iter() {
        match handler {
            Ok(handler) => info!(name, version = handler.version, "runtime handler"),
            // One that is there without being asked for need not be.
            Err(error)
                if config.runtimes.is_only_implied(name) && name != config.default_runtime =>
            {
                info!(name, %error, "runtime handler");
            }
            Err(error) => warn!(name, %error, "runtime handler"),
        }
    }
    namespaces::prepare_root(&layout.namespaces())?;
    let store = Store::open(&layout.records())?;
    let storage = open_storage(layout.root().to_owned()).await?;
    let images = Images::open(
        images_config(config, &layout),
        storage.clone(),
        store.clone(),
    )
    .await?;
    // Before anything is collected: what containers stand on is in use.
    for rootfs in storage.rootfs_records() {
        images.adopt(rootfs.container.as_str(), &rootfs.layers);
    }
    for view in storage.views() {
        images.adopt(container_of_view(&view.key), &view.layers);
    }
    let network = Network::open(network_config(config, &layout)).await?;
    let mut settings = settings::settings(config, &node)?;
    settings.defaults.apparmor_profile = confinement::apparmor_profile(config, &node).await;
    Ok(Services {
        settings,
        layout,
        store,
        storage,
        images,
        network,
        handlers,
        monitor,
        selinux: confinement::selinux(config, &node),
        node,
        boot_id: boot_id(),
        looks: Looks::default(),
        leaving: CancellationToken::new(),
        filters: Filters::default(),
    })
}

/// What was found damaged at the start, in words: for the status, since logs are read by few.
fn damage(services: &Services, recovered: &Recovered) -> Vec<String> {
    let mut found = recovered.set_aside.clone();
    for image in services.images.damaged() {
        let names = image.names.join(", ");
        found.push(format!("image {} ({names}): {}", image.id, image.reason));
    }
    for aside in services.storage.set_aside() {
        let path = aside.path.display();
        found.push(format!("storage: {}; it lies in {path}", aside.reason));
    }
    for id in services.network.unreadable() {
        found.push(format!("the network record of sandbox {id} is unreadable"));
    }
    found
}

async fn open_storage(root: PathBuf) -> Result<Storage, DaemonError> {
    let path = root.clone();
    tokio::task::spawn_blocking(move || Storage::open(&root))
        .await
        .map_err(|e| DaemonError::Directory {
            path,
            source: io::Error::other(e),
        })?
        .map_err(DaemonError::Storage)
}

/// A timeout that never comes.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn images_config(config: &Config, layout: &Layout) -> ImagesConfig {
    ImagesConfig {
        registries_conf: Some(config.registries_conf.clone()),
        auth_file: config.auth_file.clone(),
        certs_dirs: config.certs_dirs.clone(),
        insecure_registries: config.insecure_registries.clone(),
        downloads_per_image: config.max_parallel_downloads as usize,
        downloads: config.max_parallel_downloads as usize * 2,
        pinned: config.pinned_images.clone(),
        // For ever is longer than any registry is silent.
        stall_timeout: config.pull_progress_timeout.unwrap_or(FOR_EVER),
        ..ImagesConfig::new(layout.root().join("tmp"))
    }
}

fn network_config(config: &Config, layout: &Layout) -> NetworkConfig {
    NetworkConfig {
        conf_dir: config.cni_conf_dir.clone(),
        conf_template: config.cni_conf_template.clone(),
        plugin_dirs: config.cni_plugin_dirs.clone(),
        cache_dir: layout.cni(),
        default_network: config.cni_default_network.clone(),
        tag: tag(&config.root),
        plugin_timeout: config.cni_timeout,
        native: match config.cni_native {
            CniNative::Auto => Usage::Auto,
            CniNative::Never => Usage::Never,
        },
        ..NetworkConfig::default()
    }
}

/// Tells the packet filter tables of daemons apart that run side by side.
fn tag(root: &Path) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(root.as_os_str().as_encoded_bytes())[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn make_dirs(config: &Config) -> Result<(), DaemonError> {
    let layout = Layout::new(&config.root, &config.runroot);
    for (path, mode) in [
        // Containers of another user reach their root file systems through it.
        (config.root.clone(), 0o711),
        (config.runroot.clone(), 0o711),
        (layout.containers(), 0o700),
        (layout.sandboxes(), 0o711),
        (layout.bundles(), 0o711),
    ] {
        make_dir(&path, mode).map_err(|source| DaemonError::Directory { path, source })?;
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Completes on the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, DaemonError> {
    let mut term = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => info!("SIGTERM: draining"),
            _ = interrupt.recv() => info!("SIGINT: draining"),
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    })
}

/// Removes what an idle daemon leaves, so that a node without pods is as it was before.
fn tidy(services: &Services, config: &Config) {
    if !services.is_idle() {
        return;
    }
    let _ = namespaces::release_root(&services.layout.namespaces());
    for name in [config.monitors_cgroup(), config.pods_cgroup()] {
        // Fails on a cgroup that others use, which is right.
        let _ = cgroup::remove(Path::new(name));
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
