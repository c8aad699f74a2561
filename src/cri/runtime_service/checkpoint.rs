//! Checkpoints, which corten does not make: requests are checked as if it did, so that a caller's mistake is
//! told apart from what is missing.

use crate::cri::{
    api,
    backend::{Backend, Outcome},
    convert::{container, error::At, pod, text},
    lookup,
    status::{Failure, Kind},
};

pub(super) fn container<B: Backend>(
    backend: &B,
    request: &api::CheckpointContainerRequest,
) -> Outcome<api::CheckpointContainerResponse> {
    text::absolute_path(&At::root("location"), &request.location)?;
    super::containers::seconds(request.timeout)?;
    lookup::container(backend, &request.container_id)?;
    missing("checkpoint containers")
}

pub(super) fn pod<B: Backend>(
    backend: &B,
    request: api::CheckpointPodRequest,
) -> Outcome<api::CheckpointPodResponse> {
    text::absolute_path(&At::root("output_path"), &request.output_path)?;
    text::map(&At::root("options"), request.options)?;
    let pod = lookup::pod(backend, &request.pod_sandbox_id)?;
    let at = At::root("container_ids");
    for (i, id) in request.container_ids.iter().enumerate() {
        if !pod.containers.iter().any(|c| c.id.as_str() == id) {
            let problem = at.index(i).bad(id, "is not a container of the sandbox");
            return Err(Failure::new(Kind::NotFound, problem.to_string()));
        }
    }
    missing("checkpoint pods")
}

pub(super) fn restore(request: api::RestorePodRequest) -> Outcome<api::RestorePodResponse> {
    text::absolute_path(&At::root("checkpoint_path"), &request.checkpoint_path)?;
    text::map(&At::root("options"), request.options)?;
    pod::spec(request.config, request.runtime_handler)?;
    for config in request.container_configs {
        container::spec(Some(config))?;
    }
    missing("restore pods from checkpoints")
}

fn missing<T>(what: &str) -> Outcome<T> {
    Err(Failure::new(
        Kind::Unimplemented,
        format!("corten does not {what} yet: it does not drive CRIU"),
    ))
}
