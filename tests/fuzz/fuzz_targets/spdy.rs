//! Frames of SPDY: however the bytes are split, the same is read, within bounds.
#![no_main]

use bytes::BytesMut;
use corten::stream::spdy::{
    decode::{Decoder, Event},
    frame::{Encoder, Frame, data},
};
use libfuzzer_sys::fuzz_target;

/// What was read: control frames, and data as (stream, bytes, end), parts of a frame put together.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Control(Frame),
    Data(u32, Vec<u8>, bool),
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Read>, Option<String>) {
    let mut decoder = Decoder::new();
    let mut all = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(None) => break,
                Ok(Some(Event::Control(frame))) => all.push(Read::Control(frame)),
                Ok(Some(Event::Data { stream, fin, payload })) => match all.last_mut() {
                    Some(Read::Data(same, bytes, end)) if *same == stream && !*end => {
                        bytes.extend_from_slice(payload);
                        *end = fin;
                    }
                    _ => all.push(Read::Data(stream, payload.to_vec(), fin)),
                },
                Err(error) => return (all, Some(error.to_string())),
            }
        }
        assert!(piece.is_empty());
    }
    (all, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = read([bytes].into_iter());
    assert_eq!(read(bytes.chunks(usize::from(size) + 1)), whole);

    // What was understood can be written, and is understood again.
    let mut encoder = Encoder::new();
    let mut out = BytesMut::new();
    for one in &whole.0 {
        match one {
            Read::Control(frame) => encoder.control(frame, &mut out),
            Read::Data(stream, bytes, end) => data(*stream, *end, bytes, &mut out),
        }
    }
    assert_eq!(read([&out[..]].into_iter()), (whole.0, None));
});
