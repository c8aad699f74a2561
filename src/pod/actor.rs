//! The actor of one pod: it alone changes the state of the sandbox and of its containers.
//!
//! Everything that takes time runs in a job, a task of its own that is given what it needs and
//! reports back; so an exit is seen at once, however long a stop or an update takes. Views are
//! published after each change, and answers are sent after the views.

mod containers;
mod ends;

pub(super) use containers::gone_result as gone_container;

use std::{collections::BTreeMap, future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tracing::{Instrument, error, info, info_span, warn};

use super::{
    create::{self, PodUp},
    error::PodError,
    lane::Lane,
    msg::{Mailbox, Msg, PodOp, PodOutcome, PodResult, PodWaiter, SetUpFailure},
    publish,
    record::PodRecord,
    recover, remove,
    slot::Slot,
    state::{PodEvent, PodState},
    stop,
    table::Table,
    update,
};
use crate::{
    backoff::backoff,
    causes::whole,
    container::{spec::ContainerMetadata, view::ContainerView},
    id::Id,
    kept::Kept,
    monitor::{End, Monitor},
    network::Attachment,
    services::Services,
};

/// Messages that may wait for an actor.
const MAILBOX: usize = 256;

/// One pod.
pub(super) struct Actor {
    id: Id,
    services: Arc<Services>,
    table: Arc<Table>,
    me: Mailbox,
    inbox: mpsc::Receiver<Msg>,
    record: PodRecord,
    /// For its views.
    entry: Kept,
    lane: Lane<PodOp, PodWaiter>,
    infra: Option<Monitor>,
    containers: BTreeMap<Id, Slot>,
    names: BTreeMap<ContainerMetadata, Id>,
    step: Option<String>,
    tries: u32,
    gone: bool,
    forget: Option<Forget>,
}

/// Takes a pod out of the registry.
type Forget = Box<dyn FnOnce() + Send>;

impl Actor {
    /// An actor for a sandbox that is on record; it does nothing before [`Actor::run`].
    pub(super) fn new(
        id: Id,
        record: PodRecord,
        services: Arc<Services>,
        table: Arc<Table>,
    ) -> (Self, Mailbox) {
        let (me, inbox) = mpsc::channel(MAILBOX);
        let actor = Self {
            id,
            services,
            table,
            me: me.clone(),
            inbox,
            record,
            entry: Kept::default(),
            lane: Lane::new(),
            infra: None,
            containers: BTreeMap::new(),
            names: BTreeMap::new(),
            step: None,
            tries: 0,
            gone: false,
            forget: None,
        };
        (actor, me)
    }

    /// Works until the sandbox is gone; `forget` then takes it out of the registry.
    pub(super) async fn run(mut self, forget: impl FnOnce() + Send + 'static) {
        self.forget = Some(Box::new(forget));
        let span = info_span!("pod", id = %&self.id.as_str()[..13]);
        async {
            while !self.gone {
                let Some(msg) = self.inbox.recv().await else {
                    break;
                };
                self.handle(msg).await;
            }
            self.vanish();
            self.inbox.close();
            self.release_waiters();
            while let Some(msg) = self.inbox.recv().await {
                self.refuse(msg);
            }
        }
        .instrument(span)
        .await;
    }

    async fn handle(&mut self, msg: Msg) {
        match msg {
            Msg::Pod { op, waiter } => {
                self.lane.submit(op, Some(waiter));
                self.advance().await;
            }
            Msg::Create { spec, answer } => self.create_container(*spec, answer).await,
            Msg::Container { id, op, waiter } => self.request(&id, op, Some(waiter)).await,
            Msg::EveryContainer { op, answer } => self.request_all(op, answer).await,
            Msg::Lookup { id, answer } => self.look_up(&id, answer),
            Msg::Step(step) => {
                self.step = Some(step);
                self.publish();
            }
            Msg::PodDone(outcome) => self.pod_done(outcome).await,
            Msg::ContainerDone(id, outcome) => self.container_done(&id, outcome).await,
            Msg::Ended(id, end) => self.container_ended(&id, end).await,
            Msg::InfraEnded(reason) => self.change(PodEvent::Broke(reason)).await,
            Msg::Retry => {
                if self.lane.running().is_none() {
                    self.submit_teardown();
                    self.advance().await;
                }
            }
            Msg::RetryContainer(id) => self.retry_container(&id).await,
        }
    }

    /// Begins the next operation of the sandbox, if none runs.
    async fn advance(&mut self) {
        while let Some(op) = self.lane.begin().cloned() {
            let done: Option<PodResult> = match op {
                PodOp::SetUp => match self.record.state {
                    PodState::Creating => {
                        let (services, id) = (self.services.clone(), self.id.clone());
                        let (record, me) = (self.record.clone(), self.me.clone());
                        self.pod_job(async move {
                            let up = create::set_up(&services, &id, &record, &me).await;
                            PodOutcome::SetUp(up.map(Box::new))
                        });
                        None
                    }
                    PodState::Ready => Some(Ok(())),
                    // Its removal frees the name for who asks.
                    PodState::Removing { .. } if self.removal_is_near() => {
                        self.lane.set_aside();
                        continue;
                    }
                    _ => Some(Err(Arc::new(PodError::Exists {
                        id: self.id.clone(),
                        state: self.record.state.name(),
                    }))),
                },
                PodOp::Recover => {
                    let (services, id) = (self.services.clone(), self.id.clone());
                    let record = self.record.clone();
                    self.pod_job(async move {
                        let up = recover::take_up(&services, &id, &record).await;
                        PodOutcome::Recovered(up.map(Box::new))
                    });
                    None
                }
                PodOp::Stop => match self.record.state {
                    PodState::Stopped | PodState::Removing { .. } => Some(Ok(())),
                    _ => {
                        self.change(PodEvent::StopAsked).await;
                        let (services, id) = (self.services.clone(), self.id.clone());
                        let (record, me) = (self.record.clone(), self.me.clone());
                        let infra = self.infra.clone();
                        self.pod_job(async move {
                            PodOutcome::Stopped(
                                stop::stop(&services, &id, &record, infra, &me).await,
                            )
                        });
                        None
                    }
                },
                PodOp::Update(changes) => {
                    let (services, id) = (self.services.clone(), self.id.clone());
                    let record = self.record.clone();
                    self.pod_job(async move {
                        let updated = update::update(&services, &id, &record, *changes).await;
                        PodOutcome::Updated(updated.map(Box::new))
                    });
                    None
                }
                PodOp::Remove => {
                    self.change(PodEvent::RemoveAsked).await;
                    let (services, id) = (self.services.clone(), self.id.clone());
                    let (record, me) = (self.record.clone(), self.me.clone());
                    let infra = self.infra.clone();
                    self.pod_job(async move {
                        PodOutcome::Removed(
                            remove::remove(&services, &id, &record, infra, &me).await,
                        )
                    });
                    None
                }
            };
            if let Some(result) = done {
                self.answer(result);
            }
        }
    }

    async fn pod_done(&mut self, outcome: PodOutcome) {
        self.step = None;
        let result = match outcome {
            PodOutcome::SetUp(Ok(up)) => self.set_up_done(*up).await,
            PodOutcome::SetUp(Err(SetUpFailure { error, left })) => {
                self.set_up_failed(left).await;
                Err(error)
            }
            PodOutcome::Recovered(Ok(up)) => {
                self.take_up(*up);
                // What the last daemon had begun goes on by itself.
                self.submit_teardown();
                self.publish();
                Ok(())
            }
            PodOutcome::Recovered(Err(error)) => {
                self.recover_failed(&error).await;
                Ok(())
            }
            PodOutcome::Stopped(Ok(())) => {
                self.tries = 0;
                self.infra = None;
                self.record.attachment = None;
                self.record.infra_pid = None;
                self.change(PodEvent::TornDown).await;
                Ok(())
            }
            PodOutcome::Stopped(Err(error)) => {
                self.change(PodEvent::StopFailed(whole(&error))).await;
                self.retry_later(&error);
                Err(error)
            }
            PodOutcome::Removed(Ok(())) => match self
                .services
                .store
                .delete::<PodRecord>(self.id.as_str())
                .await
            {
                Ok(()) => {
                    self.gone = true;
                    Ok(())
                }
                Err(e) => {
                    let error = PodError::Record(e);
                    self.change(PodEvent::RemoveFailed(whole(&error))).await;
                    self.retry_later(&error);
                    Err(error)
                }
            },
            PodOutcome::Updated(Ok(resources)) => {
                self.record.resources = Some(*resources);
                self.note_pod().await;
                self.publish();
                Ok(())
            }
            PodOutcome::Updated(Err(error)) => Err(error),
            PodOutcome::Removed(Err(error)) => {
                self.change(PodEvent::RemoveFailed(whole(&error))).await;
                self.retry_later(&error);
                Err(error)
            }
            PodOutcome::Broke(what) => {
                error!(what, "a job of the pod panicked");
                let error = PodError::Panicked(what);
                if self.record.state == PodState::Creating {
                    self.set_up_failed(Some(PodError::Panicked("set-up".into())))
                        .await;
                } else {
                    self.retry_later(&error);
                }
                Err(error)
            }
        };
        if self.gone {
            self.vanish();
        }
        self.answer(result.map_err(Arc::new));
        if !self.gone {
            self.advance().await;
        }
    }

    /// Whether the removal waits for its turn, or failed so few times that its next try is worth waiting for.
    fn removal_is_near(&self) -> bool {
        (1..=PATIENCE).contains(&self.tries) || self.lane.awaits(|op| matches!(op, PodOp::Remove))
    }

    /// Takes the pod out of all that others look into.
    fn vanish(&mut self) {
        self.table.forget(&self.id);
        if let Some(forget) = self.forget.take() {
            forget();
        }
    }

    async fn set_up_done(&mut self, up: PodUp) -> Result<(), PodError> {
        self.take_up(up);
        self.record.state =
            std::mem::replace(&mut self.record.state, PodState::Creating).after(PodEvent::SetUp);
        if let Err(e) = self
            .services
            .store
            .put(self.id.as_str(), &self.record)
            .await
        {
            self.change(PodEvent::RemoveAsked).await;
            self.lane.submit(PodOp::Remove, None);
            return Err(PodError::Record(e));
        }
        self.publish();
        info!(ips = ?self.record.attachment.as_ref().map(Attachment::addresses), "sandbox is ready");
        Ok(())
    }

    /// A sandbox that could not be set up is forgotten, at once if nothing of it was left.
    async fn set_up_failed(&mut self, left: Option<PodError>) {
        match left {
            None => {
                if let Err(e) = self
                    .services
                    .store
                    .delete::<PodRecord>(self.id.as_str())
                    .await
                {
                    warn!(error = %e, "the record of a sandbox that failed stays until the next start");
                }
                self.gone = true;
            }
            Some(error) => {
                self.change(PodEvent::RemoveAsked).await;
                self.change(PodEvent::RemoveFailed(whole(&error))).await;
                self.retry_later(&error);
            }
        }
    }

    fn take_up(&mut self, up: PodUp) {
        self.record.attachment = up.attachment;
        self.record.infra_pid = up.infra.as_ref().map(|i| i.pid);
        self.infra = up.infra.map(|i| i.monitor);
        if let Some(monitor) = self.infra.clone() {
            let me = self.me.clone();
            tokio::spawn(async move {
                let reason = match monitor.exited().await {
                    End::Exited(record) => format!("the infra process ended: {}", record.status),
                    End::Lost => "the infra process lost its monitor".to_owned(),
                };
                let _ = me.send(Msg::InfraEnded(reason)).await;
            });
        }
    }

    async fn recover_failed(&mut self, error: &PodError) {
        match self.record.state {
            PodState::Creating => {
                self.change(PodEvent::RemoveAsked).await;
                self.lane.submit(PodOp::Remove, None);
            }
            PodState::Ready => self.change(PodEvent::Broke(whole(error))).await,
            _ => {}
        }
    }

    /// Takes an event into the record and publishes it.
    ///
    /// A record that cannot be written does not stop the sandbox: memory is what clients see, and
    /// the next daemon finds the truth by looking at what exists.
    async fn change(&mut self, event: PodEvent) {
        let before = self.record.state.clone();
        let state = before.clone().after(event);
        if state == before {
            return;
        }
        if let Some(trouble) = state.trouble() {
            warn!(trouble, "sandbox is {}", state.name());
        }
        self.record.state = state;
        self.note_pod().await;
        self.publish();
    }

    async fn note_pod(&mut self) {
        let store = &self.services.store;
        if let Err(e) = store.note(self.id.as_str(), &self.record).await {
            warn!(error = %whole(&e), "the sandbox's record is behind");
        }
    }

    /// Queues the teardown that has begun, if one has.
    fn submit_teardown(&mut self) {
        match self.record.state {
            PodState::Stopping { .. } => self.lane.submit(PodOp::Stop, None),
            PodState::Removing { .. } => self.lane.submit(PodOp::Remove, None),
            PodState::Creating | PodState::Ready | PodState::Broken { .. } | PodState::Stopped => {}
        }
    }

    fn answer(&mut self, result: PodResult) {
        for waiter in self.lane.finish() {
            let _ = waiter.send(result.clone());
        }
    }

    /// Tries a failed teardown again, later each time, up to a minute.
    fn retry_later(&mut self, error: &PodError) {
        let wait = backoff(self.tries);
        self.tries = self.tries.saturating_add(1);
        warn!(error = %whole(error), again_in = ?wait, "teardown failed");
        if self.tries > PATIENCE {
            // Whoever waits for the name is told why it is not free.
            self.lane.resume();
        }
        // It failed as before, perhaps: then what is shown is still the step that it has come to.
        self.publish();
        let me = self.me.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = me.send(Msg::Retry).await;
        });
    }

    fn pod_job(&self, job: impl Future<Output = PodOutcome> + Send + 'static) {
        let me = self.me.clone();
        let job = AssertUnwindSafe(job).catch_unwind();
        tokio::spawn(
            async move {
                let outcome = job
                    .await
                    .unwrap_or_else(|p| PodOutcome::Broke(panic_text(&*p)));
                let _ = me.send(Msg::PodDone(outcome)).await;
            }
            .in_current_span(),
        );
    }

    fn publish(&self) {
        if !self.record.state.is_visible() {
            return;
        }
        let mut containers: Vec<Arc<ContainerView>> = self
            .containers
            .iter()
            .filter(|(_, slot)| slot.is_visible())
            .map(|(id, slot)| Arc::new(publish::container(&self.services, id, slot)))
            .collect();
        containers.sort_by_key(|container| container.created_at);
        let view = publish::pod(
            &self.services,
            &self.id,
            &self.record,
            &self.entry,
            self.step.as_ref(),
            containers,
        );
        self.table.publish(Arc::new(view));
    }

    /// Answers those who still wait for a sandbox that is gone.
    fn release_waiters(&mut self) {
        for (op, waiters) in self.lane.drain() {
            for waiter in waiters {
                let _ = waiter.send(self.gone_result(&op));
            }
        }
        for (id, mut slot) in std::mem::take(&mut self.containers) {
            for (op, waiters) in slot.lane.drain() {
                for waiter in waiters {
                    let _ = waiter.send(containers::gone_result(&id, &op));
                }
            }
        }
    }

    fn gone_result(&self, op: &PodOp) -> PodResult {
        match op {
            PodOp::Stop | PodOp::Remove | PodOp::Recover => Ok(()),
            PodOp::SetUp | PodOp::Update(_) => Err(Arc::new(PodError::Gone(self.id.clone()))),
        }
    }

    /// Answers a message that came after the end.
    fn refuse(&mut self, msg: Msg) {
        match msg {
            Msg::Pod { op, waiter } => {
                let _ = waiter.send(self.gone_result(&op));
            }
            Msg::Create { answer, .. } => {
                let _ = answer.send(Err(self.pod_gone()));
            }
            Msg::Container { id, op, waiter } => {
                let _ = waiter.send(containers::gone_result(&id, &op));
            }
            Msg::EveryContainer { answer, .. } => {
                let _ = answer.send(Ok(()));
            }
            Msg::Lookup { id, answer } => {
                let _ = answer.send(Err(crate::container::error::ContainerError::NotFound(id)));
            }
            Msg::Step(_)
            | Msg::PodDone(_)
            | Msg::ContainerDone(..)
            | Msg::Ended(..)
            | Msg::InfraEnded(_)
            | Msg::Retry
            | Msg::RetryContainer(_) => {}
        }
    }
}

/// How often a removal may fail while a request for the same name waits for it: some seconds. What a killed daemon
/// left running, a network plugin for one, gets in its way for a moment.
const PATIENCE: u32 = 3;

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}
