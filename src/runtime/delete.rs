//! `delete`: what is kept of a container goes.

use std::{io, path::Path};

use super::{
    arguments::Force,
    cgroup::DEATH,
    error::Failure,
    record::{Record, Status},
};

/// Deletes a container; with force, one that runs is killed. Whatever state it was left in, nothing stays.
pub(super) fn run(root: &Path, id: &str, force: Force) -> Result<(), Failure> {
    let dir = Record::dir(root, id);
    let record = match Record::load(root, id) {
        Ok(record) => record,
        // Who made it was killed before there was anything to be made a record of.
        Err(Failure::NoContainer) if dir.is_dir() && force == Force::Kill => {
            return remove(&dir);
        }
        Err(error) => return Err(error),
    };
    let status = record.status(root);
    let is_over = matches!(status, Status::Stopped | Status::Created);
    if !is_over && force == Force::Refuse {
        return Err(Failure::Alive {
            id: id.to_owned(),
            status: status.name(),
        });
    }
    record.group.kill()?;
    // Its cgroup may be empty before.
    if let Some(init) = record.init.filter(|init| !init.outlast(DEATH)) {
        return Err(Failure::Deathless(vec![init.pid]));
    }
    record.group.remove()?;
    remove(&dir)
}

fn remove(dir: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Failure::step(format!("removing {}", dir.display()))),
    }
}
