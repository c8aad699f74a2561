use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::stream::spdy::frame::{self, Encoder};

/// What a decoder makes of pieces, with the parts of a data frame put together again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whole {
    Control(Frame),
    Data(u32, Vec<u8>, bool),
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Whole>, Option<String>) {
    let mut decoder = Decoder::new();
    let mut got = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(Event::Control(frame))) => got.push(Whole::Control(frame)),
                Ok(Some(Event::Data {
                    stream,
                    fin,
                    payload,
                })) => match got.last_mut() {
                    Some(Whole::Data(same, bytes, last)) if *same == stream && !*last => {
                        bytes.extend_from_slice(payload);
                        *last = fin;
                    }
                    _ => got.push(Whole::Data(stream, payload.to_vec(), fin)),
                },
                Ok(None) => {
                    assert!(piece.is_empty());
                    break;
                }
                Err(error) => return (got, Some(crate::causes::whole(&error))),
            }
        }
    }
    (got, None)
}

fn encode(frames: &[Whole]) -> BytesMut {
    let mut encoder = Encoder::new();
    let mut out = BytesMut::new();
    for frame in frames {
        match frame {
            Whole::Control(frame) => encoder.control(frame, &mut out),
            Whole::Data(stream, bytes, fin) => frame::data(*stream, *fin, bytes, &mut out),
        }
    }
    out
}

fn refused(bytes: &[u8]) -> String {
    let (got, error) = decode([bytes]);
    assert_eq!(got, []);
    error.unwrap()
}

#[test]
fn what_moby_sends_to_open_a_stream() {
    // Captured from github.com/moby/spdystream 0.5.1: SYN_STREAM 1 with `streamtype: error`.
    let headers = Headers::new().with("streamtype", "error");
    let frame = Frame::SynStream {
        stream: 1,
        associated: 0,
        priority: 0,
        fin: false,
        unidirectional: false,
        headers,
    };
    let (got, error) = decode([MOBY_SYN_STREAM]);
    assert_eq!((got, error), (vec![Whole::Control(frame)], None));
}

const MOBY_SYN_STREAM: &[u8] = b"\x80\x03\0\x01\0\0\0\x29\0\0\0\x01\0\0\0\0\0\0\
    \x78\xf9\xe3\xc6\xa7\xc2\x62\x60\x60\x60\x04\xa7\xb3\x92\xa2\xd4\xc4\x5c\
    \x68\x51\xc2\x9a\x0a\x0a\x68\0\0\0\0\xff\xff";

#[test]
fn malformed_frames_are_refused() {
    assert_eq!(
        refused(&[0x80, 2, 0, 6, 0, 0, 0, 4]),
        "a frame has version 2, not 3"
    );
    assert_eq!(refused(&[0; 8]), "data is on stream 0");
    assert_eq!(
        refused(&[0x80, 3, 0, 6, 0, 0, 0, 5]),
        "a control frame of type 6 cannot have 5 bytes"
    );
    assert_eq!(
        refused(&[0x80, 3, 0, 1, 0, 255, 255, 255]),
        "a control frame of type 1 has 16777215 bytes, more than 65536"
    );
    assert_eq!(
        refused(&[0x80, 3, 0, 4, 0, 0, 0, 4, 255, 255, 255, 255]),
        "a control frame of type 4 cannot have 4 bytes"
    );
    let zero = [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5];
    assert_eq!(refused(&zero), "a frame of type 3 is on stream 0");
    let nothing = [0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0x80, 0, 0, 0];
    assert_eq!(refused(&nothing), "the window of stream 1 is widened by 0");
    let garbage = [0x80, 3, 0, 8, 0, 0, 0, 6, 0, 0, 0, 1, 0xff, 0xff];
    assert!(refused(&garbage).starts_with("cannot inflate the headers of stream 1: cannot"));
}

#[test]
fn unknown_control_frames_are_passed_over() {
    let mut bytes = vec![0x80, 3, 0, 10, 0, 1, 0, 0];
    bytes.resize(8 + (1 << 16), 0xff);
    bytes.extend([0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 7]);
    let (got, error) = decode(bytes.chunks(1000));
    assert_eq!((got, error), (vec![Whole::Control(Frame::Ping(7))], None));
}

fn some_headers() -> impl Strategy<Value = Headers> {
    prop::collection::btree_map("[a-z]{1,12}", any::<Vec<u8>>(), 0..5).prop_map(|all| {
        all.iter().fold(Headers::new(), |headers, (name, value)| {
            headers.with(name, value.clone())
        })
    })
}

fn some_frame() -> impl Strategy<Value = Whole> {
    let stream = 1u32..=MAX_31;
    let control = prop_oneof![
        (
            stream.clone(),
            0..=MAX_31,
            0u8..8,
            any::<(bool, bool)>(),
            some_headers()
        )
            .prop_map(
                |(stream, associated, priority, (fin, unidirectional), headers)| Frame::SynStream {
                    stream,
                    associated,
                    priority,
                    fin,
                    unidirectional,
                    headers
                }
            ),
        (stream.clone(), any::<bool>(), some_headers()).prop_map(|(stream, fin, headers)| {
            Frame::SynReply {
                stream,
                fin,
                headers,
            }
        }),
        (stream.clone(), any::<bool>(), some_headers()).prop_map(|(stream, fin, headers)| {
            Frame::Headers {
                stream,
                fin,
                headers,
            }
        }),
        (stream.clone(), any::<u32>())
            .prop_map(|(stream, status)| Frame::RstStream { stream, status }),
        (0..=MAX_31, any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
        (0..=MAX_31, 1..=MAX_31).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
        any::<u32>().prop_map(Frame::Ping),
        prop::collection::vec((0u32..1 << 24, any::<u32>()), 0..10).prop_map(Frame::Settings),
    ];
    prop_oneof![
        control.prop_map(Whole::Control),
        (stream, prop::collection::vec(any::<u8>(), 0..2000))
            .prop_map(|(stream, bytes)| Whole::Data(stream, bytes, true)),
    ]
}

proptest! {
    #[test]
    fn frames_round_trip_however_they_are_split(
        frames in prop::collection::vec(some_frame(), 1..8),
        size in 1usize..200,
    ) {
        let bytes = encode(&frames);
        let (got, error) = decode(bytes.chunks(size));
        prop_assert_eq!((got, error), (frames, None));
    }

    #[test]
    fn broken_frames_give_the_same_however_they_are_split(
        frames in prop::collection::vec(some_frame(), 1..5),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        size in 1usize..200,
    ) {
        let mut bytes = encode(&frames);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let (got, error) = decode([&bytes[..]]);
        prop_assert_eq!(decode(bytes.chunks(size)), (got.clone(), error));
        // What was understood can be written, and is understood again.
        prop_assert_eq!(decode([&encode(&got)[..]]), (got, None));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>(), size in 1usize..20) {
        prop_assert_eq!(decode(bytes.chunks(size)), decode([&bytes[..]]));
    }
}
