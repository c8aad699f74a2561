//! `pause` and `resume`: a container's processes stop where they are, and go on.

use std::path::Path;

use libcgroups::common::FreezerState;

use super::{
    error::Failure,
    record::{Record, Status},
};

/// Stops all processes.
pub(super) fn pause(root: &Path, id: &str) -> Result<(), Failure> {
    let record = Record::load(root, id)?;
    match record.status(root) {
        Status::Running | Status::Created => record.group.freeze(FreezerState::Frozen),
        Status::Paused => Ok(()),
        Status::Creating | Status::Stopped => Err(Failure::NotRunning),
    }
}

/// Lets them go on.
pub(super) fn resume(root: &Path, id: &str) -> Result<(), Failure> {
    let record = Record::load(root, id)?;
    match record.status(root) {
        Status::Paused => record.group.freeze(FreezerState::Thawed),
        Status::Running | Status::Created => Ok(()),
        Status::Creating | Status::Stopped => Err(Failure::NotRunning),
    }
}
