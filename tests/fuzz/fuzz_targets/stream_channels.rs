//! Messages of a client of streams over WebSocket.
#![no_main]

use corten::stream::websocket::codec::{Encoding, Incoming, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, Vec<u8>)| {
    let (base64, half_close, message) = input;
    let encoding = if base64 { Encoding::Base64 } else { Encoding::Binary };
    if let Ok(Incoming::Data(channel, data)) = decode(encoding, half_close, message.into())
        && channel < 80
    {
        let again = decode(encoding, half_close, encode(encoding, channel, &data));
        assert_eq!(again, Ok(Incoming::Data(channel, data)));
    }
});
