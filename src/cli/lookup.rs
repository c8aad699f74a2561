//! Finding pods and containers by name, ID, or the beginning of an ID.

use super::{client::Context, error::CliError, output::short};
use crate::cri::api;

/// Everything there is, asked for once.
pub(super) struct Inventory {
    /// Pods.
    pub(super) pods: Vec<api::PodSandbox>,
    /// Containers.
    pub(super) containers: Vec<api::Container>,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A pod by ID.
    Pod(String),
    /// A container by ID.
    Container(String),
}

const HINT: &str = "`corten ps -a` shows containers, `corten ps --pods` pods.";

impl Inventory {
    /// Asks for every pod and container.
    pub(super) async fn load(context: &Context) -> Result<Self, CliError> {
        let mut runtime = context.runtime();
        let pods = runtime
            .list_pod_sandbox(api::ListPodSandboxRequest::default())
            .await
            .map_err(CliError::rpc("list pods"))?
            .into_inner()
            .items;
        let containers = runtime
            .list_containers(api::ListContainersRequest::default())
            .await
            .map_err(CliError::rpc("list containers"))?
            .into_inner()
            .containers;
        Ok(Self { pods, containers })
    }

    /// The pod with this ID.
    pub(super) fn pod(&self, id: &str) -> Option<&api::PodSandbox> {
        self.pods.iter().find(|pod| pod.id == id)
    }

    /// The containers of a pod.
    pub(super) fn containers_of<'a>(
        &'a self,
        pod: &'a str,
    ) -> impl Iterator<Item = &'a api::Container> {
        self.containers
            .iter()
            .filter(move |container| container.pod_sandbox_id == pod)
    }

    /// The one pod that `name` stands for.
    pub(super) fn find_pod(&self, name: &str) -> Result<&api::PodSandbox, CliError> {
        let named = self.pods.iter().filter(|pod| pod_name(pod) == name);
        let found = newest(named.collect(), |pod| {
            let meta = pod.metadata.clone().unwrap_or_default();
            (meta.namespace, meta.uid, meta.attempt)
        });
        let found = or_else(found, || {
            let by_id = self.pods.iter().filter(|pod| is_id(&pod.id, name));
            by_id.collect()
        });
        one(found, "pod", name, |pod| {
            format!("{} ({})", pod_name(pod), short(&pod.id))
        })
    }

    /// The one container that `name` stands for: `CONTAINER`, `POD/CONTAINER`, an ID, or the name of a pod that
    /// has one container only.
    pub(super) fn find_container(&self, name: &str) -> Result<&api::Container, CliError> {
        let (pod, container) = match name.split_once('/') {
            Some((pod, container)) => (Some(self.find_pod(pod)?.id.clone()), container),
            None => (None, name),
        };
        let in_pod = |c: &&api::Container| pod.as_ref().is_none_or(|pod| *pod == c.pod_sandbox_id);
        let named = self
            .containers
            .iter()
            .filter(in_pod)
            .filter(|c| container_name(c) == container);
        let found = newest(named.collect(), |c| {
            let attempt = c.metadata.as_ref().map_or(0, |meta| meta.attempt);
            (c.pod_sandbox_id.clone(), String::new(), attempt)
        });
        let found = or_else(found, || {
            let by_id = self
                .containers
                .iter()
                .filter(in_pod)
                .filter(|c| is_id(&c.id, container));
            by_id.collect()
        });
        let found = or_else(found, || match (&pod, self.find_pod(name)) {
            (None, Ok(pod)) => self.containers_of(&pod.id).collect(),
            _ => Vec::new(),
        });
        one(found, "container", name, |c| self.full_name(c))
    }

    /// The pod or container that `name` stands for. A pod made for one container is what both its names mean.
    pub(super) fn find(&self, name: &str) -> Result<Target, CliError> {
        match self.find_pod(name) {
            Ok(pod) => return Ok(Target::Pod(pod.id.clone())),
            Err(CliError::NotFound { .. }) => {}
            Err(e) => return Err(e),
        }
        match self.find_container(name) {
            Ok(container) => {
                let pod = &container.pod_sandbox_id;
                let alone = self.containers_of(pod).count() == 1;
                match self.pod(pod).is_some_and(made_by_run) && alone {
                    true => Ok(Target::Pod(pod.clone())),
                    false => Ok(Target::Container(container.id.clone())),
                }
            }
            Err(CliError::NotFound { name, hint, .. }) => Err(CliError::NotFound {
                kind: "pod or container",
                name,
                hint,
            }),
            Err(e) => Err(e),
        }
    }

    /// `POD/CONTAINER`, as errors and tables write it.
    pub(super) fn full_name(&self, container: &api::Container) -> String {
        let pod = self.pod(&container.pod_sandbox_id).map_or("?", pod_name);
        format!(
            "{pod}/{} ({})",
            container_name(container),
            short(&container.id)
        )
    }
}

/// Label of pods that `corten run` made.
pub(super) const RUN_LABEL: &str = "corten.run";

/// Whether `corten run` made it, so that it goes away with its last container.
pub(super) fn made_by_run(pod: &api::PodSandbox) -> bool {
    pod.labels.contains_key(RUN_LABEL)
}

/// A pod's name.
pub(super) fn pod_name(pod: &api::PodSandbox) -> &str {
    pod.metadata.as_ref().map_or("", |meta| meta.name.as_str())
}

/// A container's name.
pub(super) fn container_name(container: &api::Container) -> &str {
    container
        .metadata
        .as_ref()
        .map_or("", |meta| meta.name.as_str())
}

fn is_id(id: &str, prefix: &str) -> bool {
    !prefix.is_empty() && id.starts_with(prefix)
}

/// Of several tries of the same thing, the last.
fn newest<T>(found: Vec<&T>, key: impl Fn(&T) -> (String, String, u32)) -> Vec<&T> {
    let mut best: Vec<&T> = Vec::new();
    for item in found {
        let (a, b, attempt) = key(item);
        let same = best.iter_mut().find(|other| {
            let (other_a, other_b, _) = key(other);
            (other_a, other_b) == (a.clone(), b.clone())
        });
        match same {
            Some(other) if key(other).2 < attempt => *other = item,
            Some(_) => {}
            None => best.push(item),
        }
    }
    best
}

fn or_else<'a, T>(found: Vec<&'a T>, next: impl FnOnce() -> Vec<&'a T>) -> Vec<&'a T> {
    match found.is_empty() {
        true => next(),
        false => found,
    }
}

fn one<'a, T>(
    found: Vec<&'a T>,
    kind: &'static str,
    name: &str,
    describe: impl Fn(&T) -> String,
) -> Result<&'a T, CliError> {
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(CliError::NotFound {
            kind,
            name: name.to_owned(),
            hint: HINT,
        }),
        several => Err(CliError::Ambiguous {
            name: name.to_owned(),
            candidates: several.iter().map(|item| describe(item)).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(id: &str, name: &str, run: bool) -> api::PodSandbox {
        api::PodSandbox {
            id: id.into(),
            metadata: Some(api::PodSandboxMetadata {
                name: name.into(),
                uid: id.into(),
                ..Default::default()
            }),
            labels: run
                .then(|| (RUN_LABEL.to_owned(), String::new()))
                .into_iter()
                .collect(),
            ..Default::default()
        }
    }

    fn container(id: &str, pod: &str, name: &str, attempt: u32) -> api::Container {
        api::Container {
            id: id.into(),
            pod_sandbox_id: pod.into(),
            metadata: Some(api::ContainerMetadata {
                name: name.into(),
                attempt,
            }),
            ..Default::default()
        }
    }

    fn inventory() -> Inventory {
        Inventory {
            pods: vec![
                pod("a1", "web", true),
                pod("a2", "db", false),
                pod("b1", "two", true),
            ],
            containers: vec![
                container("c1", "a1", "main", 0),
                container("c2", "a2", "app", 0),
                container("c3", "a2", "app", 1),
                container("d1", "b1", "app", 0),
                container("d2", "b1", "side", 0),
            ],
        }
    }

    fn container_id(name: &str) -> Result<String, CliError> {
        inventory().find_container(name).map(|c| c.id.clone())
    }

    #[test]
    fn finds_containers() {
        assert_eq!(container_id("main").unwrap(), "c1");
        assert_eq!(container_id("side").unwrap(), "d2");
        assert_eq!(container_id("db/app").unwrap(), "c3");
        assert_eq!(container_id("a2/app").unwrap(), "c3");
        assert_eq!(container_id("c2").unwrap(), "c2");
        assert_eq!(container_id("web").unwrap(), "c1");
        let candidates = |name: &str| match container_id(name) {
            Err(CliError::Ambiguous { candidates, .. }) => candidates.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(candidates("app"), 2);
        assert_eq!(candidates("d"), 2);
        assert_eq!(candidates("two"), 2);
        assert!(matches!(
            container_id("none"),
            Err(CliError::NotFound { .. })
        ));
        assert!(matches!(container_id(""), Err(CliError::NotFound { .. })));
    }

    #[test]
    fn a_pod_made_for_one_container_goes_with_it() {
        let inventory = inventory();
        let find = |name: &str| inventory.find(name).unwrap();
        assert_eq!(find("web"), Target::Pod("a1".into()));
        assert_eq!(find("main"), Target::Pod("a1".into()));
        assert_eq!(find("side"), Target::Container("d2".into()));
        assert_eq!(find("c2"), Target::Container("c2".into()));
        assert_eq!(find("a2"), Target::Pod("a2".into()));
        let error = inventory.find("none").unwrap_err().to_string();
        assert!(error.contains("no pod or container \"none\""), "{error}");
    }
}
