//! Everything that is listed, compared with everything that is believed, while nothing is asked for.

use std::collections::{BTreeMap, BTreeSet};

use corten::cri::api;
use tokio::sync::Mutex;

use crate::{
    calls::{seen_container, seen_pod},
    model::{SeenContainer, SeenPod},
    subject::{NAME, Subject},
    support::Node,
};

/// How much was compared.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) pods: usize,
    pub(crate) containers: usize,
}

/// Compares; an error says what does not agree.
pub(crate) async fn take(node: &Node, subjects: &[Mutex<Subject>]) -> Result<Counted, String> {
    let mut pods: BTreeMap<String, Vec<SeenPod>> = BTreeMap::new();
    let mut containers: BTreeMap<String, Vec<SeenContainer>> = BTreeMap::new();
    let mut counted = Counted::default();
    for pod in node.pods(None).await {
        counted.pods += 1;
        let name = pod.labels.get(NAME).cloned().unwrap_or_default();
        pods.entry(name).or_default().push(seen_pod(&pod));
    }
    for subject in subjects {
        let mut subject = subject.lock().await;
        let seen = pods.remove(subject.name()).unwrap_or_default();
        let name = subject.name().to_owned();
        let belief = &mut subject.belief;
        belief
            .sees((&name, &seen), |world| world.if_pod(&seen))
            .map_err(|e| e.to_string())?;
    }
    let before = container_ids(node).await;
    for container in node.containers(None).await {
        counted.containers += 1;
        let name = container.labels.get(NAME).cloned().unwrap_or_default();
        let seen = seen_container(&container);
        containers.entry(name).or_default().push(seen);
    }
    for subject in subjects {
        let mut subject = subject.lock().await;
        let seen = containers.remove(subject.name()).unwrap_or_default();
        let name = subject.name().to_owned();
        let belief = &mut subject.belief;
        belief
            .sees((&name, &seen), |world| world.if_containers(&seen))
            .map_err(|e| e.to_string())?;
    }
    if !pods.is_empty() || !containers.is_empty() {
        return Err(format!("nobody asked for {pods:?} {containers:?}"));
    }
    statistics(node, before).await?;
    Ok(counted)
}

async fn container_ids(node: &Node) -> BTreeSet<String> {
    let listed = node.containers(None).await;
    listed.into_iter().map(|container| container.id).collect()
}

/// Statistics are there of what is there. Something may be on its way out, nothing on its way in.
async fn statistics(node: &Node, before: BTreeSet<String>) -> Result<(), String> {
    let request = api::ListContainerStatsRequest::default();
    let reply = node.runtime().list_container_stats(request).await;
    let stats = reply.map_err(|e| e.to_string())?.into_inner().stats;
    let measured: BTreeSet<String> = stats
        .into_iter()
        .filter_map(|one| one.attributes.map(|attributes| attributes.id))
        .collect();
    let after = container_ids(node).await;
    match measured.is_subset(&before) && after.is_subset(&measured) {
        true => Ok(()),
        false => Err(format!(
            "statistics are of {measured:?}, listed are {before:?} and then {after:?}"
        )),
    }
}
