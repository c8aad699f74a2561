//! Stopping a container: its signal, a grace period that can be cut short, and SIGKILL.

use std::time::Duration;

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::warn;

use super::{End, error::ContainerError, record::ContainerRecord};
use crate::{
    id::Id,
    monitor::{Monitor, MonitorError, Phase},
    services::Services,
    step::{self, Step},
    sys::pidfd,
};

/// How long a killed init may take to vanish before the runtime is asked to help.
const KILLED: Duration = Duration::from_secs(2);
/// How long it may take after that.
const STUCK: Duration = Duration::from_secs(20);

/// Ends a container; `by` says when asking ends and killing begins, and may move.
pub(crate) async fn stop(
    services: &Services,
    id: &Id,
    record: &ContainerRecord,
    monitor: &Monitor,
    mut by: watch::Receiver<Option<Instant>>,
) -> Result<Option<End>, ContainerError> {
    let Some(pid) = record.state.pid() else {
        return Ok(None);
    };
    // A container that was never started has nobody to hear a signal.
    let started = matches!(record.state, super::state::ContainerState::Running { .. });
    let patient = by.borrow().is_some_and(|by| by > Instant::now());
    if started && patient {
        signal(monitor, pid, record.stop_signal).await?;
        tokio::select! {
            end = monitor.exited() => return Ok(Some(End::from_monitor(end))),
            () = deadline(&mut by) => {}
        }
    }
    kill(services, id, record, monitor, pid).await.map(Some)
}

/// Kills init and waits until it is gone.
pub(crate) async fn kill(
    services: &Services,
    id: &Id,
    record: &ContainerRecord,
    monitor: &Monitor,
    pid: i32,
) -> Result<End, ContainerError> {
    let heard = signal(monitor, pid, libc::SIGKILL).await?;
    if heard == Heard::Yes
        && let Ok(end) = timeout(KILLED, monitor.exited()).await
    {
        return Ok(End::from_monitor(end));
    }
    // A frozen cgroup does not even die; thawing what is not frozen fails harmlessly.
    if let Ok(handler) = services.handler(&record.handler) {
        let _ = handler.kill_all(id, libc::SIGKILL).await;
        let _ = handler.resume(id).await;
    }
    let patience = match heard {
        Heard::Yes => STUCK,
        Heard::No => KILLED,
    };
    if let Ok(end) = timeout(patience, monitor.exited()).await {
        return Ok(End::from_monitor(end));
    }
    // Whoever does not even answer will not tell of the end, and nobody else can.
    if matches!(monitor.state().await, Err(MonitorError::Timeout { .. })) {
        warn!(container = %id, "the monitor does not answer and is killed");
        monitor.kill(id);
        if let Ok(end) = timeout(KILLED, monitor.exited()).await {
            return Ok(End::from_monitor(end));
        }
    }
    Err(ContainerError::Unkillable {
        id: id.clone(),
        pid,
    })
}

/// Whether a monitor answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Yes,
    No,
}

/// Sends a signal to init, if it is surely still that process.
async fn signal(monitor: &Monitor, pid: i32, number: i32) -> Result<Heard, ContainerError> {
    let Some(target) = Pid::from_raw(pid) else {
        return Ok(Heard::Yes);
    };
    let pidfd = match pidfd_open(target, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(Heard::Yes),
        Err(source) => return Err(ContainerError::Signal { pid, source }),
    };
    // As long as the monitor has not reaped it, the number was not given to another process; so
    // the descriptor, opened before this answer, is init's.
    match monitor.state().await {
        Ok(Phase::Running { pid: now }) if now == pid => {
            step::reached(Step::SignalDue);
            pidfd::send_signal(&pidfd, number);
            step::reached(Step::SignalSent);
        }
        Err(MonitorError::Timeout { .. }) => return Ok(Heard::No),
        _ => {}
    }
    Ok(Heard::Yes)
}

/// Waits until the deadline, wherever it is moved to.
async fn deadline(by: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let at = *by.borrow_and_update();
        let Some(at) = at else { return };
        tokio::select! {
            () = sleep_until(at) => return,
            moved = by.changed() => if moved.is_err() {
                sleep(at.saturating_duration_since(Instant::now())).await;
                return;
            },
        }
    }
}
