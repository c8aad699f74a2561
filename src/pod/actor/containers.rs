//! The containers' part of an actor.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};
use tracing::{Instrument, error, info, warn};

use super::{Actor, panic_text};
use crate::{
    backoff::backoff,
    causes::whole,
    container::{
        End, LiveContainer, adopt,
        adopt::Adoption,
        create::{self, CreateFailure, CreatedContainer, Home},
        error::ContainerError,
        reap,
        record::ContainerRecord,
        remove,
        spec::ContainerSpec,
        start,
        state::{ContainerState, Event},
        stop, update,
    },
    id::Id,
    kept::Kept,
    pod::{
        earlier,
        msg::{ContainerOp, ContainerOutcome, ContainerResult, ContainerWaiter, Msg},
        slot::Slot,
        spec::PidMode,
    },
};

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;

/// What a request for a container that is gone is answered with.
pub(in crate::pod) fn gone_result(id: &Id, op: &ContainerOp) -> ContainerResult {
    match op {
        ContainerOp::Stop(_) | ContainerOp::Remove | ContainerOp::Reap | ContainerOp::Adopt => {
            Ok(())
        }
        ContainerOp::Create | ContainerOp::Start | ContainerOp::Update(_) => {
            Err(Arc::new(ContainerError::NotFound(id.clone())))
        }
    }
}

impl Actor {
    /// Puts a container back in its place at start-up.
    pub(in crate::pod) fn restore(&mut self, id: Id, record: ContainerRecord) {
        let mut record = record;
        // What was half made goes; its name is free for whoever asks again.
        record.removing |= record.state == ContainerState::Creating;
        if !record.removing {
            self.names.insert(record.spec.metadata.clone(), id.clone());
        }
        let exit_record = self.services.layout.exit_record(&id);
        let boot = &self.services.boot_id;
        let unwritten = earlier::settle_container(&mut record, &exit_record, boot);
        let mut slot = Slot::new(record);
        slot.untold_start = true;
        slot.unwritten = unwritten;
        slot.lane.submit(ContainerOp::Adopt, None);
        self.containers.insert(id, slot);
    }

    /// Begins what [`Actor::restore`] left to do, and shows what is on record.
    pub(in crate::pod) async fn begin(&mut self) {
        self.lane.submit(super::PodOp::Recover, None);
        self.publish();
        let ids: Vec<Id> = self.containers.keys().cloned().collect();
        for id in ids {
            self.advance_container(&id).await;
        }
        self.advance().await;
    }

    pub(super) async fn create_container(
        &mut self,
        spec: ContainerSpec,
        answer: oneshot::Sender<Result<Id, Arc<ContainerError>>>,
    ) {
        let id = match self.names.get(&spec.metadata) {
            Some(id) => id.clone(),
            None if !self.record.state.is_ready() => {
                let _ = answer.send(Err(self.pod_gone()));
                return;
            }
            None => {
                let id = Id::random();
                let record = match create::intent(&self.services, &self.id, &self.record, spec) {
                    Ok(record) => record,
                    Err(e) => {
                        let _ = answer.send(Err(Arc::new(e)));
                        return;
                    }
                };
                if let PidMode::Target(target) = &record.spec.security.pid
                    && self.target_pid(&record.spec).is_none()
                {
                    let error = ContainerError::Target(target.clone());
                    let _ = answer.send(Err(Arc::new(error)));
                    return;
                }
                if let Err(e) = self.services.store.note(id.as_str(), &record).await {
                    let _ = answer.send(Err(Arc::new(ContainerError::Record(e))));
                    return;
                }
                self.names.insert(record.spec.metadata.clone(), id.clone());
                self.containers.insert(id.clone(), Slot::new(record));
                id
            }
        };
        let (waiter, done) = oneshot::channel();
        self.request(&id, ContainerOp::Create, Some(waiter)).await;
        tokio::spawn(async move {
            let result = match done.await {
                Ok(result) => result.map(|()| id),
                Err(_) => Err(Arc::new(ContainerError::NotFound(id))),
            };
            let _ = answer.send(result);
        });
    }

    pub(super) fn pod_gone(&self) -> Arc<ContainerError> {
        Arc::new(ContainerError::PodNotReady {
            pod: self.id.clone(),
            state: self.record.state.name(),
        })
    }

    /// Queues an operation on a container.
    pub(super) async fn request(
        &mut self,
        id: &Id,
        op: ContainerOp,
        waiter: Option<ContainerWaiter>,
    ) {
        let Some(slot) = self.containers.get_mut(id) else {
            if let Some(waiter) = waiter {
                let _ = waiter.send(gone_result(id, &op));
            }
            return;
        };
        match &op {
            ContainerOp::Stop(deadline) => slot.sharpen(*deadline),
            // Whoever wants it gone does not wait for another's grace period.
            ContainerOp::Remove if matches!(slot.lane.running(), Some(ContainerOp::Stop(_))) => {
                slot.sharpen(Instant::now());
            }
            _ => {}
        }
        slot.lane.submit(op, waiter);
        self.advance_container(id).await;
    }

    pub(super) async fn request_all(
        &mut self,
        op: ContainerOp,
        answer: oneshot::Sender<ContainerResult>,
    ) {
        let ids: Vec<Id> = self.containers.keys().cloned().collect();
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            let (waiter, done) = oneshot::channel();
            self.request(&id, op.clone(), Some(waiter)).await;
            all.push(done);
        }
        tokio::spawn(async move {
            let mut result = Ok(());
            for done in all {
                if let Ok(Err(e)) = done.await {
                    result = Err(e);
                }
            }
            let _ = answer.send(result);
        });
    }

    /// Answers at once, or when the container has been taken up after a restart.
    pub(super) fn look_up(
        &mut self,
        id: &Id,
        answer: oneshot::Sender<Result<LiveContainer, ContainerError>>,
    ) {
        match self.containers.get_mut(id) {
            Some(slot) if matches!(slot.lane.running(), Some(ContainerOp::Adopt)) => {
                slot.lookups.push(answer);
            }
            _ => {
                let _ = answer.send(self.lookup(id));
            }
        }
    }

    fn lookup(&self, id: &Id) -> Result<LiveContainer, ContainerError> {
        let slot = self
            .containers
            .get(id)
            .ok_or_else(|| ContainerError::NotFound(id.clone()))?;
        match (&slot.monitor, &slot.record.state) {
            (Some(monitor), ContainerState::Created { .. } | ContainerState::Running { .. }) => {
                Ok(LiveContainer {
                    id: id.clone(),
                    monitor: monitor.clone(),
                    handler: slot.record.handler.clone(),
                    running: matches!(slot.record.state, ContainerState::Running { .. }),
                })
            }
            (None, ContainerState::Running { .. } | ContainerState::Created { .. }) => {
                Err(ContainerError::Recovering(id.clone()))
            }
            (_, state) => Err(ContainerError::WrongState {
                id: id.clone(),
                state: state.name(),
                wanted: "running",
            }),
        }
    }

    /// Begins the next operation of a container, if none runs.
    pub(super) async fn advance_container(&mut self, id: &Id) {
        while let Some(op) = self
            .containers
            .get_mut(id)
            .and_then(|slot| slot.lane.begin().cloned())
        {
            if let Some(result) = self.begin_op(id, op).await {
                self.answer_container(id, result);
            }
        }
    }

    /// Starts the job of an operation, or answers it when there is nothing to do.
    async fn begin_op(&mut self, id: &Id, op: ContainerOp) -> Option<ContainerResult> {
        let pod_ready = self.record.state.is_ready();
        let services = self.services.clone();
        let slot = self.containers.get_mut(id)?;
        let record = slot.record.clone();
        let monitor = slot.monitor.clone();
        let wrong = |wanted| {
            Some(Err(Arc::new(ContainerError::WrongState {
                id: id.clone(),
                state: record.state.name(),
                wanted,
            })))
        };
        let own = id.clone();
        match op {
            ContainerOp::Create => {
                if record.removing {
                    return Some(Err(Arc::new(ContainerError::WrongState {
                        id: id.clone(),
                        state: "being removed",
                        wanted: "there",
                    })));
                }
                if record.state != ContainerState::Creating {
                    return Some(Ok(()));
                }
                let home = Home {
                    id: self.id.clone(),
                    record: self.record.clone(),
                    target: self.target_pid(&record.spec),
                };
                self.container_job(id, async move {
                    let made = create::create(&services, &own, &record, &home).await;
                    ContainerOutcome::Created(made.map(Box::new))
                });
            }
            ContainerOp::Adopt => self.container_job(id, async move {
                ContainerOutcome::Adopted(Box::new(adopt::adopt(&services, &own, &record).await))
            }),
            ContainerOp::Start => {
                if slot.take_untold_start() {
                    return Some(Ok(()));
                }
                if !matches!(record.state, ContainerState::Created { .. }) || record.removing {
                    return wrong("created");
                }
                if !pod_ready {
                    return Some(Err(self.pod_gone()));
                }
                self.container_job(id, async move {
                    ContainerOutcome::Started(start::start(&services, &own, &record).await)
                });
            }
            ContainerOp::Stop(_) => match (&record.state, monitor) {
                (
                    ContainerState::Created { .. } | ContainerState::Running { .. },
                    Some(monitor),
                ) => {
                    let by = slot.stop_by.subscribe();
                    self.container_job(id, async move {
                        ContainerOutcome::Stopped(
                            stop::stop(&services, &own, &record, &monitor, by).await,
                        )
                    });
                }
                _ => {
                    slot.stop_by.send_replace(None);
                    return Some(Ok(()));
                }
            },
            ContainerOp::Update(resources) => {
                if record.removing {
                    return Some(Err(Arc::new(ContainerError::WrongState {
                        id: id.clone(),
                        state: "being removed",
                        wanted: "there",
                    })));
                }
                self.container_job(id, async move {
                    let updated = update::update(&services, &own, &record, *resources).await;
                    ContainerOutcome::Updated(updated.map(Box::new))
                });
            }
            ContainerOp::Reap => self.container_job(id, async move {
                ContainerOutcome::Reaped(reap::reap(&services, &own, &record).await)
            }),
            ContainerOp::Remove => {
                slot.record.removing = true;
                if let Err(e) = services.store.note(id.as_str(), &slot.record).await {
                    warn!(error = %whole(&e), container = %id, "the container's record is behind");
                }
                self.container_job(id, async move {
                    ContainerOutcome::Removed(
                        remove::remove(&services, &own, &record, monitor.as_ref()).await,
                    )
                });
            }
        }
        None
    }

    /// Process whose PID namespace the container asks to see.
    fn target_pid(&self, spec: &ContainerSpec) -> Option<i32> {
        match &spec.security.pid {
            PidMode::Target(id) => {
                let target = Id::parse(id).ok()?;
                self.containers.get(&target)?.record.state.pid()
            }
            _ => None,
        }
    }

    pub(super) async fn container_done(&mut self, id: &Id, outcome: ContainerOutcome) {
        if !self.containers.contains_key(id) {
            return;
        }
        let result = match outcome {
            ContainerOutcome::Created(Ok(made)) => self.created(id, *made).await,
            ContainerOutcome::Created(Err(CreateFailure { error, left })) => {
                self.create_failed(id, left).await;
                Err(error)
            }
            ContainerOutcome::Adopted(adoption) => {
                self.adopted(id, *adoption).await;
                Ok(())
            }
            ContainerOutcome::Started(Ok(at)) => {
                let early = self.containers.get(id).and_then(|s| s.early_end.as_ref());
                let at = early.map_or(at, |end| at.min(end.at));
                self.event(id, Event::StartDone { at }).await;
                self.end_early(id).await;
                Ok(())
            }
            ContainerOutcome::Started(Err(error)) => {
                // Where it was gone before its start, how it went is the reason, not that it was gone.
                if error.is_gone() {
                    self.end_early(id).await;
                }
                self.start_failed(id, &error).await;
                Err(error)
            }
            ContainerOutcome::Stopped(result) => {
                if let Some(slot) = self.containers.get_mut(id) {
                    slot.stop_by.send_replace(None);
                }
                match result {
                    Ok(end) => {
                        if let Some(end) = end {
                            self.container_ended(id, end).await;
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            ContainerOutcome::Updated(Ok(resources)) => {
                if let Some(slot) = self.containers.get_mut(id) {
                    slot.record.resources = *resources;
                }
                self.note(id).await;
                self.publish();
                Ok(())
            }
            ContainerOutcome::Updated(Err(error)) => Err(error),
            ContainerOutcome::Reaped(result) => {
                match &result {
                    Ok(()) => self.reaped(id).await,
                    Err(error) => self.retry_container_later(id, error),
                }
                result
            }
            ContainerOutcome::Removed(Ok(end)) => {
                self.ended_by_removal(id, end);
                self.removed(id).await
            }
            ContainerOutcome::Removed(Err(error)) => {
                self.retry_container_later(id, &error);
                Err(error)
            }
            ContainerOutcome::Broke(what) => {
                error!(what, container = %id, "a job of the container panicked");
                let error = ContainerError::Panicked(what);
                if self.containers.get(id).is_some_and(|s| !s.is_visible()) {
                    self.create_failed(id, Some(ContainerError::Panicked("create".into())))
                        .await;
                }
                self.end_early(id).await;
                Err(error)
            }
        };
        let result = result.map_err(Arc::new);
        if self.containers.get(id).is_some_and(|slot| slot.gone) {
            self.bury(id, result);
        } else {
            self.answer_container(id, result);
            self.advance_container(id).await;
        }
    }

    fn answer_container(&mut self, id: &Id, result: ContainerResult) {
        if let Some(slot) = self.containers.get_mut(id) {
            for waiter in slot.lane.finish() {
                let _ = waiter.send(result.clone());
            }
        }
    }

    async fn created(&mut self, id: &Id, made: CreatedContainer) -> Result<(), ContainerError> {
        let Some(slot) = self.containers.get_mut(id) else {
            return Ok(());
        };
        slot.monitor = Some(made.monitor.clone());
        slot.record = made.record;
        slot.entry = Kept::default();
        self.watch(id, made.monitor);
        self.step_state(id, Event::CreateDone { pid: made.pid });
        let Some(slot) = self.containers.get_mut(id) else {
            return Ok(());
        };
        if let Err(e) = self.services.store.put(id.as_str(), &slot.record).await {
            slot.record.removing = true;
            slot.lane.submit(ContainerOp::Remove, None);
            return Err(ContainerError::Record(e));
        }
        self.publish();
        info!(container = %id, pid = made.pid, "created");
        Ok(())
    }

    async fn create_failed(&mut self, id: &Id, left: Option<ContainerError>) {
        match left {
            None => {
                if let Err(e) = self
                    .services
                    .store
                    .delete::<ContainerRecord>(id.as_str())
                    .await
                {
                    warn!(error = %whole(&e), container = %id, "the record of a container that failed stays until the next start");
                }
                self.unname(id);
                if let Some(slot) = self.containers.get_mut(id) {
                    slot.record.removing = true;
                    slot.gone = true;
                }
            }
            Some(error) => {
                self.unname(id);
                if let Some(slot) = self.containers.get_mut(id) {
                    slot.record.removing = true;
                }
                self.note(id).await;
                self.retry_container_later(id, &error);
            }
        }
    }

    async fn adopted(&mut self, id: &Id, adoption: Adoption) {
        match adoption {
            Adoption::Alive {
                monitor,
                started_at,
            } => {
                if let Some(slot) = self.containers.get_mut(id) {
                    slot.monitor = Some(monitor.clone());
                }
                self.watch(id, monitor);
                if let Some(at) = started_at {
                    self.event(id, Event::StartDone { at }).await;
                }
            }
            Adoption::Ended(end) => self.container_ended(id, end).await,
            Adoption::Settled => {
                let slot = self.containers.get_mut(id);
                if slot.is_some_and(|slot| std::mem::take(&mut slot.unwritten)) {
                    self.note(id).await;
                }
                self.reap_settled(id);
            }
            Adoption::Unfinished => {
                self.unname(id);
                if let Some(slot) = self.containers.get_mut(id) {
                    slot.lane.submit(ContainerOp::Remove, None);
                }
            }
        }
        self.publish();
        let waiting = self
            .containers
            .get_mut(id)
            .map(|slot| std::mem::take(&mut slot.lookups))
            .unwrap_or_default();
        for answer in waiting {
            let _ = answer.send(self.lookup(id));
        }
    }

    async fn removed(&mut self, id: &Id) -> Result<(), ContainerError> {
        if let Err(e) = self
            .services
            .store
            .delete::<ContainerRecord>(id.as_str())
            .await
        {
            let error = ContainerError::Record(e);
            self.retry_container_later(id, &error);
            return Err(error);
        }
        self.unname(id);
        if let Some(slot) = self.containers.get_mut(id) {
            slot.gone = true;
        }
        info!(container = %id, "removed");
        Ok(())
    }

    /// Drops a container of which nothing is left, and answers all who still wait for it.
    fn bury(&mut self, id: &Id, result: ContainerResult) {
        let Some(mut slot) = self.containers.remove(id) else {
            return;
        };
        self.publish();
        for waiter in slot.lane.finish() {
            let _ = waiter.send(result.clone());
        }
        for (op, waiters) in slot.lane.drain() {
            for waiter in waiters {
                let _ = waiter.send(gone_result(id, &op));
            }
        }
    }

    fn unname(&mut self, id: &Id) {
        self.names.retain(|_, named| named != id);
    }

    pub(super) fn quiet(&mut self, id: &Id) {
        if let Some(slot) = self.containers.get_mut(id) {
            slot.tries = 0;
            slot.trouble = None;
        }
    }

    fn retry_container_later(&mut self, id: &Id, error: &ContainerError) {
        let Some(slot) = self.containers.get_mut(id) else {
            return;
        };
        let wait = backoff(slot.tries);
        slot.tries = slot.tries.saturating_add(1);
        slot.trouble = Some(whole(error));
        warn!(container = %id, error = %whole(error), again_in = ?wait, "teardown failed");
        let (me, id) = (self.me.clone(), id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = me.send(Msg::RetryContainer(id)).await;
        });
        self.publish();
    }

    pub(super) async fn retry_container(&mut self, id: &Id) {
        let Some(slot) = self.containers.get_mut(id) else {
            return;
        };
        if slot.lane.running().is_some() {
            return;
        }
        let op = if slot.record.removing {
            ContainerOp::Remove
        } else {
            ContainerOp::Reap
        };
        slot.lane.submit(op, None);
        self.advance_container(id).await;
    }

    pub(super) async fn event(&mut self, id: &Id, event: Event) {
        if self.step_state(id, event) {
            self.note(id).await;
            self.publish();
        }
    }

    /// Takes an event into the state; says whether it changed.
    pub(super) fn step_state(&mut self, id: &Id, event: Event) -> bool {
        let Some(slot) = self.containers.get_mut(id) else {
            return false;
        };
        match slot.record.state.clone().after(event) {
            Ok(state) if state != slot.record.state => {
                slot.record.state = state;
                true
            }
            Ok(_) => false,
            Err(e) => {
                error!(container = %id, error = %e, "unlawful transition");
                false
            }
        }
    }

    pub(super) async fn note(&mut self, id: &Id) {
        let Some(slot) = self.containers.get(id) else {
            return;
        };
        if let Err(e) = self.services.store.note(id.as_str(), &slot.record).await {
            warn!(container = %id, error = %whole(&e), "the container's record is behind");
        }
    }

    fn watch(&self, id: &Id, monitor: crate::monitor::Monitor) {
        let (me, id) = (self.me.clone(), id.clone());
        tokio::spawn(async move {
            let end = End::from_monitor(monitor.exited().await);
            let _ = me.send(Msg::Ended(id, end)).await;
        });
    }

    fn container_job(&self, id: &Id, job: impl Future<Output = ContainerOutcome> + Send + 'static) {
        let (me, id) = (self.me.clone(), id.clone());
        let job = AssertUnwindSafe(job).catch_unwind();
        tokio::spawn(
            async move {
                let outcome = job
                    .await
                    .unwrap_or_else(|p| ContainerOutcome::Broke(panic_text(&*p)));
                let _ = me.send(Msg::ContainerDone(id, outcome)).await;
            }
            .in_current_span(),
        );
    }
}
