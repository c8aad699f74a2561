//! Channels in messages: a byte for the channel, then its data, as bytes or in base64.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};

/// First byte of the message that half-closes the channel it names next; from version 5 on.
pub const CLOSE: u8 = 255;

/// How a message holds a channel's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A byte with the channel's number, then the data; sent as binary messages.
    Binary,
    /// The digit of the channel's number, then the data in base64; sent as text messages.
    Base64,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Data of a channel.
    Data(u8, Bytes),
    /// A channel's end.
    Close(u8),
    /// Nothing.
    Nothing,
}

/// A message that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not base64.
    #[error("data of channel {0} is not base64")]
    Base64(u8),
    /// Not one channel.
    #[error("the message that closes a channel has {0} bytes, not 2")]
    Close(usize),
}

/// Reads a message. `half_close` says whether the protocol has [`CLOSE`].
pub fn decode(
    encoding: Encoding,
    half_close: bool,
    message: Bytes,
) -> Result<Incoming, CodecError> {
    let Some(&first) = message.first() else {
        return Ok(Incoming::Nothing);
    };
    match encoding {
        Encoding::Binary if half_close && first == CLOSE => match message[..] {
            [_, channel] => Ok(Incoming::Close(channel)),
            _ => Err(CodecError::Close(message.len())),
        },
        Encoding::Binary => Ok(Incoming::Data(first, message.slice(1..))),
        Encoding::Base64 => {
            let channel = first.wrapping_sub(b'0');
            let data = STANDARD
                .decode(&message[1..])
                .map_err(|_| CodecError::Base64(channel))?;
            Ok(Incoming::Data(channel, data.into()))
        }
    }
}

/// Writes a message; base64 has channels up to 79 only, for the message has to be text.
pub fn encode(encoding: Encoding, channel: u8, data: &[u8]) -> Bytes {
    match encoding {
        Encoding::Binary => {
            let mut message = BytesMut::with_capacity(data.len() + 1);
            message.put_u8(channel);
            message.put_slice(data);
            message.freeze()
        }
        Encoding::Base64 => {
            let mut message = String::with_capacity(data.len() / 3 * 4 + 5);
            message.push(char::from(b'0'.wrapping_add(channel) & 0x7f));
            STANDARD.encode_string(data, &mut message);
            message.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_messages() {
        let read = |encoding, half, bytes: &'static [u8]| {
            decode(encoding, half, Bytes::from_static(bytes))
        };
        use Encoding::{Base64, Binary};
        let foo = Ok(Incoming::Data(0, Bytes::from_static(b"foo\n")));
        assert_eq!(read(Binary, false, b"\0foo\n"), foo);
        assert_eq!(read(Base64, false, b"0Zm9vCg=="), foo);
        assert_eq!(read(Binary, true, b""), Ok(Incoming::Nothing));
        assert_eq!(read(Binary, true, b"\xff\0"), Ok(Incoming::Close(0)));
        assert_eq!(read(Binary, true, b"\xff"), Err(CodecError::Close(1)));
        assert_eq!(read(Binary, true, b"\xff\0\0"), Err(CodecError::Close(3)));
        assert_eq!(
            read(Binary, false, b"\xff\0"),
            Ok(Incoming::Data(255, Bytes::from_static(b"\0")))
        );
        assert_eq!(read(Base64, false, b"0Zm9*"), Err(CodecError::Base64(0)));
        assert_eq!(encode(Binary, 3, b"x"), &b"\x03x"[..]);
        assert_eq!(encode(Base64, 1, b"\n"), &b"1Cg=="[..]);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            base64: bool, channel in 0..80u8, data in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            let encoding = if base64 { Encoding::Base64 } else { Encoding::Binary };
            let message = encode(encoding, channel, &data);
            if base64 {
                prop_assert!(std::str::from_utf8(&message).is_ok());
            }
            let read = decode(encoding, !base64, message).unwrap();
            prop_assert_eq!(read, Incoming::Data(channel, data.into()));
        }

        #[test]
        fn anything_is_read_without_growing(
            base64: bool, half: bool, message in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            let encoding = if base64 { Encoding::Base64 } else { Encoding::Binary };
            let len = message.len();
            if let Ok(Incoming::Data(_, data)) = decode(encoding, half, message.into()) {
                prop_assert!(data.len() < len);
            }
        }
    }
}
