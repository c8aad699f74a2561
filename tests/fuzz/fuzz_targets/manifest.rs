//! Manifests and indexes, as a registry may send them.
#![no_main]

use corten::image::{
    Platform,
    manifest::{Document, choose},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| {
    let (bytes, sent) = input;
    if let Ok(Document::Index(entries)) = Document::parse(bytes, sent) {
        let _ = choose(&entries, &Platform::host());
    }
});
