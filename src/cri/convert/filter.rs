//! Filters of list requests.

use std::collections::{BTreeMap, HashMap};

use super::{
    error::{At, FieldError},
    number,
};
use crate::{container::view::ContainerView, cri::api, id::Id, pod::view::PodView};

/// Which sandboxes a list is to have.
#[derive(Debug, Default)]
pub struct PodFilter {
    id: String,
    state: Option<api::PodSandboxState>,
    labels: HashMap<String, String>,
}

impl PodFilter {
    /// Reads a filter; `None` lets everything through. An ID that nothing has is no error.
    pub fn new(filter: Option<api::PodSandboxFilter>) -> Result<Self, FieldError> {
        let filter = filter.unwrap_or_default();
        Ok(Self {
            id: filter.id,
            state: filter
                .state
                .map(|s| number::choice(&At::root("filter").field("state"), s.state, "a state"))
                .transpose()?,
            labels: filter.label_selector,
        })
    }

    /// Reads a filter of statistics, which knows no state.
    pub fn of_stats(filter: Option<api::PodSandboxStatsFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        Self {
            id: filter.id,
            state: None,
            labels: filter.label_selector,
        }
    }

    /// The one sandbox that can pass, where the filter names it in full.
    pub fn whole_id(&self) -> Option<Id> {
        Id::parse(&self.id).ok()
    }

    /// Whether a sandbox passes.
    pub fn matches(&self, pod: &PodView) -> bool {
        pod.id.as_str().starts_with(&self.id)
            && self
                .state
                .is_none_or(|state| state == super::pod_view::state(pod.state))
            && carries(&pod.spec.labels, &self.labels)
    }
}

/// Which containers a list is to have.
#[derive(Debug, Default)]
pub struct ContainerFilter {
    id: String,
    pod_id: String,
    state: Option<api::ContainerState>,
    labels: HashMap<String, String>,
}

impl ContainerFilter {
    /// Reads a filter; `None` lets everything through. An ID that nothing has is no error.
    pub fn new(filter: Option<api::ContainerFilter>) -> Result<Self, FieldError> {
        let filter = filter.unwrap_or_default();
        Ok(Self {
            id: filter.id,
            pod_id: filter.pod_sandbox_id,
            state: filter
                .state
                .map(|s| number::choice(&At::root("filter").field("state"), s.state, "a state"))
                .transpose()?,
            labels: filter.label_selector,
        })
    }

    /// Reads a filter of statistics, which knows no state.
    pub fn of_stats(filter: Option<api::ContainerStatsFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        Self {
            id: filter.id,
            pod_id: filter.pod_sandbox_id,
            state: None,
            labels: filter.label_selector,
        }
    }

    /// The one container that can pass, where the filter names it in full.
    pub fn whole_id(&self) -> Option<Id> {
        Id::parse(&self.id).ok()
    }

    /// The one sandbox whose containers can pass, where the filter names it in full.
    pub fn whole_pod_id(&self) -> Option<Id> {
        Id::parse(&self.pod_id).ok()
    }

    /// Whether a container passes.
    pub fn matches(&self, container: &ContainerView) -> bool {
        container.id.as_str().starts_with(&self.id)
            && container.pod_id.as_str().starts_with(&self.pod_id)
            && self
                .state
                .is_none_or(|state| state == super::container_view::state(&container.state))
            && carries(&container.spec.labels, &self.labels)
    }
}

fn carries(labels: &BTreeMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
}
