//! Lines of logs, as a container may have made them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corten::fuzzing::log_line(bytes));
