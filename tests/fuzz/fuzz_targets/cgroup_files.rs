//! Files of cgroups: whatever they hold is read, and percentages are percentages.
#![no_main]

use corten::stats::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let _ = (parse::number(text), parse::limit(text));
    let _ = parse::open_files_limit(text);
    assert!(parse::keyed(text).count() <= text.len());
    let half = text.len() / 2;
    let devices = parse::blkio(&text[..half], &text[half..]);
    assert!(devices.len().max(parse::io_stat(text).len()) <= text.len());
    if let Some(pressure) = parse::pressure(text) {
        for stall in pressure.some.iter().chain(&pressure.full) {
            assert!((0.0..=100.0).contains(&stall.avg10));
        }
    }
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = parse::page_size(text);
    }
});
