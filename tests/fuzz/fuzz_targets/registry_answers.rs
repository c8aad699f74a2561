//! What registries and token services answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corten::fuzzing::registry_answers(bytes));
