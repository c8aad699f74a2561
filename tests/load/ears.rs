//! One who listens to events, and compares what is told with what is seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Instant,
};

use corten::cri::api::{ContainerEventType, ContainerState, GetEventsRequest};

use crate::{
    calls::Daemon,
    model::{Stage, check_history},
    support::{Node, patience},
};

type Told = Arc<Mutex<BTreeMap<String, Vec<Stage>>>>;

/// A listener since the last start of the daemon.
pub(crate) struct Ears {
    told: Told,
    task: tokio::task::JoinHandle<()>,
    /// How far each life was when listening had begun.
    before: BTreeMap<String, Stage>,
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ears {
    /// Listens from now on. Nothing may be asked for before this is done.
    pub(crate) async fn open(node: &Node) -> Self {
        let mut stream = node
            .runtime()
            .get_container_events(GetEventsRequest {})
            .await
            .unwrap_or_else(|e| panic!("GetContainerEvents: {e}"))
            .into_inner();
        let told = Told::default();
        let heard = told.clone();
        let task = tokio::spawn(async move {
            while let Ok(Some(event)) = stream.message().await {
                let stage = match event.container_event_type() {
                    ContainerEventType::ContainerCreatedEvent => Stage::Created,
                    ContainerEventType::ContainerStartedEvent => Stage::Started,
                    ContainerEventType::ContainerStoppedEvent => Stage::Stopped,
                    ContainerEventType::ContainerDeletedEvent => Stage::Deleted,
                };
                let mut heard = heard.lock().unwrap();
                heard.entry(event.container_id).or_default().push(stage);
            }
        });
        Self {
            told,
            task,
            before: stages(node).await,
        }
    }

    /// How many lives were told of, and how many events there were.
    pub(crate) fn count(&self) -> (usize, usize) {
        let told = self.told.lock().unwrap();
        (told.len(), told.values().map(Vec::len).sum())
    }

    /// Compares what was told with how things are; nothing may be asked for meanwhile.
    pub(crate) async fn compare(&self, daemon: &Daemon<'_>) -> Result<(), String> {
        let deadline = Instant::now() + patience();
        loop {
            let after = stages(daemon.node).await;
            let wrong = self.wrong(daemon, &after);
            if wrong.is_empty() {
                return Ok(());
            }
            // What has just happened may not have been heard of yet.
            if Instant::now() > deadline {
                return Err(wrong.join("\n"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    fn wrong(&self, daemon: &Daemon<'_>, after: &BTreeMap<String, Stage>) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let ids: BTreeSet<&String> = self
            .before
            .keys()
            .chain(told.keys())
            .chain(after.keys())
            .collect();
        let mut wrong = Vec::new();
        for id in ids {
            let was = self.before.get(id).copied().unwrap_or(Stage::Unborn);
            // What a killed daemon had half made may have been on its way out when listening began.
            if was == Stage::Unborn && !after.contains_key(id) && !daemon.has_made(id) {
                continue;
            }
            let told = told.get(id).map(Vec::as_slice).unwrap_or_default();
            let known = was != Stage::Unborn || !told.is_empty();
            let is = after.get(id).copied().unwrap_or(match known {
                true => Stage::Deleted,
                false => Stage::Unborn,
            });
            if let Err(error) = check_history(was, told, is) {
                wrong.push(format!("events of {id}: {error}"));
            }
        }
        wrong
    }
}

/// How far each life is.
async fn stages(node: &Node) -> BTreeMap<String, Stage> {
    let mut stages = BTreeMap::new();
    for pod in node.pods(None).await {
        let stage = match crate::calls::seen_pod(&pod).ready {
            true => Stage::Started,
            false => Stage::Stopped,
        };
        stages.insert(pod.id, stage);
    }
    for container in node.containers(None).await {
        let stage = match container.state() {
            ContainerState::ContainerCreated => Stage::Created,
            ContainerState::ContainerRunning => Stage::Started,
            ContainerState::ContainerExited | ContainerState::ContainerUnknown => Stage::Stopped,
        };
        stages.insert(container.id, stage);
    }
    stages
}
