//! `state`: what a container does now.

use std::path::Path;

use serde_json::json;

use super::{
    error::Failure,
    record::{Record, Status},
    stdio,
};

/// Tells it, as the runtime specification has it, and what runc adds.
pub(super) fn run(root: &Path, id: &str) -> Result<(), Failure> {
    let record = Record::load(root, id)?;
    let status = record.status(root);
    let pid = match status {
        Status::Stopped => 0,
        _ => record.init.map_or(0, |init| init.pid),
    };
    let state = json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "status": status.name(),
        "pid": pid,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "annotations": record.annotations,
        "owner": "",
    });
    stdio::tell(&state.to_string()).map_err(Failure::step("telling the state"))
}
