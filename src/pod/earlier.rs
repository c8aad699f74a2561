//! What an earlier boot of the machine left undone.
//!
//! What a boot ended is known before anyone can look; what has to be released is released behind, a few pods at a time,
//! so that network plugins have room for the pods that replace them.

use std::path::Path;

use futures_util::{StreamExt, stream};
use tracing::warn;

use super::{
    Pods,
    record::PodRecord,
    state::{PodEvent, PodState},
};
use crate::{
    causes::whole,
    container::{adopt, record::ContainerRecord, state::Event},
    id::Id,
};

/// How many pods are taken down side by side.
const AT_ONCE: usize = 8;

/// Has a pod of an earlier boot be what it is by now. Says whether it is still to be taken down.
pub(super) fn settle_pod(record: &mut PodRecord, boot: &str) -> bool {
    if record.boot_id == boot {
        return false;
    }
    if record.state == PodState::Ready {
        let reason = "the machine was restarted".to_owned();
        record.state = PodState::Ready.after(PodEvent::Broke(reason));
        // Its number may be another's by now.
        record.infra_pid = None;
    }
    matches!(record.state, PodState::Broken { .. })
}

/// Has a container of an earlier boot be what it is by now: it ended, as its exit record says or for the restart. Says
/// whether that is news.
pub(super) fn settle_container(
    record: &mut ContainerRecord,
    exit_record: &Path,
    boot: &str,
) -> bool {
    if record.boot_id == boot || record.state.pid().is_none() {
        return false;
    }
    let end = adopt::end_of_boot(exit_record);
    let event = Event::Ended {
        at: end.at,
        cause: end.cause,
    };
    match record.state.clone().after(event) {
        Ok(state) => record.state = state,
        Err(error) => warn!(%error, "a container of an earlier boot"),
    }
    true
}

/// Takes down pods of an earlier boot. What fails is tried again by the pods themselves.
pub(super) async fn take_down(pods: Pods, rebooted: Vec<Id>) {
    stream::iter(rebooted)
        .for_each_concurrent(AT_ONCE, |pod| {
            let pods = pods.clone();
            async move {
                if let Err(error) = pods.stop(&pod).await {
                    let error = whole(&*error);
                    warn!(%pod, %error, "a pod of an earlier boot is not taken down yet");
                }
            }
        })
        .await;
}
