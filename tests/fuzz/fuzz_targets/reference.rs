//! Names of images: no text may panic, and what is read and written is read the same.
#![no_main]

use corten::image::reference::{AnyReference, Reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = AnyReference::parse(text);
    if let Ok(reference) = Reference::parse(text) {
        let written = reference.to_string();
        assert_eq!(Reference::parse(&written).as_ref(), Ok(&reference));
        assert!(!reference.repository().split('/').any(|part| part == ".."));
    }
});
