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

use super::{End, error::ContainerError, record::ContainerRecord};
use crate::{
    id::Id,
    monitor::{Monitor, Phase},
    services::Services,
    step::{self, Step},
    sys::pidfd,
};

/// How long a killed init may take to vanish before the runtime is asked to help.
const KILLED: Duration = Duration::from_secs(2);
/// How long it may take after that; a monitor that hangs is given up before.
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
    signal(monitor, pid, libc::SIGKILL).await?;
    if let Ok(end) = timeout(KILLED, monitor.exited()).await {
        return Ok(End::from_monitor(end));
    }
    // A frozen cgroup does not even die; thawing what is not frozen fails harmlessly.
    if let Ok(handler) = services.handler(&record.handler) {
        let _ = handler.kill_all(id, libc::SIGKILL).await;
        let _ = handler.resume(id).await;
    }
    match timeout(STUCK, monitor.exited()).await {
        Ok(end) => Ok(End::from_monitor(end)),
        Err(_) => Err(ContainerError::Unkillable {
            id: id.clone(),
            pid,
        }),
    }
}

/// Sends a signal to init, if it is surely still that process.
async fn signal(monitor: &Monitor, pid: i32, number: i32) -> Result<(), ContainerError> {
    step::reached(Step::SignalDue);
    // Once the monitor has confirmed init it need not be asked, and may even be stuck.
    if monitor.signal(number) {
        step::reached(Step::SignalSent);
        return Ok(());
    }
    let Some(target) = Pid::from_raw(pid) else {
        return Ok(());
    };
    let pidfd = match pidfd_open(target, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(()),
        Err(source) => return Err(ContainerError::Signal { pid, source }),
    };
    // As long as the monitor has not reaped it, the number was not given to another process; so
    // the descriptor, opened before this answer, is init's.
    if matches!(monitor.state().await, Ok(Phase::Running { pid: now }) if now == pid) {
        pidfd::send_signal(&pidfd, number);
        step::reached(Step::SignalSent);
    }
    Ok(())
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
