//! `update`: other limits for a container.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::{
    error::Failure,
    record::{Record, Status},
    stdio,
};

/// Most that is read.
const CAP: u64 = 4 << 20;

/// Sets the limits in a file, or on standard input for `-`.
pub(super) fn run(root: &Path, id: &str, from: &Path) -> Result<(), Failure> {
    let record = Record::load(root, id)?;
    if matches!(record.status(root), Status::Stopped | Status::Creating) {
        return Err(Failure::NotRunning);
    }
    let bytes = match from == Path::new("-") {
        true => stdio::input(CAP),
        false => std::fs::read(from),
    };
    let failed = |source| Failure::Read {
        path: from.to_owned(),
        source,
    };
    let bytes = bytes.map_err(failed)?;
    let resources: LinuxResources = serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?;
    record.group.limit(&resources)
}
