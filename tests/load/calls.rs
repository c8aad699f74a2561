//! Asking the daemon, and taking what came of it into the belief.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use corten::cri::api::{
    self, ContainerFilter, ContainerState, LinuxContainerResources, PodSandboxFilter,
    PodSandboxState,
};
use tonic::{Code, Status};

use crate::{
    model::{
        Answer, Divergence, Grace, Outcome, Refusal, Request, SeenContainer, SeenLife, SeenPod,
    },
    random::Random,
    subject::{NAME, NUMBER, Subject},
    support::Node,
};

/// Seconds of a grace period.
const GRACE: i64 = 2;

/// The daemon, and how often it was asked.
pub(crate) struct Daemon<'a> {
    pub(crate) node: &'a Node,
    /// Counts its deaths and its starts: odd while it is dead.
    turns: AtomicU64,
    /// IDs of all that it said it has made since its start.
    made: Mutex<BTreeSet<String>>,
    pub(crate) asked: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// What a call gives; nothing if the daemon died over it.
type Heard<T> = Option<Result<T, Status>>;

impl<'a> Daemon<'a> {
    pub(crate) fn new(node: &'a Node) -> Self {
        Self {
            node,
            turns: AtomicU64::new(0),
            made: Mutex::default(),
            asked: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Ends the daemon the hardest way.
    pub(crate) fn kill(&self) {
        self.turns.fetch_add(1, Ordering::SeqCst);
        self.node.kill();
    }

    /// Starts it again.
    pub(crate) async fn start(&self) {
        self.made.lock().unwrap().clear();
        self.node.start().await;
        self.turns.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it was killed.
    pub(crate) fn deaths(&self) -> u64 {
        self.turns.load(Ordering::SeqCst).div_ceil(2)
    }

    /// Whether it said, since its start, that it has made what has this ID.
    pub(crate) fn has_made(&self, id: &str) -> bool {
        self.made.lock().unwrap().contains(id)
    }

    /// Waits for an answer.
    async fn hear<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Heard<T> {
        let before = self.turns.load(Ordering::SeqCst);
        self.asked.fetch_add(1, Ordering::Relaxed);
        let result = call.await;
        let broken = matches!(&result, Err(status) if matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
        ));
        let died = before % 2 == 1 || self.turns.load(Ordering::SeqCst) != before;
        if broken && died {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(result)
    }

    /// Asks for one thing.
    pub(crate) async fn ask(
        &self,
        subject: &mut Subject,
        request: &Request,
    ) -> Result<Outcome, Divergence> {
        let before = subject.belief.likely();
        let outcome = self.outcome(subject, request).await;
        subject.belief.done(request, &outcome)?;
        subject.remember(&before);
        Ok(outcome)
    }

    /// Asks for two things at a time.
    pub(crate) async fn ask_both(
        &self,
        subject: &mut Subject,
        first: &Request,
        second: &Request,
    ) -> Result<[Outcome; 2], Divergence> {
        let before = subject.belief.likely();
        let (one, other) =
            tokio::join!(self.outcome(subject, first), self.outcome(subject, second));
        subject.belief.done_both((first, &one), (second, &other))?;
        subject.remember(&before);
        Ok([one, other])
    }

    async fn outcome(&self, subject: &Subject, request: &Request) -> Outcome {
        let node = self.node;
        let heard = match request {
            Request::Run => self
                .hear(node.try_pod(&subject.config))
                .await
                .map(|heard| heard.map(Answer::Made)),
            Request::StopPod(id) => self.heard_done(node.stop_pod(id)).await,
            Request::RemovePod(id) => self.heard_done(node.remove_pod(id)).await,
            Request::Create(pod, number, nature) => {
                let container = subject.container(*number, *nature);
                let call = node.try_create(pod, &subject.config, &container);
                let heard = self.hear(call).await;
                heard.map(|heard| heard.map(Answer::Made))
            }
            Request::Start(id) => self.heard_done(node.start_container(id)).await,
            Request::Stop(id, grace) => {
                let seconds = match grace {
                    Grace::None => 0,
                    Grace::Some => GRACE,
                };
                self.heard_done(node.stop_container(id, seconds)).await
            }
            Request::Remove(id) => self.heard_done(node.remove_container(id)).await,
            Request::Exec(id, code) => {
                let script = format!("echo {code}; exit {code}");
                let heard = self
                    .hear(node.try_exec(id, &["sh", "-c", &script], 60))
                    .await;
                heard.map(|heard| heard.map(|done| said(&done, *code)))
            }
            Request::Update(id, shares) => self.heard_done(self.update(id, *shares)).await,
        };
        match heard {
            None => Outcome::Lost,
            Some(Ok(answer)) => {
                if let Answer::Made(id) = &answer {
                    self.made.lock().unwrap().insert(id.clone());
                }
                answer.into()
            }
            Some(Err(status)) => Answer::Refused(refusal(&status)).into(),
        }
    }

    async fn heard_done(&self, call: impl Future<Output = Result<(), Status>>) -> Heard<Answer> {
        let heard = self.hear(call).await;
        heard.map(|heard| heard.map(|()| Answer::Done))
    }

    async fn update(&self, id: &str, shares: i64) -> Result<(), Status> {
        let request = api::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(LinuxContainerResources {
                cpu_shares: shares,
                ..LinuxContainerResources::default()
            }),
            ..api::UpdateContainerResourcesRequest::default()
        };
        let reply = self
            .node
            .runtime()
            .update_container_resources(request)
            .await;
        reply.map(drop)
    }

    /// Lists what goes by the subject's name.
    pub(crate) async fn look(&self, subject: &mut Subject) -> Result<(), Divergence> {
        let selector = [(NAME.to_owned(), subject.name().to_owned())];
        let mut runtime = self.node.runtime();
        let request = api::ListPodSandboxRequest {
            filter: Some(PodSandboxFilter {
                label_selector: selector.clone().into(),
                ..PodSandboxFilter::default()
            }),
        };
        if let Some(Ok(reply)) = self.hear(runtime.list_pod_sandbox(request)).await {
            let seen: Vec<SeenPod> = reply.into_inner().items.iter().map(seen_pod).collect();
            subject.belief.sees(&seen, |world| world.if_pod(&seen))?;
        }
        let request = api::ListContainersRequest {
            filter: Some(ContainerFilter {
                label_selector: selector.into(),
                ..ContainerFilter::default()
            }),
        };
        if let Some(Ok(reply)) = self.hear(runtime.list_containers(request)).await {
            let listed = reply.into_inner().containers;
            let seen: Vec<SeenContainer> = listed.iter().map(seen_container).collect();
            let belief = &mut subject.belief;
            belief.sees(&seen, |world| world.if_containers(&seen))?;
        }
        Ok(())
    }

    /// Asks for the status and the statistics of one container and of the pod, of what is gone too.
    pub(crate) async fn look_closely(
        &self,
        subject: &mut Subject,
        random: &mut Random,
    ) -> Result<(), Divergence> {
        let world = subject.belief.likely();
        let present = world.containers.values().filter_map(|one| one.id.clone());
        let mut ids: Vec<String> = present.collect();
        ids.extend(random.pick(&subject.old_containers).cloned());
        if let Some(id) = random.pick(&ids) {
            if let Some(result) = self.hear(self.node.try_status(id)).await {
                let seen = if_there(result.map(|status| seen_status(&status)));
                subject.belief.sees((id, &seen), |world| match &seen {
                    Ok(Some(seen)) => world.if_container(seen),
                    Ok(None) => world.if_no_container(id),
                    Err(_) => None,
                })?;
            }
            let request = api::ContainerStatsRequest {
                container_id: id.clone(),
            };
            let mut runtime = self.node.runtime();
            if let Some(result) = self.hear(runtime.container_stats(request)).await {
                let named = result.map(|reply| stats_id(&reply.into_inner()));
                let seen = if_there(named);
                subject
                    .belief
                    .sees(("statistics", id, &seen), |world| match &seen {
                        Ok(Some(said)) if said == id => {
                            world.if_no_container(id).is_none().then(|| world.clone())
                        }
                        Ok(None) => world.if_no_container(id),
                        Ok(Some(_)) | Err(_) => None,
                    })?;
            }
        }
        let mut pods: Vec<String> = world.pod.and_then(|pod| pod.id).into_iter().collect();
        pods.extend(random.pick(&subject.old_pods).cloned());
        let Some(id) = random.pick(&pods) else {
            return Ok(());
        };
        if let Some(result) = self.hear(self.node.try_pod_status(id, false)).await {
            let seen = if_there(result.map(|reply| {
                let ready =
                    reply.status.unwrap_or_default().state() == PodSandboxState::SandboxReady;
                let id = id.clone();
                SeenPod { id, ready }
            }));
            subject
                .belief
                .sees(("status", id, &seen), |world| match &seen {
                    Ok(Some(seen)) => world.if_pod(std::slice::from_ref(seen)),
                    Ok(None) => world.if_no_pod(id),
                    Err(_) => None,
                })?;
        }
        Ok(())
    }
}

/// `NotFound` says that something is not there; no other error is lawful.
fn if_there<T>(result: Result<T, Status>) -> Result<Option<T>, String> {
    match result {
        Ok(it) => Ok(Some(it)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.to_string()),
    }
}

fn said(done: &api::ExecSyncResponse, code: i32) -> Answer {
    let whole = done.stdout == format!("{code}\n").as_bytes() && done.stderr.is_empty();
    match whole || done.exit_code != code {
        true => Answer::Code(done.exit_code),
        false => Answer::Refused(Refusal::Other(format!("it printed {done:?}"))),
    }
}

fn refusal(status: &Status) -> Refusal {
    match status.code() {
        Code::NotFound => Refusal::NotFound,
        Code::FailedPrecondition => Refusal::WrongState,
        Code::AlreadyExists => Refusal::Exists,
        _ => Refusal::Other(status.to_string()),
    }
}

/// A pod as a list has it.
pub(crate) fn seen_pod(pod: &api::PodSandbox) -> SeenPod {
    SeenPod {
        id: pod.id.clone(),
        ready: pod.state() == PodSandboxState::SandboxReady,
    }
}

/// A container as a list has it.
pub(crate) fn seen_container(container: &api::Container) -> SeenContainer {
    SeenContainer {
        number: number(&container.labels),
        id: container.id.clone(),
        life: life(container.state(), None),
        shares: None,
    }
}

fn seen_status(status: &api::ContainerStatus) -> SeenContainer {
    let end = (status.exit_code, status.reason.clone());
    let linux = status.resources.as_ref().and_then(|all| all.linux.as_ref());
    SeenContainer {
        number: number(&status.labels),
        id: status.id.clone(),
        life: life(status.state(), Some(end)),
        shares: Some(linux.map_or(0, |linux| linux.cpu_shares)),
    }
}

fn life(state: ContainerState, end: Option<(i32, String)>) -> SeenLife {
    match state {
        ContainerState::ContainerCreated => SeenLife::Created,
        ContainerState::ContainerRunning => SeenLife::Running,
        ContainerState::ContainerExited => SeenLife::Exited { end },
        // No world has a container that ended like this.
        ContainerState::ContainerUnknown => SeenLife::Exited {
            end: Some((i32::MIN, "unknown".to_owned())),
        },
    }
}

fn number(labels: &std::collections::HashMap<String, String>) -> u32 {
    labels
        .get(NUMBER)
        .and_then(|text| text.parse().ok())
        .unwrap_or(u32::MAX)
}

fn stats_id(reply: &api::ContainerStatsResponse) -> String {
    let attributes = reply.stats.as_ref().and_then(|one| one.attributes.as_ref());
    attributes.map(|one| one.id.clone()).unwrap_or_default()
}
