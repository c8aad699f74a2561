//! Sandboxes as they are, for answers.

use std::collections::HashMap;

use serde_json::json;

use super::{container_view, namespaces};
use crate::{
    cri::api,
    pod::view::{PodView, PodViewState},
};

/// The state in the protocol's terms.
pub fn state(state: PodViewState) -> api::PodSandboxState {
    match state {
        PodViewState::Ready => api::PodSandboxState::SandboxReady,
        PodViewState::NotReady => api::PodSandboxState::SandboxNotready,
    }
}

/// The entry of a list.
pub fn item(pod: &PodView) -> api::PodSandbox {
    api::PodSandbox {
        id: pod.id.to_string(),
        metadata: Some(metadata(pod)),
        state: state(pod.state) as i32,
        created_at: pod.created_at,
        labels: pod.spec.labels.clone().into_iter().collect(),
        annotations: pod.spec.annotations.clone().into_iter().collect(),
        runtime_handler: pod.spec.runtime_handler.clone(),
    }
}

/// The status of one sandbox.
pub fn status(pod: &PodView) -> api::PodSandboxStatus {
    let mut ips = pod.ips.iter().map(ToString::to_string);
    api::PodSandboxStatus {
        id: pod.id.to_string(),
        metadata: Some(metadata(pod)),
        state: state(pod.state) as i32,
        created_at: pod.created_at,
        network: Some(api::PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.map(|ip| api::PodIp { ip }).collect(),
        }),
        linux: Some(api::LinuxPodSandboxStatus {
            namespaces: Some(api::Namespace {
                options: Some(namespaces::to_api(&pod.spec.namespaces)),
            }),
        }),
        labels: pod.spec.labels.clone().into_iter().collect(),
        annotations: pod.spec.annotations.clone().into_iter().collect(),
        runtime_handler: pod.spec.runtime_handler.clone(),
    }
}

/// The whole answer to `PodSandboxStatus`, taken at `now` (nanoseconds).
pub fn response(pod: &PodView, verbose: bool, now: i64) -> api::PodSandboxStatusResponse {
    api::PodSandboxStatusResponse {
        status: Some(status(pod)),
        info: if verbose { info(pod) } else { HashMap::new() },
        containers_statuses: containers(pod),
        timestamp: now,
    }
}

/// The statuses of its containers.
pub fn containers(pod: &PodView) -> Vec<api::ContainerStatus> {
    let containers = pod.containers.iter();
    containers.map(|c| container_view::status(c)).collect()
}

/// What it is known by.
pub(super) fn metadata(pod: &PodView) -> api::PodSandboxMetadata {
    let m = &pod.spec.metadata;
    api::PodSandboxMetadata {
        name: m.name.clone(),
        uid: m.uid.clone(),
        namespace: m.namespace.clone(),
        attempt: m.attempt,
    }
}

/// What `crictl inspectp` shows beyond the status: one JSON object under `info`.
fn info(pod: &PodView) -> HashMap<String, String> {
    let info = json!({
        "sandboxID": pod.id,
        "pid": pod.pid.unwrap_or(0),
        "state": match pod.state {
            PodViewState::Ready => "ready",
            PodViewState::NotReady => "notReady",
        },
        "step": pod.step,
        "netns": pod.netns,
        "cgroupParent": pod.spec.cgroup_parent,
        "overhead": pod.resources.overhead,
        "resources": pod.resources.containers,
        "runtimeHandler": pod.handler,
        "hostname": pod.spec.hostname,
        "portMappings": pod.spec.port_mappings,
        "sysctls": pod.spec.sysctls,
        "containers": pod.containers.iter().map(|c| &c.id).collect::<Vec<_>>(),
    });
    HashMap::from([("info".to_owned(), info.to_string())])
}

#[cfg(test)]
mod tests {
    use super::super::arbitrary::{container_view, pod_view};
    use super::*;
    use crate::cri::convert::filter::PodFilter;
    use std::sync::Arc;

    #[test]
    fn first_address_first() {
        let pod = pod_view(1);
        let network = status(&pod).network.unwrap();
        assert_eq!(network.ip, "10.0.0.1");
        assert_eq!(network.additional_ips[0].ip, "fd00::1");
    }

    #[test]
    fn verbose_is_json_and_only_on_demand() {
        let mut pod = pod_view(1);
        pod.containers = vec![Arc::new(container_view(7, &pod.id))];
        assert!(response(&pod, false, 5).info.is_empty());
        let answer = response(&pod, true, 5);
        let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).unwrap();
        assert_eq!(info["sandboxID"], pod.id.as_str());
        assert_eq!(info["containers"][0], answer.containers_statuses[0].id);
        assert_eq!(answer.timestamp, 5);
    }

    #[test]
    fn filters() {
        let pod = pod_view(1);
        let filter = |id: &str, state: Option<i32>, label: Option<(&str, &str)>| {
            PodFilter::new(Some(api::PodSandboxFilter {
                id: id.into(),
                state: state.map(|state| api::PodSandboxStateValue { state }),
                label_selector: label
                    .map(|(k, v)| (k.into(), v.into()))
                    .into_iter()
                    .collect(),
            }))
        };
        let whole = pod.id.as_str();
        assert!(PodFilter::new(None).unwrap().matches(&pod));
        assert!(
            filter(whole, Some(0), Some(("app", "web")))
                .unwrap()
                .matches(&pod)
        );
        assert!(filter(&whole[..5], None, None).unwrap().matches(&pod));
        assert!(!filter("no such id", None, None).unwrap().matches(&pod));
        assert!(!filter("", Some(1), None).unwrap().matches(&pod));
        assert!(!filter("", None, Some(("app", "db"))).unwrap().matches(&pod));
        assert!(!filter("", None, Some(("other", ""))).unwrap().matches(&pod));
        assert_eq!(
            filter("", Some(7), None).unwrap_err().to_string(),
            "filter.state: 7 is not a state"
        );
    }
}
