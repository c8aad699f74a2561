//! A pod's name, and all that is believed of what goes by it.

use corten::cri::api::{ContainerConfig, PodSandboxConfig};

use crate::{
    model::{Belief, Nature, World},
    support::{container, linux, pod, pod_net, shell},
};

/// The label that all of a subject's objects carry.
pub(crate) const NAME: &str = "load/name";
/// The label with a container's number.
pub(crate) const NUMBER: &str = "load/number";
/// Most IDs of what is gone that are remembered, to ask for them again.
const REMEMBERED: usize = 8;

/// One name.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) config: PodSandboxConfig,
    pub(crate) belief: Belief,
    /// Number of the next container; none is used twice.
    pub(crate) next: u32,
    /// Pods that have gone by this name before.
    pub(crate) old_pods: Vec<String>,
    /// Containers that were in them.
    pub(crate) old_containers: Vec<String>,
}

impl Subject {
    /// One in six has a network of its own: plugins take more time than all the rest.
    pub(crate) fn new(number: usize) -> Self {
        let name = format!("load-{number}");
        let mut config = match number % 6 {
            0 => pod_net(&name),
            _ => pod(&name),
        };
        config.labels.insert(NAME.to_owned(), name);
        Self {
            config,
            belief: Belief::default(),
            next: 0,
            old_pods: Vec::new(),
            old_containers: Vec::new(),
        }
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.config.labels[NAME]
    }

    /// What to create a container with.
    pub(crate) fn container(&self, number: u32, nature: Nature) -> ContainerConfig {
        let name = format!("c{number}");
        let mut config = match nature {
            Nature::Sleeps => container(&name, &["sleep", "1000000"]),
            Nature::Obeys => shell(
                &name,
                "trap 'exit 7' TERM; while :; do sleep 1000000 & wait $!; done",
            ),
            Nature::Ends(code) => shell(&name, &format!("sleep 0.{}; exit {code}", number % 10)),
        };
        config
            .labels
            .insert(NAME.to_owned(), self.name().to_owned());
        config.labels.insert(NUMBER.to_owned(), number.to_string());
        linux(&mut config)
            .resources
            .get_or_insert_default()
            .cpu_shares = crate::model::SHARES;
        config
    }

    /// Remembers the IDs of what was there before and is no longer.
    pub(crate) fn remember(&mut self, before: &World) {
        let now = self.belief.likely();
        let pod = |world: &World| world.pod.as_ref().and_then(|pod| pod.id.clone());
        if let Some(id) = pod(before)
            && pod(&now).as_ref() != Some(&id)
        {
            self.old_pods.push(id);
        }
        let known = |id: &String| {
            now.containers
                .values()
                .any(|one| one.id.as_ref() == Some(id))
        };
        let gone = before.containers.values().filter_map(|one| one.id.clone());
        self.old_containers.extend(gone.filter(|id| !known(id)));
        for old in [&mut self.old_pods, &mut self.old_containers] {
            let surplus = old.len().saturating_sub(REMEMBERED);
            old.drain(..surplus);
        }
    }
}
