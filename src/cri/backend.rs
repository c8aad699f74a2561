//! What the services need of the rest of the daemon.
//!
//! Requests arrive here checked and in domain types. Reads return published state and wait for nothing. Work,
//! once begun, must go on when nobody awaits its future any more: the services let no client's cancellation
//! reach it, and a repeated request is expected to join what is under way.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{convert::image::Credentials, status::Failure};
use crate::{
    container::{
        spec::{ContainerSpec, Resources},
        view::ContainerView,
    },
    events::Subscription,
    id::Id,
    network::cni::result::IpPrefix,
    pod::{limits::PodResources, spec::PodSpec, view::PodView},
    stats::{
        machine::Machine,
        sample::{ContainerSample, Detail, PodSample},
    },
    stream,
};

/// The outcome of an operation.
pub type Outcome<T> = Result<T, Failure>;

/// The daemon behind the services.
///
/// Implementations may write `async fn` for the methods that return a future.
pub trait Backend: Send + Sync + 'static {
    /// All sandboxes that callers know of.
    fn pods(&self) -> Vec<Arc<PodView>>;

    /// One sandbox.
    fn pod(&self, id: &Id) -> Option<Arc<PodView>>;

    /// All containers that callers know of.
    fn containers(&self) -> Vec<Arc<ContainerView>>;

    /// One container.
    fn container(&self, id: &Id) -> Option<Arc<ContainerView>>;

    /// Makes a sandbox, or returns the one of that name.
    fn run_pod(&self, spec: PodSpec) -> impl Future<Output = Outcome<Id>> + Send;

    /// Stops a sandbox and its containers; one that is not there is stopped.
    fn stop_pod(&self, id: &Id) -> impl Future<Output = Outcome<()>> + Send;

    /// Removes a sandbox and its containers, by force; one that is not there is removed.
    fn remove_pod(&self, id: &Id) -> impl Future<Output = Outcome<()>> + Send;

    /// Makes a container, or returns the one of that name.
    fn create_container(
        &self,
        pod: &Id,
        spec: ContainerSpec,
    ) -> impl Future<Output = Outcome<Id>> + Send;

    /// Starts a container that was made.
    fn start_container(&self, id: &Id) -> impl Future<Output = Outcome<()>> + Send;

    /// Stops a container, killing it after `grace`; one that is not there is stopped.
    fn stop_container(&self, id: &Id, grace: Duration) -> impl Future<Output = Outcome<()>> + Send;

    /// Removes a container, by force; one that is not there is removed.
    fn remove_container(&self, id: &Id) -> impl Future<Output = Outcome<()>> + Send;

    /// Changes limits; what is `None` or empty stays as it is.
    fn update_container(
        &self,
        id: &Id,
        resources: Resources,
    ) -> impl Future<Output = Outcome<()>> + Send;

    /// Changes what a whole pod may use; a part that is `None` stays as it is.
    fn update_pod(
        &self,
        id: &Id,
        changes: PodResources,
    ) -> impl Future<Output = Outcome<()>> + Send;

    /// Listens to what happens from now on.
    fn subscribe(&self) -> Outcome<Subscription>;

    /// Ends all subscriptions: the daemon takes no more requests.
    fn end_subscriptions(&self);

    /// Is told the networks of the node's pods.
    fn set_pod_cidrs(&self, cidrs: Vec<IpPrefix>) -> impl Future<Output = Outcome<()>> + Send;

    /// Runs a command in a container to its end; it is killed after `timeout`.
    fn exec_sync(
        &self,
        id: &Id,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Outcome<ExecOutput>> + Send;

    /// Where a stream will be served, once and soon.
    fn stream_url(&self, request: stream::request::Request) -> Outcome<String>;

    /// Has a running container's log opened anew; returns once that is done.
    fn reopen_log(&self, id: &Id) -> impl Future<Output = Outcome<()>> + Send;

    /// Measures containers, in their order; those that have gone meanwhile are left out.
    fn measure_containers(
        &self,
        containers: Vec<Arc<ContainerView>>,
    ) -> impl Future<Output = Outcome<Vec<ContainerSample>>> + Send;

    /// Measures sandboxes with their containers, in their order.
    fn measure_pods(
        &self,
        pods: Vec<Arc<PodView>>,
        detail: Detail,
    ) -> impl Future<Output = Outcome<Measured>> + Send;

    /// All images.
    fn images(&self) -> Vec<Arc<ImageView>>;

    /// An image by any kind of reference: ID, ID prefix, name, tag, digest.
    fn image(&self, reference: &str) -> Outcome<Option<Arc<ImageView>>>;

    /// What there is to tell of an image beyond its view, as JSON: configuration, layers.
    fn image_details(&self, id: &str) -> Option<serde_json::Value>;

    /// Pulls an image, or joins the pull that is under way.
    fn pull_image(&self, pull: Pull) -> impl Future<Output = Outcome<Arc<ImageView>>> + Send;

    /// Removes an image; one that is not there is removed.
    fn remove_image(&self, reference: &str) -> impl Future<Output = Outcome<()>> + Send;

    /// Loads the images of an archive, all or none.
    fn load_images(
        &self,
        archive: Archive,
    ) -> impl Future<Output = Outcome<Vec<Arc<ImageView>>>> + Send;

    /// How full the stores are.
    fn image_fs(&self) -> impl Future<Output = Outcome<StoreUsage>> + Send;

    /// How the daemon is.
    fn status(&self) -> NodeStatus;

    /// The configuration in force, as JSON without secrets.
    fn configuration(&self) -> serde_json::Value;

    /// How pods are attached to the network, as JSON.
    fn network(&self) -> serde_json::Value;

    /// Who makes cgroups.
    fn cgroup_driver(&self) -> CgroupDriver;
}

/// What a command in a container came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output, as far as it is kept.
    pub stdout: Vec<u8>,
    /// Standard error, as far as it is kept.
    pub stderr: Vec<u8>,
    /// Exit code, or 128 and the signal.
    pub exit_code: i32,
    /// It was killed because its time was up.
    pub timed_out: bool,
}

/// Sandboxes measured.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The sandboxes.
    pub pods: Arc<Vec<PodSample>>,
    /// What metrics say of the machine for all of them; empty for statistics.
    pub machine: Machine,
}

/// An image for answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageView {
    /// `sha256:` and the digest of its configuration.
    pub id: String,
    /// Names with a tag.
    pub tags: Vec<String>,
    /// Names with a digest.
    pub digests: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
    /// The user of its configuration, as written there: `user`, `uid`, `user:group`, …
    pub user: String,
    /// Never collected.
    pub pinned: bool,
}

/// A pull asked for.
#[derive(Debug)]
pub struct Pull {
    /// The image.
    pub reference: String,
    /// Credentials of the request.
    pub credentials: Option<Credentials>,
    /// `os/architecture[/variant]`; `None` for this machine's.
    pub platform: Option<String>,
    /// Where to tell how far it is. Nobody may be watching.
    pub progress: watch::Sender<PullProgress>,
}

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullProgress {
    /// The layers, lowest first; empty until they are known.
    pub layers: Vec<LayerProgress>,
}

/// How far a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    /// Digest as transferred.
    pub digest: String,
    /// What is done with it.
    pub state: LayerState,
    /// Bytes transferred.
    pub transferred: u64,
    /// Bytes in all; zero when unknown.
    pub size: u64,
}

/// What is done with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// Nothing yet.
    Waiting,
    /// It is being transferred and unpacked.
    Pulling,
    /// It is here and still being unpacked.
    Unpacking,
    /// Unpacked and verified.
    Done,
    /// Was here before.
    Present,
}

/// An archive that is being sent.
///
/// The channel's end is the archive's end; a client that breaks off sends an error first.
#[derive(Debug)]
pub struct Archive(pub mpsc::Receiver<std::io::Result<Bytes>>);

impl Archive {
    /// A blocking reader, for use off the async threads.
    pub fn into_reader(self) -> ArchiveReader {
        ArchiveReader {
            chunks: self.0,
            rest: Bytes::new(),
        }
    }
}

/// Reads an [`Archive`]; must not be used on an async thread.
#[derive(Debug)]
pub struct ArchiveReader {
    chunks: mpsc::Receiver<std::io::Result<Bytes>>,
    rest: Bytes,
}

impl std::io::Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.rest = chunk?,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.rest.len());
        buffer[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}

/// How full the stores are.
#[derive(Debug, Clone, Default)]
pub struct StoreUsage {
    /// The layers of images.
    pub images: Vec<FsUsage>,
    /// The writable layers of containers.
    pub containers: Vec<FsUsage>,
}

/// What a store takes on one file system.
#[derive(Debug, Clone)]
pub struct FsUsage {
    /// A directory on it.
    pub mountpoint: PathBuf,
    /// Bytes.
    pub used_bytes: u64,
    /// Inodes.
    pub inodes_used: u64,
    /// When this was counted, in nanoseconds since 1970.
    pub timestamp: i64,
}

/// How the daemon is.
#[derive(Debug, Clone, Default)]
pub struct NodeStatus {
    /// Whether containers can be run.
    pub runtime: Condition,
    /// Whether pods can be given a network.
    pub network: Condition,
    /// The OCI runtimes.
    pub handlers: Vec<HandlerStatus>,
    /// Pods may have a user namespace and the host's network at once.
    pub user_namespaces_host_network: bool,
}

/// Whether something works.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// It does.
    pub ready: bool,
    /// Why not, in one word.
    pub reason: String,
    /// Why not, for people.
    pub message: String,
}

/// What a runtime handler can do.
#[derive(Debug, Clone, Default)]
pub struct HandlerStatus {
    /// Its name.
    pub name: String,
    /// It is the one used when none is named.
    pub default: bool,
    /// Recursive read-only mounts.
    pub recursive_read_only: bool,
    /// User namespaces and id-mapped mounts.
    pub user_namespaces: bool,
}

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// corten and the OCI runtime, as directories.
    Cgroupfs,
    /// systemd, as units.
    Systemd,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn archives_end_or_break() {
        let (send, receive) = mpsc::channel(4);
        send.try_send(Ok(Bytes::from_static(b"ab"))).unwrap();
        send.try_send(Ok(Bytes::new())).unwrap();
        send.try_send(Ok(Bytes::from_static(b"c"))).unwrap();
        drop(send);
        let mut all = vec![];
        Archive(receive)
            .into_reader()
            .read_to_end(&mut all)
            .unwrap();
        assert_eq!(all, b"abc");

        let (send, receive) = mpsc::channel(4);
        send.try_send(Ok(Bytes::from_static(b"ab"))).unwrap();
        send.try_send(Err(std::io::Error::other("client left")))
            .unwrap();
        drop(send);
        let mut reader = Archive(receive).into_reader();
        assert!(reader.read_to_end(&mut vec![]).is_err());
    }
}
