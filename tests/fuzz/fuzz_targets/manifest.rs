//! Manifests and indexes, as a registry may send them.
#![no_main]

use corten::image::{
    Platform,
    manifest::{Document, choose},
};
use libfuzzer_sys::fuzz_target;

/// What a registry may call them.
const SENT: [&str; 4] = [
    "",
    "application/json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8",
];

fuzz_target!(|bytes: &[u8]| {
    for sent in SENT {
        if let Ok(Document::Index(entries)) = Document::parse(bytes, sent) {
            let _ = choose(&entries, &Platform::host());
        }
    }
});
