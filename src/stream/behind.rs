//! What runs behind streams.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::{
    attach, exec, forward,
    session::{Forwards, Outcome, Remote},
};
use crate::{
    causes::whole,
    container::{LiveContainer, error::ContainerError},
    id::Id,
    pod::{Pods, view::PodViewState},
};

/// Clients that may be attached to one container: as many as its monitor takes.
const ATTACHED_MAX: usize = 16;
/// What clients are told whose stream the daemon's end ends.
pub(super) const STOPPING: &str = "the container runtime is stopping";

/// Runs what streams were asked for. Each future ends with its client, or soon after `stop` was cancelled.
pub trait Behind: Send + Sync + 'static {
    /// Runs a command in a container.
    fn exec(
        &self,
        container: &Id,
        command: Vec<String>,
        tty: bool,
        remote: Remote,
        stop: &CancellationToken,
    ) -> impl Future<Output = ()> + Send;

    /// Joins a container's input and output.
    fn attach(
        &self,
        container: &Id,
        tty: bool,
        remote: Remote,
        stop: &CancellationToken,
    ) -> impl Future<Output = ()> + Send;

    /// Connects to ports of a pod.
    fn forward(
        &self,
        pod: &Id,
        forwards: Forwards,
        stop: &CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

/// The pods of this node.
pub struct Node {
    pods: Pods,
    attached: Mutex<HashMap<Id, usize>>,
}

impl Node {
    /// Streams of these pods.
    pub fn new(pods: Pods) -> Self {
        Self {
            pods,
            attached: Mutex::default(),
        }
    }

    async fn running(&self, id: &Id) -> Result<LiveContainer, Arc<ContainerError>> {
        let live = self.pods.live(id).await?;
        live.check_running()?;
        Ok(live)
    }

    /// A place among those attached to a container.
    fn place(&self, id: &Id) -> Option<Place<'_>> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let count = attached.entry(id.clone()).or_default();
        if *count >= ATTACHED_MAX {
            return None;
        }
        *count += 1;
        Some(Place {
            node: self,
            id: id.clone(),
        })
    }
}

struct Place<'a> {
    node: &'a Node,
    id: Id,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut attached = self
            .node
            .attached
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = attached.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                attached.remove(&self.id);
            }
        }
    }
}

/// Tells a client how it ended. It may have left.
pub(super) async fn finish(ending: Box<dyn super::session::Ending>, outcome: Outcome) {
    if let Err(error) = ending.finish(outcome).await {
        tracing::debug!(%error, "a client left before it was told the outcome");
    }
}

impl Behind for Node {
    async fn exec(
        &self,
        container: &Id,
        command: Vec<String>,
        tty: bool,
        remote: Remote,
        stop: &CancellationToken,
    ) {
        match self.pods.live(container).await {
            Ok(live) => {
                exec::exec(self.pods.services(), &live, command, tty, remote, stop).await;
            }
            Err(error) => finish(remote.ending, Outcome::Failed(whole(&*error))).await,
        }
    }

    async fn attach(&self, container: &Id, tty: bool, remote: Remote, stop: &CancellationToken) {
        let live = match self.running(container).await {
            Ok(live) => live,
            Err(error) => return finish(remote.ending, Outcome::Failed(whole(&*error))).await,
        };
        let Some(_place) = self.place(container) else {
            let text = format!("{ATTACHED_MAX} clients are attached to container {container}");
            return finish(remote.ending, Outcome::Failed(text)).await;
        };
        let socket = self.pods.services().layout.attach_socket(container);
        attach::attach(&live.monitor, &socket, tty, remote, stop).await;
    }

    async fn forward(&self, pod: &Id, forwards: Forwards, stop: &CancellationToken) {
        let place = match self.pods.table().pod(pod) {
            None => Err(format!("no sandbox has the ID {pod}")),
            Some(view) if view.state != PodViewState::Ready => {
                Err(format!("sandbox {pod} is not ready"))
            }
            Some(view) => Ok(view.netns.clone()),
        };
        forward::forward(pod, place, forwards, stop).await;
    }
}
