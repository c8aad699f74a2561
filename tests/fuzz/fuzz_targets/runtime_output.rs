//! What OCI runtimes print: their features, their errors.
#![no_main]

use corten::oci::{features::Features, message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|output: &[u8]| {
    let _ = Features::parse(output);
    let text = message::extract(output);
    assert!(text.len() <= (64 << 10) + 4 && text.trim() == text);
    let _ = message::meaning(&text);
});
