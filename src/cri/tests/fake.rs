//! A backend that keeps what it is told, and can be made to fail or to wait.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    container::{
        spec::{ContainerSpec, Resources},
        view::{ContainerState, ContainerView},
    },
    cri::{
        backend::{
            Archive, Backend, CgroupDriver, Condition, ExecOutput, FsUsage, HandlerStatus,
            ImageView, LayerProgress, LayerState, Measured, NodeStatus, Outcome, Pull, StoreUsage,
        },
        convert::arbitrary,
        status::{Failure, Kind},
    },
    events::{Events, Subscription},
    id::Id,
    network::cni::result::IpPrefix,
    pod::{
        Table,
        limits::PodResources,
        spec::PodSpec,
        view::{PodView, PodViewState},
    },
    stats::{
        machine::Machine,
        metrics::tests::sample,
        sample::{ContainerSample, Detail},
    },
    stream::request::Request,
};

pub(super) struct Fake {
    pub(super) state: Mutex<State>,
    /// Pulls and pods that may go on; tests that want them to wait take the permits away.
    pub(super) gate: Semaphore,
    pub(super) events: Events,
    /// Where there is one, what is read comes from here.
    pub(super) table: Option<Table>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) pods: BTreeMap<Id, PodView>,
    pub(super) containers: BTreeMap<Id, ContainerView>,
    pub(super) images: Vec<Arc<ImageView>>,
    pub(super) calls: Vec<String>,
    pub(super) credentials: String,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            events: Events::default(),
            table: None,
        }
    }
}

impl Fake {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn called(&self, what: impl Into<String>) {
        self.state().calls.push(what.into());
    }

    /// Whether a call was made.
    pub(super) fn saw(&self, what: &str) -> bool {
        self.state().calls.iter().any(|call| call == what)
    }

    /// Puts a pod of one container there.
    pub(super) fn add(&self, n: u8) -> (Id, Id) {
        let pod = arbitrary::pod_view(n);
        let container = arbitrary::container_view(n, &pod.id);
        let ids = (pod.id.clone(), container.id.clone());
        let mut state = self.state();
        state.containers.insert(container.id.clone(), container);
        state.pods.insert(pod.id.clone(), pod);
        ids
    }

    fn with_containers(state: &State, pod: &PodView) -> Arc<PodView> {
        let mut pod = pod.clone();
        pod.containers = state
            .containers
            .values()
            .filter(|c| c.pod_id == pod.id)
            .map(|c| Arc::new(c.clone()))
            .collect();
        Arc::new(pod)
    }
}

impl Backend for Fake {
    fn pods(&self) -> Vec<Arc<PodView>> {
        if let Some(table) = &self.table {
            return table.pods();
        }
        let state = self.state();
        state
            .pods
            .values()
            .map(|pod| Self::with_containers(&state, pod))
            .collect()
    }

    fn pod(&self, id: &Id) -> Option<Arc<PodView>> {
        match &self.table {
            Some(table) => table.pod(id),
            None => self.pods().into_iter().find(|pod| pod.id == *id),
        }
    }

    fn containers(&self) -> Vec<Arc<ContainerView>> {
        match &self.table {
            Some(table) => table.containers(),
            None => (self.pods().iter())
                .flat_map(|pod| pod.containers.iter().cloned())
                .collect(),
        }
    }

    fn container(&self, id: &Id) -> Option<Arc<ContainerView>> {
        match &self.table {
            Some(table) => table.container(id),
            None => (self.containers().into_iter()).find(|container| container.id == *id),
        }
    }

    async fn run_pod(&self, spec: PodSpec) -> Outcome<Id> {
        self.called("run_pod");
        let _pass = self.gate.acquire().await.unwrap();
        let mut state = self.state();
        if let Some(pod) = state
            .pods
            .values()
            .find(|p| p.spec.metadata == spec.metadata)
        {
            return Ok(pod.id.clone());
        }
        let mut pod = arbitrary::pod_view(0);
        pod.id = Id::random();
        pod.spec = Arc::new(spec);
        let id = pod.id.clone();
        state.pods.insert(id.clone(), pod);
        state.calls.push("made".into());
        Ok(id)
    }

    async fn stop_pod(&self, id: &Id) -> Outcome<()> {
        self.called(format!("stop_pod {id}"));
        if let Some(pod) = self.state().pods.get_mut(id) {
            pod.state = PodViewState::NotReady;
        }
        Ok(())
    }

    async fn remove_pod(&self, id: &Id) -> Outcome<()> {
        let mut state = self.state();
        state.pods.remove(id);
        state.containers.retain(|_, c| c.pod_id != *id);
        Ok(())
    }

    async fn create_container(&self, pod: &Id, spec: ContainerSpec) -> Outcome<Id> {
        let mut container = arbitrary::container_view(0, pod);
        container.id = Id::random();
        container.spec = Arc::new(spec);
        container.state = ContainerState::Created;
        let id = container.id.clone();
        self.state().containers.insert(id.clone(), container);
        Ok(id)
    }

    async fn start_container(&self, id: &Id) -> Outcome<()> {
        match self.state().containers.get_mut(id).map(|c| &mut c.state) {
            Some(state @ ContainerState::Created) => {
                *state = ContainerState::Running { started_at: 3 };
                Ok(())
            }
            _ => Err(Failure::new(Kind::FailedPrecondition, "it is not created")),
        }
    }

    async fn stop_container(&self, id: &Id, grace: Duration) -> Outcome<()> {
        self.called(format!("stop_container {id} {}", grace.as_secs()));
        if let Some(container) = self.state().containers.get_mut(id) {
            container.state = ContainerState::Exited {
                started_at: Some(3),
                finished_at: 4,
                exit_code: 143,
                reason: "Error".into(),
                message: String::new(),
            };
        }
        Ok(())
    }

    async fn remove_container(&self, id: &Id) -> Outcome<()> {
        self.state().containers.remove(id);
        Ok(())
    }

    async fn update_container(&self, id: &Id, resources: Resources) -> Outcome<()> {
        if let Some(container) = self.state().containers.get_mut(id) {
            container.resources = resources;
        }
        Ok(())
    }

    async fn update_pod(&self, id: &Id, changes: PodResources) -> Outcome<()> {
        if let Some(pod) = self.state().pods.get_mut(id) {
            pod.resources = changes;
        }
        Ok(())
    }

    fn subscribe(&self) -> Outcome<Subscription> {
        Ok(self.events.subscribe()?)
    }

    fn end_subscriptions(&self) {
        self.events.close();
    }

    async fn set_pod_cidrs(&self, cidrs: Vec<IpPrefix>) -> Outcome<()> {
        for cidr in cidrs {
            self.called(format!("pods have addresses of {cidr}"));
        }
        Ok(())
    }

    async fn exec_sync(
        &self,
        _: &Id,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Outcome<ExecOutput> {
        if command[0] == "panic" {
            panic!("as asked");
        }
        Ok(ExecOutput {
            stdout: command.join(" ").into_bytes(),
            stderr: vec![0xff],
            exit_code: 3,
            timed_out: timeout.is_some() && command[0] == "sleep",
        })
    }

    fn stream_url(&self, request: Request) -> Outcome<String> {
        let url = format!("http://127.0.0.1:1/{}/token", request.kind().path());
        self.called(format!("{request:?}"));
        Ok(url)
    }

    async fn reopen_log(&self, id: &Id) -> Outcome<()> {
        self.called(format!("reopen_log {id}"));
        Ok(())
    }

    async fn measure_containers(
        &self,
        containers: Vec<Arc<ContainerView>>,
    ) -> Outcome<Vec<ContainerSample>> {
        Ok(sample(Arc::new(arbitrary::pod_view(0)), containers).containers)
    }

    async fn measure_pods(&self, pods: Vec<Arc<PodView>>, detail: Detail) -> Outcome<Measured> {
        self.called(format!("measure_pods {detail:?}"));
        let measure = |pod: Arc<PodView>| sample(pod.clone(), pod.containers.clone());
        Ok(Measured {
            pods: Arc::new(pods.into_iter().map(measure).collect()),
            machine: Machine::default(),
        })
    }

    fn images(&self) -> Vec<Arc<ImageView>> {
        self.state().images.clone()
    }

    fn image(&self, reference: &str) -> Outcome<Option<Arc<ImageView>>> {
        let state = self.state();
        let is = |i: &&Arc<ImageView>| i.id == reference || i.tags.iter().any(|t| t == reference);
        Ok(state.images.iter().find(is).cloned())
    }

    fn image_details(&self, id: &str) -> Option<serde_json::Value> {
        Some(serde_json::json!({ "id": id }))
    }

    async fn pull_image(&self, pull: Pull) -> Outcome<Arc<ImageView>> {
        self.called(format!("pull {}", pull.reference));
        let password = pull.credentials.map(|c| c.password).unwrap_or_default();
        self.state().credentials.clone_from(&password);
        for (state, transferred) in [
            (LayerState::Waiting, 0),
            (LayerState::Pulling, 5),
            (LayerState::Done, 9),
        ] {
            pull.progress.send_modify(|progress| {
                progress.layers = vec![LayerProgress {
                    digest: "sha256:a".into(),
                    state,
                    transferred,
                    size: 9,
                }];
            });
            tokio::task::yield_now().await;
        }
        let _pass = self.gate.acquire().await.unwrap();
        if pull.reference.contains("missing") {
            let why = format!("login with {password} at https://u:p@r.io/x?sig=1: 404");
            return Err(Failure::new(Kind::NotFound, why));
        }
        if pull.reference.contains("panic") {
            panic!("as asked");
        }
        let image = Arc::new(ImageView {
            id: "sha256:1".into(),
            tags: vec![pull.reference],
            digests: vec!["r@sha256:2".into()],
            size: 10,
            user: "33:33".into(),
            pinned: false,
        });
        self.state().images = vec![image.clone()];
        self.called("pulled");
        Ok(image)
    }

    async fn remove_image(&self, reference: &str) -> Outcome<()> {
        self.state().images.retain(|i| i.id != reference);
        Ok(())
    }

    async fn load_images(&self, archive: Archive) -> Outcome<Vec<Arc<ImageView>>> {
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            archive.into_reader().read_to_end(&mut bytes).map(|_| bytes)
        });
        let outcome = read.await.unwrap();
        self.called(format!(
            "loaded {}",
            outcome.as_ref().map_or(-1, |b| b.len() as i64)
        ));
        match outcome {
            Ok(bytes) => Ok(vec![Arc::new(ImageView {
                id: String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned(),
                ..Default::default()
            })]),
            Err(e) => Err(Failure::of(Kind::InvalidArgument, &e)),
        }
    }

    async fn image_fs(&self) -> Outcome<StoreUsage> {
        let usage = |path: &str, used_bytes| FsUsage {
            mountpoint: path.into(),
            used_bytes,
            inodes_used: 2,
            timestamp: 3,
        };
        Ok(StoreUsage {
            images: vec![usage("/images", 1)],
            containers: vec![usage("/containers", 2)],
        })
    }

    fn status(&self) -> NodeStatus {
        NodeStatus {
            runtime: Condition {
                ready: true,
                ..Default::default()
            },
            network: Condition {
                ready: false,
                reason: "NetworkNotReady".into(),
                message: "no network is configured in /etc/cni/net.d".into(),
            },
            handlers: vec![
                HandlerStatus {
                    name: "runc".into(),
                    default: true,
                    recursive_read_only: true,
                    user_namespaces: true,
                },
                HandlerStatus {
                    name: "runsc".into(),
                    ..Default::default()
                },
            ],
            user_namespaces_host_network: false,
        }
    }

    fn configuration(&self) -> serde_json::Value {
        serde_json::json!({ "root": "/var/lib/corten" })
    }

    fn network(&self) -> serde_json::Value {
        serde_json::json!({ "ready": false })
    }

    fn cgroup_driver(&self) -> CgroupDriver {
        CgroupDriver::Cgroupfs
    }
}
