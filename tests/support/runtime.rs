//! The OCI runtime that tests are run with, and such as differ from it.

use std::path::PathBuf;

use super::scratch::Scratch;

/// The handler of pods that name none: `CORTEN_TEST_RUNTIME`, or the daemon's own default.
pub(crate) fn runtime() -> String {
    std::env::var("CORTEN_TEST_RUNTIME").unwrap_or_else(|_| "corten".into())
}

/// The program of that runtime, with the words before its own arguments.
pub(crate) fn runtime_program() -> Vec<String> {
    match &*runtime() {
        "corten" => vec![env!("CARGO_BIN_EXE_corten").into(), "oci-runtime".into()],
        other => vec![other.to_owned()],
    }
}

/// A program that does something in a shell, and then goes on as the runtime.
pub(crate) fn runtime_behind(scratch: &Scratch, name: &str, does: &str) -> PathBuf {
    let program = runtime_program().join("' '");
    let path = "PATH=$PATH:/usr/sbin:/usr/bin";
    scratch.program(
        name,
        format!("#!/bin/sh\n{does}\n{path} exec '{program}' \"$@\"\n"),
    )
}

/// A runtime of long ago: it knows neither user namespaces nor mounts with mapped IDs.
pub(crate) fn old_runtime(scratch: &Scratch) -> PathBuf {
    let features = r#"{"ociVersionMax": "1.0.2", "linux": {"namespaces": ["pid", "mount"]}}"#;
    let does = format!("if [ \"$1\" = features ]; then echo '{features}'; exit; fi");
    runtime_behind(scratch, "old-runtime", &does)
}
