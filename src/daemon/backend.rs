//! The daemon as the services see it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;

use crate::{
    causes::whole,
    config::Config,
    container::{
        exec,
        spec::{ContainerSpec, Resources},
        view::ContainerView,
    },
    cri::{
        backend::{
            self, Archive, Backend, CgroupDriver, Condition, ExecOutput, FsUsage, HandlerStatus,
            ImageView, LayerState, NodeStatus, Outcome, PullProgress, StoreUsage,
        },
        convert::image::Credentials,
        status::{Failure, Kind},
    },
    events::Subscription,
    id::Id,
    image::{Auth, Image, LoadOptions, Phase, Platform, Progress, PullRequest},
    monitor::ExecEnd,
    network::cni::result::IpPrefix,
    oci::cgroup::Driver,
    pod::{Pods, limits::PodResources, spec::PodSpec, view::PodView},
    services::{Services, now},
    stats::{
        Stats,
        machine::Machine,
        sample::{ContainerSample, Detail},
    },
    stream::{self, server::Streams},
};

/// Everything of this node behind the services.
pub(super) struct Node {
    pods: Pods,
    stats: Stats,
    streams: Streams,
    configuration: Value,
    /// What was found damaged at the start, for the status.
    damage: Vec<String>,
}

impl Node {
    pub(super) fn new(pods: Pods, streams: Streams, config: &Config, damage: Vec<String>) -> Self {
        Self {
            stats: Stats::new(pods.clone()),
            pods,
            streams,
            configuration: config.to_json(),
            damage,
        }
    }

    fn services(&self) -> &Arc<Services> {
        self.pods.services()
    }

    /// Whether containers can be run: the default runtime works.
    fn runtime(&self) -> Condition {
        match self.services().handlers.get("") {
            Ok(_) => Condition {
                ready: true,
                reason: String::new(),
                message: self.damage_note(),
            },
            Err(error) => Condition {
                ready: false,
                reason: "RuntimeNotReady".into(),
                message: whole(&error),
            },
        }
    }

    fn damage_note(&self) -> String {
        if self.damage.is_empty() {
            return String::new();
        }
        format!("damaged records were set aside: {}", self.damage.join("; "))
    }
}

impl Backend for Node {
    fn pods(&self) -> Vec<Arc<PodView>> {
        self.pods.table().pods()
    }

    fn pod(&self, id: &Id) -> Option<Arc<PodView>> {
        self.pods.table().pod(id)
    }

    fn containers(&self) -> Vec<Arc<ContainerView>> {
        self.pods.table().containers()
    }

    fn container(&self, id: &Id) -> Option<Arc<ContainerView>> {
        self.pods.table().container(id)
    }

    async fn run_pod(&self, spec: PodSpec) -> Outcome<Id> {
        Ok(self.pods.run(spec).await?)
    }

    async fn stop_pod(&self, id: &Id) -> Outcome<()> {
        Ok(self.pods.stop(id).await?)
    }

    async fn remove_pod(&self, id: &Id) -> Outcome<()> {
        Ok(self.pods.remove(id).await?)
    }

    async fn create_container(&self, pod: &Id, spec: ContainerSpec) -> Outcome<Id> {
        Ok(self.pods.create_container(pod, spec).await?)
    }

    async fn start_container(&self, id: &Id) -> Outcome<()> {
        Ok(self.pods.start_container(id).await?)
    }

    async fn stop_container(&self, id: &Id, grace: Duration) -> Outcome<()> {
        Ok(self.pods.stop_container(id, grace).await?)
    }

    async fn remove_container(&self, id: &Id) -> Outcome<()> {
        Ok(self.pods.remove_container(id).await?)
    }

    async fn update_container(&self, id: &Id, resources: Resources) -> Outcome<()> {
        Ok(self.pods.update_container(id, resources).await?)
    }

    async fn update_pod(&self, id: &Id, changes: PodResources) -> Outcome<()> {
        Ok(self.pods.update_pod(id, changes).await?)
    }

    fn subscribe(&self) -> Outcome<Subscription> {
        Ok(self.pods.table().events().subscribe()?)
    }

    fn end_subscriptions(&self) {
        self.pods.table().events().close();
    }

    async fn set_pod_cidrs(&self, cidrs: Vec<IpPrefix>) -> Outcome<()> {
        Ok(self.services().network.set_pod_cidrs(cidrs).await?)
    }

    async fn exec_sync(
        &self,
        id: &Id,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Outcome<ExecOutput> {
        let live = self.pods.live(id).await?;
        let result = exec::exec_sync(self.services(), &live, command, timeout).await?;
        let (exit_code, timed_out) = match result.end {
            ExecEnd::Exited(status) => (status.shell_code(), false),
            ExecEnd::TimedOut => (-1, true),
        };
        Ok(ExecOutput {
            stdout: result.stdout.bytes,
            stderr: result.stderr.bytes,
            exit_code,
            timed_out,
        })
    }

    fn stream_url(&self, request: stream::request::Request) -> Outcome<String> {
        Ok(self.streams.url(request)?)
    }

    async fn reopen_log(&self, id: &Id) -> Outcome<()> {
        let live = self.pods.live(id).await?;
        live.monitor
            .reopen_log()
            .await
            .map_err(|error| Failure::of(Kind::FailedPrecondition, &error))
    }

    async fn measure_containers(
        &self,
        containers: Vec<Arc<ContainerView>>,
    ) -> Outcome<Vec<ContainerSample>> {
        Ok(self.stats.containers(containers).await?)
    }

    async fn measure_pods(
        &self,
        pods: Vec<Arc<PodView>>,
        detail: Detail,
    ) -> Outcome<backend::Measured> {
        let pods = Arc::new(self.stats.pods(pods, detail).await?);
        let machine = match detail {
            Detail::Metrics => self.stats.machine(pods.clone()).await?,
            Detail::Stats => Machine::default(),
        };
        Ok(backend::Measured { pods, machine })
    }

    fn images(&self) -> Vec<Arc<ImageView>> {
        self.services()
            .images
            .list()
            .iter()
            .map(|i| view(i))
            .collect()
    }

    fn image(&self, reference: &str) -> Outcome<Option<Arc<ImageView>>> {
        Ok(self.services().images.get(reference)?.map(|i| view(&i)))
    }

    fn image_details(&self, id: &str) -> Option<Value> {
        let image = self.services().images.get(id).ok()??;
        Some(json!({
            "config": image.config,
            "layers": image.layers,
            "addedAt": image.added_at,
        }))
    }

    async fn pull_image(&self, pull: backend::Pull) -> Outcome<Arc<ImageView>> {
        let platform = match &pull.platform {
            None => None,
            Some(text) => Some(
                Platform::parse(text)
                    .map_err(|error| Failure::of(Kind::InvalidArgument, &error))?,
            ),
        };
        let under_way = self.services().images.start_pull(PullRequest {
            reference: pull.reference,
            auth: pull.credentials.map(auth),
            platform,
        })?;
        let relay = tokio::spawn(relay(under_way.progress(), pull.progress));
        let pulled = under_way.wait().await;
        relay.abort();
        if pulled.is_err() {
            // What came before it broke off may be what fills the disk.
            let images = self.services().images.clone();
            tokio::spawn(async move { images.collect().await });
        }
        let image = pulled?;
        Ok(view(&image))
    }

    async fn remove_image(&self, reference: &str) -> Outcome<()> {
        Ok(self.services().images.remove(reference).await?)
    }

    async fn load_images(&self, archive: Archive) -> Outcome<Vec<Arc<ImageView>>> {
        let loaded = self
            .services()
            .images
            .load_reader(
                StreamReader::new(ReceiverStream::new(archive.0)),
                LoadOptions::default(),
            )
            .await?;
        Ok(loaded.iter().map(|i| view(i)).collect())
    }

    async fn image_fs(&self) -> Outcome<StoreUsage> {
        let info = self.services().images.fs_info();
        let usage = |used_bytes, inodes_used, mountpoint: PathBuf| FsUsage {
            mountpoint,
            used_bytes,
            inodes_used,
            timestamp: now(),
        };
        let all = self.services().storage.usage();
        Ok(StoreUsage {
            images: vec![usage(info.used_bytes, info.inodes, info.path.clone())],
            containers: vec![usage(
                all.bytes.saturating_sub(info.used_bytes),
                all.inodes.saturating_sub(info.inodes),
                info.path,
            )],
        })
    }

    fn status(&self) -> NodeStatus {
        let network = self.services().network.status();
        NodeStatus {
            runtime: self.runtime(),
            network: Condition {
                ready: network.ready,
                reason: network.reason.to_owned(),
                message: network.message,
            },
            handlers: self.handlers(),
            // There is nothing that only some handlers lack.
            user_namespaces_host_network: true,
        }
    }

    fn configuration(&self) -> Value {
        self.configuration.clone()
    }

    fn network(&self) -> Value {
        self.services().network.describe()
    }

    fn cgroup_driver(&self) -> CgroupDriver {
        match self.services().settings.cgroup_driver {
            Driver::Cgroupfs => CgroupDriver::Cgroupfs,
            Driver::Systemd => CgroupDriver::Systemd,
        }
    }
}

impl Node {
    fn handlers(&self) -> Vec<HandlerStatus> {
        let handlers = &self.services().handlers;
        let kernel = self.services().node.recursive_read_only();
        handlers
            .iter()
            .filter_map(|(name, handler)| Some((name, handler.as_ref().ok()?)))
            .map(|(name, handler)| HandlerStatus {
                name: name.to_owned(),
                default: name == handlers.default_name(),
                recursive_read_only: kernel && handler.features.recursive_read_only,
                user_namespaces: self.services().user_namespaces(handler).is_ok(),
            })
            .collect()
    }
}

fn view(image: &Image) -> Arc<ImageView> {
    Arc::new(ImageView {
        id: image.id.clone(),
        tags: image.repo_tags.clone(),
        digests: image.repo_digests.clone(),
        size: image.size,
        user: image.config.user.clone(),
        pinned: image.pinned,
    })
}

fn auth(credentials: Credentials) -> Auth {
    Auth {
        username: credentials.username,
        password: credentials.password,
        auth: credentials.auth,
        server_address: credentials.server_address,
        identity_token: credentials.identity_token,
        registry_token: credentials.registry_token,
    }
}

/// Passes on how far a pull is, until it ends.
async fn relay(mut from: watch::Receiver<Progress>, to: watch::Sender<PullProgress>) {
    loop {
        let progress = convert(&from.borrow_and_update());
        to.send_replace(progress);
        if from.changed().await.is_err() {
            return;
        }
    }
}

fn convert(progress: &Progress) -> PullProgress {
    PullProgress {
        layers: progress
            .layers
            .iter()
            .map(|layer| backend::LayerProgress {
                digest: layer.digest.to_string(),
                state: match layer.phase {
                    Phase::Waiting => LayerState::Waiting,
                    Phase::Transferring => LayerState::Pulling,
                    Phase::Unpacking => LayerState::Unpacking,
                    Phase::Done => LayerState::Done,
                    Phase::Exists => LayerState::Present,
                },
                transferred: layer.done,
                size: layer.total,
            })
            .collect(),
    }
}
