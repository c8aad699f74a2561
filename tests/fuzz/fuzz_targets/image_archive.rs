//! Archives of images, as someone may load them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corten::fuzzing::image_archive(bytes));
