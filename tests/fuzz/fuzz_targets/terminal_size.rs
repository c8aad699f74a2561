//! Terminal sizes from clients: however the bytes are split, the last size is the same.
#![no_main]

use corten::{monitor::TerminalSize, stream::resize::ResizeParser};
use libfuzzer_sys::fuzz_target;

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Option<TerminalSize>, String> {
    let mut parser = ResizeParser::new();
    let mut last = None;
    for piece in pieces {
        last = parser.push(piece).map_err(|e| e.to_string())?.or(last);
    }
    Ok(last)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = read([bytes].into_iter());
    assert_eq!(read(bytes.chunks(usize::from(size) + 1)), whole);
});
