//! Pods: sandboxes, and the actors that own them and their containers.

mod actor;
pub(crate) mod create;
mod earlier;
pub mod error;
mod infra;
mod lane;
pub mod limits;
mod msg;
mod publish;
pub mod record;
mod recover;
mod remove;
mod slot;
pub mod spec;
pub mod state;
mod stop;
mod table;
mod update;
pub mod view;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use tracing::{info, warn};

use self::{
    actor::Actor,
    error::PodError,
    limits::PodResources,
    msg::{ContainerOp, Mailbox, Msg, PodOp},
    record::PodRecord,
    spec::{PodMetadata, PodSpec},
    state::PodState,
};
pub use table::Table;

use crate::{
    backoff::backoff,
    causes::whole,
    container::{
        LiveContainer,
        error::ContainerError,
        record::ContainerRecord,
        spec::{ContainerSpec, Resources},
    },
    id::Id,
    services::{Services, now},
    store::StoreError,
};

/// All pods of the node. Clones are the same pods.
#[derive(Clone)]
pub struct Pods {
    services: Arc<Services>,
    table: Arc<Table>,
    registry: Arc<Mutex<Registry>>,
}

#[derive(Default)]
struct Registry {
    actors: HashMap<Id, Mailbox>,
    names: HashMap<PodMetadata, Id>,
}

impl Registry {
    /// Takes a pod out, unless its name was given to another one.
    fn forget(&mut self, id: &Id, name: &PodMetadata) {
        self.actors.remove(id);
        if self.names.get(name) == Some(id) {
            self.names.remove(name);
        }
    }
}

/// What was found on record at start-up.
#[derive(Debug, Default)]
pub struct Recovered {
    /// IDs of all sandboxes.
    pub sandboxes: Vec<Id>,
    /// IDs of all containers.
    pub containers: Vec<Id>,
    /// Records that could not be read, in words.
    pub set_aside: Vec<String>,
    /// Pods that a reboot ended, to be taken down by [`Pods::take_down`].
    pub rebooted: Vec<Id>,
}

impl Pods {
    /// Takes up what the records say; returns before the pods have found out what is still there.
    pub async fn open(services: Arc<Services>) -> Result<(Self, Recovered), StoreError> {
        let pods = Self {
            services,
            table: Arc::default(),
            registry: Arc::default(),
        };
        let recovered = pods.recover().await?;
        Ok((pods, recovered))
    }

    async fn recover(&self) -> Result<Recovered, StoreError> {
        let store = self.services.store.clone();
        let (sandboxes, containers) = tokio::task::spawn_blocking(move || {
            Ok::<_, StoreError>((store.load::<PodRecord>()?, store.load::<ContainerRecord>()?))
        })
        .await
        .map_err(|_| StoreError::Stopped)??;
        let mut recovered = Recovered::default();
        for aside in sandboxes.set_aside.iter().chain(&containers.set_aside) {
            recovered.set_aside.push(format!(
                "{}/{} {}; it lies in {}",
                aside.kind,
                aside.id,
                aside.reason,
                aside.moved_to.display()
            ));
        }
        let mut by_pod: BTreeMap<Id, Vec<(Id, ContainerRecord)>> = BTreeMap::new();
        for (id, record) in containers.records {
            let Ok(id) = Id::parse(&id) else { continue };
            recovered.containers.push(id.clone());
            by_pod
                .entry(record.pod.clone())
                .or_default()
                .push((id, record));
        }
        for (id, record) in sandboxes.records {
            let Ok(id) = Id::parse(&id) else { continue };
            let mut record = record;
            if earlier::settle_pod(&mut record, &self.services.boot_id) {
                recovered.rebooted.push(id.clone());
            }
            let (mut actor, mailbox) = Actor::new(
                id.clone(),
                record.clone(),
                self.services.clone(),
                self.table.clone(),
            );
            for (container, record) in by_pod.remove(&id).unwrap_or_default() {
                actor.restore(container, record);
            }
            if let (Some(selinux), Some(level)) = (&self.services.selinux, &record.selinux_level) {
                selinux.pairs.note(&id, level);
            }
            recovered.sandboxes.push(id.clone());
            self.enlist(&id, &record.spec.metadata, mailbox);
            actor.begin().await;
            self.start(actor, &id, &record.spec.metadata);
        }
        for (pod, orphans) in by_pod {
            for (id, record) in orphans {
                warn!(container = %id, pod = %pod, "a container without a sandbox is removed");
                self.remove_orphan(id, record);
            }
        }
        info!(sandboxes = recovered.sandboxes.len(), "records read");
        Ok(recovered)
    }

    /// Takes down, behind all else, the pods that a reboot ended.
    pub fn take_down(&self, rebooted: Vec<Id>) {
        tokio::spawn(earlier::take_down(self.clone(), rebooted));
    }

    /// Removes a container whose sandbox's record was lost.
    fn remove_orphan(&self, id: Id, record: ContainerRecord) {
        let services = self.services.clone();
        tokio::spawn(async move {
            for tries in 0.. {
                let removed = crate::container::remove::remove(&services, &id, &record, None).await;
                let result = match removed {
                    Ok(_) => services
                        .store
                        .delete::<ContainerRecord>(id.as_str())
                        .await
                        .map_err(ContainerError::Record),
                    Err(e) => Err(e),
                };
                let Err(error) = result else { return };
                let again_in = backoff(tries);
                warn!(container = %id, error = %whole(&error), ?again_in, "an orphan cannot be removed");
                tokio::time::sleep(again_in).await;
            }
        });
    }

    /// The published views.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What pods are made with.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Makes a sandbox, or returns the ready one of the same name.
    pub async fn run(&self, spec: PodSpec) -> Result<Id, Arc<PodError>> {
        let handler = self
            .services
            .handlers
            .get(&spec.runtime_handler)
            .map_err(|e| Arc::new(PodError::Handler(e)))?;
        loop {
            let (id, mailbox) = match self.existing(&spec.metadata) {
                Some(found) => found,
                None => self.begin(&spec, &handler.name).await?,
            };
            match self.ask(&mailbox, PodOp::SetUp).await {
                Some(result) => return result.map(|()| id),
                // It was removed in between, so its name is free again.
                None => tokio::task::yield_now().await,
            }
        }
    }

    fn existing(&self, name: &PodMetadata) -> Option<(Id, Mailbox)> {
        let registry = self.registry();
        let id = registry.names.get(name)?;
        Some((id.clone(), registry.actors.get(id)?.clone()))
    }

    /// Records the intent of a sandbox and starts its actor, unless another call was faster.
    async fn begin(&self, spec: &PodSpec, handler: &str) -> Result<(Id, Mailbox), Arc<PodError>> {
        let id = Id::random();
        let selinux_level = self.take_level(&id, spec)?;
        let record = PodRecord {
            spec: Arc::new(spec.clone()),
            handler: handler.to_owned(),
            created_at: now(),
            boot_id: self.services.boot_id.clone(),
            selinux_level,
            attachment: None,
            infra_pid: None,
            resources: Some(PodResources::of(spec)),
            state: PodState::Creating,
        };
        let (actor, mailbox) = Actor::new(
            id.clone(),
            record.clone(),
            self.services.clone(),
            self.table.clone(),
        );
        {
            let mut registry = self.registry();
            if let Some(other) = registry.names.get(&spec.metadata).cloned()
                && let Some(mailbox) = registry.actors.get(&other)
            {
                release_level(&self.services, &id);
                return Ok((other, mailbox.clone()));
            }
            registry.names.insert(spec.metadata.clone(), id.clone());
            registry.actors.insert(id.clone(), mailbox.clone());
        }
        if let Err(e) = self.services.store.note(id.as_str(), &record).await {
            self.registry().forget(&id, &spec.metadata);
            release_level(&self.services, &id);
            return Err(Arc::new(PodError::Record(e)));
        }
        self.start(actor, &id, &spec.metadata);
        Ok((id, mailbox))
    }

    /// Stops a sandbox; one that is not there is stopped.
    pub async fn stop(&self, id: &Id) -> Result<(), Arc<PodError>> {
        self.pod_op(id, PodOp::Stop).await
    }

    /// Removes a sandbox; one that is not there is removed.
    pub async fn remove(&self, id: &Id) -> Result<(), Arc<PodError>> {
        self.pod_op(id, PodOp::Remove).await
    }

    async fn pod_op(&self, id: &Id, op: PodOp) -> Result<(), Arc<PodError>> {
        let Some(mailbox) = self.mailbox(id) else {
            return Ok(());
        };
        self.ask(&mailbox, op).await.unwrap_or(Ok(()))
    }

    async fn ask(&self, mailbox: &Mailbox, op: PodOp) -> Option<Result<(), Arc<PodError>>> {
        let (waiter, answer) = oneshot::channel();
        mailbox.send(Msg::Pod { op, waiter }).await.ok()?;
        match answer.await {
            Ok(Err(e)) if matches!(*e, PodError::Gone(_)) => None,
            Ok(result) => Some(result),
            Err(_) => None,
        }
    }

    /// Changes what a whole pod may use.
    pub async fn update_pod(&self, id: &Id, changes: PodResources) -> Result<(), Arc<PodError>> {
        let gone = || Err(Arc::new(PodError::NotFound(id.clone())));
        let Some(mailbox) = self.mailbox(id) else {
            return gone();
        };
        let op = PodOp::Update(Box::new(changes));
        self.ask(&mailbox, op).await.unwrap_or_else(gone)
    }

    /// Makes a container in a sandbox, or returns the one of the same name.
    pub async fn create_container(
        &self,
        pod: &Id,
        spec: ContainerSpec,
    ) -> Result<Id, Arc<ContainerError>> {
        let gone = || {
            Arc::new(ContainerError::PodNotReady {
                pod: pod.clone(),
                state: "not there",
            })
        };
        let mailbox = self.mailbox(pod).ok_or_else(gone)?;
        let (answer, made) = oneshot::channel();
        let spec = Box::new(spec);
        mailbox
            .send(Msg::Create { spec, answer })
            .await
            .map_err(|_| gone())?;
        made.await.map_err(|_| gone())?
    }

    /// Starts a created container.
    pub async fn start_container(&self, id: &Id) -> Result<(), Arc<ContainerError>> {
        self.container_op(id, ContainerOp::Start).await
    }

    /// Stops a container: its stop signal first, SIGKILL after `grace`. One that is not there is
    /// stopped.
    pub async fn stop_container(
        &self,
        id: &Id,
        grace: Duration,
    ) -> Result<(), Arc<ContainerError>> {
        self.container_op(id, ContainerOp::Stop(Instant::now() + grace))
            .await
    }

    /// Removes a container, killing it if it runs; one that is not there is removed.
    pub async fn remove_container(&self, id: &Id) -> Result<(), Arc<ContainerError>> {
        self.container_op(id, ContainerOp::Remove).await
    }

    /// Changes the limits of a container; what is not given stays as it is.
    pub async fn update_container(
        &self,
        id: &Id,
        resources: Resources,
    ) -> Result<(), Arc<ContainerError>> {
        self.container_op(id, ContainerOp::Update(Box::new(resources)))
            .await
    }

    /// What is needed to talk to a container that lives.
    pub async fn live(&self, id: &Id) -> Result<LiveContainer, Arc<ContainerError>> {
        let gone = || Arc::new(ContainerError::NotFound(id.clone()));
        let mailbox = self.container_mailbox(id).ok_or_else(gone)?;
        let (answer, found) = oneshot::channel();
        let id = id.clone();
        mailbox
            .send(Msg::Lookup { id, answer })
            .await
            .map_err(|_| gone())?;
        found.await.map_err(|_| gone())?.map_err(Arc::new)
    }

    async fn container_op(&self, id: &Id, op: ContainerOp) -> Result<(), Arc<ContainerError>> {
        let gone = actor::gone_container(id, &op);
        let Some(mailbox) = self.container_mailbox(id) else {
            return gone;
        };
        let (waiter, answer) = oneshot::channel();
        let id = id.clone();
        if mailbox
            .send(Msg::Container { id, op, waiter })
            .await
            .is_err()
        {
            return gone;
        }
        answer.await.unwrap_or(gone)
    }

    fn mailbox(&self, id: &Id) -> Option<Mailbox> {
        self.registry().actors.get(id).cloned()
    }

    fn container_mailbox(&self, id: &Id) -> Option<Mailbox> {
        let pod = self.table.container(id)?.pod_id.clone();
        self.mailbox(&pod)
    }

    fn enlist(&self, id: &Id, name: &PodMetadata, mailbox: Mailbox) {
        let mut registry = self.registry();
        registry.names.insert(name.clone(), id.clone());
        registry.actors.insert(id.clone(), mailbox);
    }

    fn start(&self, actor: Actor, id: &Id, name: &PodMetadata) {
        let registry = self.registry.clone();
        let services = self.services.clone();
        let (id, name) = (id.clone(), name.clone());
        tokio::spawn(actor.run(move || {
            release_level(&services, &id);
            registry
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .forget(&id, &name);
        }));
    }

    /// The SELinux level of a new pod, where it is to have one.
    fn take_level(&self, id: &Id, spec: &PodSpec) -> Result<Option<String>, Arc<PodError>> {
        let Some(selinux) = &self.services.selinux else {
            return Ok(None);
        };
        if spec.selinux.is_none() && spec.is_the_hosts() {
            return Ok(None);
        }
        match selinux.level(id, spec.selinux.as_ref()) {
            Some(level) => Ok(Some(level)),
            None => Err(Arc::new(PodError::NoLevel)),
        }
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a pod's SELinux level to whoever comes next.
fn release_level(services: &Services, id: &Id) {
    if let Some(selinux) = &services.selinux {
        selinux.pairs.release(id);
    }
}
