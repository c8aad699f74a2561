//! Containers as they are, for answers.

use std::collections::HashMap;

use serde_json::json;

use super::{image, mount, resources, signal};
use crate::{
    container::{
        spec::ContainerSpec,
        view::{ContainerState, ContainerView},
    },
    cri::api,
};

/// The state in the protocol's terms.
pub fn state(state: &ContainerState) -> api::ContainerState {
    match state {
        ContainerState::Created => api::ContainerState::ContainerCreated,
        ContainerState::Running { .. } => api::ContainerState::ContainerRunning,
        ContainerState::Exited { .. } => api::ContainerState::ContainerExited,
        ContainerState::Unknown { .. } => api::ContainerState::ContainerUnknown,
    }
}

/// The entry of a list.
pub fn item(container: &ContainerView) -> api::Container {
    api::Container {
        id: container.id.to_string(),
        pod_sandbox_id: container.pod_id.to_string(),
        metadata: Some(metadata(container)),
        image: Some(image_spec(container)),
        image_ref: container.image_ref.clone(),
        state: state(&container.state) as i32,
        created_at: container.created_at,
        labels: container.spec.labels.clone().into_iter().collect(),
        annotations: container.spec.annotations.clone().into_iter().collect(),
        image_id: container.image_id.clone(),
    }
}

/// The status of one container.
pub fn status(container: &ContainerView) -> api::ContainerStatus {
    let mut status = api::ContainerStatus {
        id: container.id.to_string(),
        metadata: Some(metadata(container)),
        state: state(&container.state) as i32,
        created_at: container.created_at,
        image: Some(image_spec(container)),
        image_ref: container.image_ref.clone(),
        labels: container.spec.labels.clone().into_iter().collect(),
        annotations: container.spec.annotations.clone().into_iter().collect(),
        mounts: container
            .spec
            .mounts
            .iter()
            .map(|m| {
                let resolved = container.mount_images.get(&m.container_path);
                mount::to_api(m, resolved.map_or("", String::as_str))
            })
            .collect(),
        log_path: container
            .log_path
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        resources: Some(api::ContainerResources {
            linux: Some(resources::to_api(&container.resources)),
            windows: None,
        }),
        image_id: container.image_id.clone(),
        user: container.user.as_ref().map(|user| api::ContainerUser {
            linux: Some(api::LinuxContainerUser {
                uid: user.uid.into(),
                gid: user.gid.into(),
                supplemental_groups: user.groups.iter().copied().map(i64::from).collect(),
            }),
        }),
        stop_signal: signal::to_api(Some(container.stop_signal)) as i32,
        ..Default::default()
    };
    match &container.state {
        ContainerState::Created => {}
        ContainerState::Running { started_at } => status.started_at = *started_at,
        ContainerState::Exited {
            started_at,
            finished_at,
            exit_code,
            reason,
            message,
        } => {
            status.started_at = started_at.unwrap_or(0);
            status.finished_at = *finished_at;
            status.exit_code = *exit_code;
            status.reason.clone_from(reason);
            status.message.clone_from(message);
        }
        ContainerState::Unknown { reason, message } => {
            status.reason.clone_from(reason);
            status.message.clone_from(message);
        }
    }
    status
}

/// The whole answer to `ContainerStatus`.
pub fn response(container: &ContainerView, verbose: bool) -> api::ContainerStatusResponse {
    api::ContainerStatusResponse {
        status: Some(status(container)),
        info: if verbose {
            info(container)
        } else {
            HashMap::new()
        },
    }
}

/// What it is known by.
pub(super) fn metadata(container: &ContainerView) -> api::ContainerMetadata {
    api::ContainerMetadata {
        name: container.spec.metadata.name.clone(),
        attempt: container.spec.metadata.attempt,
    }
}

/// The image as the user knows it: the kubelet creates containers by image ID and shows people this name.
pub(in crate::cri) fn shown_image(spec: &ContainerSpec) -> &str {
    match spec.image.user_specified.as_str() {
        "" => &spec.image.image,
        name => name,
    }
}

fn image_spec(container: &ContainerView) -> api::ImageSpec {
    api::ImageSpec {
        image: shown_image(&container.spec).to_owned(),
        ..image::to_api(&container.spec.image)
    }
}

/// What `crictl inspect` shows beyond the status: one JSON object under `info`.
fn info(container: &ContainerView) -> HashMap<String, String> {
    let info = json!({
        "sandboxID": container.pod_id,
        "pid": container.pid.unwrap_or(0),
        "state": match container.state {
            ContainerState::Created => "created",
            ContainerState::Running { .. } => "running",
            ContainerState::Exited { .. } => "exited",
            ContainerState::Unknown { .. } => "unknown",
        },
        "step": container.step,
        "monitor": container.monitor.as_ref().map(|monitor| json!({
            "pid": monitor.pid,
            "version": monitor.program,
            "protocol": monitor.protocol,
        })),
        "snapshotKey": container.id,
        "privileged": container.spec.security.privileged,
        "runtimeSpecPath": container.runtime_spec,
    });
    HashMap::from([("info".to_owned(), info.to_string())])
}

#[cfg(test)]
mod tests {
    use super::super::arbitrary::container_view;
    use super::*;
    use crate::{cri::convert::filter::ContainerFilter, id::Id};

    #[test]
    fn every_field_comes_back() {
        let pod = Id::random();
        let mut view = container_view(1, &pod);
        let s = status(&view);
        assert_eq!(s.state, api::ContainerState::ContainerRunning as i32);
        assert_eq!((s.created_at, s.started_at, s.finished_at), (1, 2, 0));
        assert_eq!(s.log_path, "/var/log/pods/x/main.log");
        assert_eq!(s.stop_signal, api::Signal::Sigterm as i32);
        let image = s.image.unwrap();
        assert_eq!(image.image, "busybox:1");
        assert_eq!(image.user_specified_image, "busybox:1");
        assert_eq!(s.image_id, "sha256:1");
        assert_eq!(s.image_ref, "docker.io/library/busybox@sha256:2");
        let user = s.user.unwrap().linux.unwrap();
        assert_eq!(
            (user.uid, user.gid, user.supplemental_groups),
            (1, 2, vec![2, 3])
        );
        assert_eq!(s.mounts[0].host_path, "/srv");
        assert_eq!(s.resources.unwrap().linux.unwrap().cpu_shares, 512);

        view.state = ContainerState::Exited {
            started_at: Some(2),
            finished_at: 9,
            exit_code: 137,
            reason: "OOMKilled".into(),
            message: "m".into(),
        };
        let s = status(&view);
        assert_eq!((s.started_at, s.finished_at, s.exit_code), (2, 9, 137));
        assert_eq!((s.reason.as_str(), s.message.as_str()), ("OOMKilled", "m"));
    }

    #[test]
    fn verbose_names_the_process() {
        let view = container_view(1, &Id::random());
        let answer = response(&view, true);
        let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).unwrap();
        assert_eq!(info["pid"], 4242);
        assert_eq!(info["sandboxID"], view.pod_id.as_str());
        assert!(response(&view, false).info.is_empty());
    }

    #[test]
    fn filters() {
        let pod = Id::random();
        let view = container_view(1, &pod);
        let by = |id: &str, pod_id: &str, state: Option<i32>| {
            ContainerFilter::new(Some(api::ContainerFilter {
                id: id.into(),
                pod_sandbox_id: pod_id.into(),
                state: state.map(|state| api::ContainerStateValue { state }),
                label_selector: HashMap::from([("tier".into(), "front".into())]),
            }))
            .unwrap()
            .matches(&view)
        };
        assert!(by("", "", None));
        assert!(by(view.id.as_str(), pod.as_str(), Some(1)));
        assert!(by(&view.id.as_str()[..9], &pod.as_str()[..9], None));
        assert!(!by("", "", Some(2)));
        assert!(!by("", "zz", None));
    }
}
