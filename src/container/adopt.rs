//! Taking a container up as the last daemon left it.

use std::{path::Path, sync::Arc, time::Duration};

use tracing::warn;

use super::{
    End, create, exec, reap,
    record::ContainerRecord,
    start,
    state::{ContainerState, ExitCause},
};
use crate::{
    causes::whole,
    id::Id,
    monitor::{self, Adopted, Monitor},
    orphans,
    services::{Services, now},
    step::{self, Step},
};

/// What became of a container whose daemon was away.
pub(crate) enum Adoption {
    /// It lives; `started_at` is set when its start was not yet on record.
    Alive {
        monitor: Monitor,
        started_at: Option<i64>,
    },
    /// It ended meanwhile.
    Ended(End),
    /// It had ended before.
    Settled,
    /// It was being made or removed; what is there of it has to go.
    Unfinished,
}

/// How long to wait before a monitor that gives no answer is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it is asked.
const TRIES: u32 = 5;

/// Finds out what became of a container.
pub(crate) async fn adopt(services: &Arc<Services>, id: &Id, record: &ContainerRecord) -> Adoption {
    step::reached(Step::ContainerAdopted);
    let settled = match record.state {
        ContainerState::Creating | ContainerState::Created { .. } => false,
        ContainerState::Running { .. } => true,
        ContainerState::Exited(_) => record.reaped,
    };
    if record.removing || !settled {
        orphans::outlast(id).await;
    }
    if record.removing || record.state == ContainerState::Creating {
        // A monitor may be at work on it still; it ends with its container.
        if let Ok(Adopted::Alive(monitor)) = monitor::adopt(&create::paths(services, id)).await {
            let pid = monitor.pid();
            let _ = super::stop::kill(services, id, record, &monitor, pid).await;
        }
        return Adoption::Unfinished;
    }
    if matches!(record.state, ContainerState::Exited(_)) {
        return Adoption::Settled;
    }
    for attempt in 1.. {
        match monitor::adopt(&create::paths(services, id)).await {
            Ok(Adopted::Alive(monitor)) => {
                let bundle = services.layout.bundle(id);
                // Whether it could is no matter: the bundle goes with its container.
                let _ = tokio::task::spawn_blocking(move || exec::remove_leftovers(&bundle)).await;
                let started_at = match record.state {
                    ContainerState::Created { .. } => started_meanwhile(services, id, record).await,
                    _ => None,
                };
                return Adoption::Alive {
                    monitor,
                    started_at,
                };
            }
            Ok(Adopted::Exited(exit)) => return Adoption::Ended(End::from_record(&exit)),
            Ok(Adopted::Failed(failure)) => {
                return Adoption::Ended(End::lost(ExitCause::StartFailed {
                    message: failure.text,
                }));
            }
            Ok(Adopted::Lost) => break,
            Err(error) => {
                warn!(container = %id, %error, attempt, "the monitor gives no answer");
                if attempt == TRIES {
                    // What cannot be reached must not be there for ever.
                    monitor::dismiss(&create::paths(services, id)).await;
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    // What still runs is ended before anyone is told that it has. What fails is tried again afterwards.
    if let Err(error) = reap::reap(services, id, record).await {
        warn!(container = %id, error = %whole(&error), "ending what a lost monitor left");
    }
    Adoption::Ended(End::lost(ExitCause::MonitorLost))
}

/// How a container of an earlier boot ended: nothing of it can be there.
pub(crate) fn end_of_boot(exit_record: &Path) -> End {
    match monitor::read_exit_record_now(exit_record) {
        Ok(Some(record)) => End::from_record(&record),
        Ok(None) => End::lost(ExitCause::Rebooted),
        Err(error) => {
            warn!(error = %whole(&error), "no exit record");
            End::lost(ExitCause::Rebooted)
        }
    }
}

/// Whether a container was started by a daemon that died before it could note it.
async fn started_meanwhile(services: &Services, id: &Id, record: &ContainerRecord) -> Option<i64> {
    start::is_started(services, id, record).await.then(now)
}
