//! `kill`: a signal for a container.

use std::path::Path;

use crate::sys::pidfd::signal_number;

use super::{
    arguments::Whom,
    error::Failure,
    record::{Record, Status},
};

/// Sends a signal.
pub(super) fn run(root: &Path, id: &str, signal: i32, whom: Whom) -> Result<(), Failure> {
    let record = Record::load(root, id)?;
    let failed = || Failure::step(format!("sending signal {signal}"));
    match whom {
        Whom::First => {
            let alive = record.status(root) != Status::Stopped;
            let init = record.init.filter(|_| alive).ok_or(Failure::NotRunning)?;
            match signal_number(init.pid, signal) {
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Err(Failure::NotRunning),
                other => other.map_err(failed()),
            }
        }
        Whom::All => {
            for pid in record.group.processes().map_err(failed())? {
                match signal_number(pid, signal) {
                    Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                    other => other.map_err(failed())?,
                }
            }
            Ok(())
        }
    }
}
