//! `start`: has a container's first process run its program.

use std::{io, path::Path};

use super::{
    error::Failure,
    launch,
    record::{Record, SOCKET, Status},
};

/// Starts a container that was created.
pub(super) fn run(root: &Path, id: &str) -> Result<(), Failure> {
    let record = Record::load(root, id)?;
    match record.status(root) {
        Status::Created => {}
        Status::Running | Status::Paused => return Err(Failure::Started),
        Status::Creating | Status::Stopped => return Err(Failure::Stopped),
    }
    let socket = Record::dir(root, id).join(SOCKET);
    match launch::release(&socket) {
        // Who told it before was killed then: it listens to the first alone.
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
        released => released.map_err(Failure::step("starting the container"))?,
    }
    // What it was made of tells too that it was started, should this not be reached.
    std::fs::remove_file(&socket).map_err(Failure::step("removing the socket"))
}
