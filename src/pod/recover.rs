//! Taking a sandbox up as the last daemon left it.

use std::sync::Arc;

use super::{
    create::PodUp,
    error::PodError,
    infra::{self, Infra},
    record::PodRecord,
    spec::Shared,
    state::PodState,
};
use crate::{id::Id, orphans, services::Services, sys::namespaces};

/// Finds out what of a sandbox is there; an error says what a ready one has lost.
pub(super) async fn take_up(
    services: &Arc<Services>,
    id: &Id,
    record: &PodRecord,
) -> Result<PodUp, PodError> {
    let lost = |what: &str| PodError::Lost {
        what: what.to_owned(),
    };
    let mut up = PodUp {
        attachment: record.attachment.clone(),
        infra: None,
    };
    let unfinished = match record.state {
        PodState::Creating | PodState::Stopping { .. } | PodState::Removing { .. } => true,
        PodState::Ready | PodState::Broken { .. } | PodState::Stopped => false,
    };
    if unfinished {
        orphans::outlast(id).await;
    }
    match record.state {
        PodState::Creating => return Err(lost("the daemon that was creating it")),
        PodState::Ready => {}
        _ => return Ok(up),
    }
    if record.boot_id != services.boot_id {
        return Err(lost("the boot it was made in"));
    }
    let namespaces = &record.spec.namespaces;
    let dir = services.layout.sandbox_namespaces(id);
    for (own, name) in [
        (namespaces.network == Shared::Pod, "net"),
        (namespaces.ipc == Shared::Pod, "ipc"),
        (namespaces.user.is_some(), "user"),
    ] {
        if own && !namespaces::is_pinned(&dir.join(name)) {
            return Err(lost(&format!("its {name} namespace")));
        }
    }
    if let Some(pid) = record.infra_pid {
        up.infra = Some(Infra {
            pid,
            monitor: infra::adopt(services, id).await?,
        });
    }
    Ok(up)
}
