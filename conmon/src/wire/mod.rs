//! Frames: the binary encoding of every message between daemon and monitor.
//!
//! A frame is one packet of a `SOCK_SEQPACKET` socket: a magic byte, the protocol version, the message.
//! Numbers are little endian; texts and lists are preceded by their length as `u32`.

mod codec;
mod macros;
mod version;

pub use codec::{Decoder, Encoder, Wire};
pub(crate) use macros::{choice, message};
pub use version::{Since, Version};

use std::fmt;

/// Longest frame either side accepts.
pub const MAX_FRAME: usize = 64 * 1024;
/// Longest list in a frame.
pub const MAX_ITEMS: usize = 4096;

const MAGIC: u8 = 0xC7;

/// A frame that cannot be sent or understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// Ends in the middle of a value.
    Short,
    /// Goes on after the message.
    Trailing(usize),
    /// Does not begin like a frame.
    Magic(u8),
    /// Is in a version of the protocol that is not understood.
    Version(u8),
    /// Holds an alternative that does not exist.
    Tag {
        /// The type read.
        what: &'static str,
        /// What stood there.
        tag: u8,
    },
    /// A frame, or a text or list in it, is longer than allowed.
    TooLong {
        /// Its length.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// A text is not UTF-8.
    NotUtf8,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("frame ends too early"),
            Self::Trailing(n) => write!(f, "{n} bytes follow the message in its frame"),
            Self::Magic(b) => write!(f, "frame begins with {b:#04x} instead of {MAGIC:#04x}"),
            Self::Version(v) => write!(
                f,
                "frame has protocol version {v}; versions {} to {} are understood",
                Version::OLDEST,
                Version::CURRENT
            ),
            Self::Tag { what, tag } => write!(f, "{tag} is no alternative of {what}"),
            Self::TooLong { len, max } => write!(f, "length {len} is over the limit of {max}"),
            Self::NotUtf8 => f.write_str("text is not UTF-8"),
        }
    }
}

impl std::error::Error for WireError {}

/// Encodes a message as a frame of a version.
pub fn frame<T: Wire>(version: Version, message: &T) -> Result<Vec<u8>, WireError> {
    let mut out = Encoder::new(version);
    out.raw(&[MAGIC, version.number()]);
    message.encode(&mut out);
    let bytes = out.into_bytes();
    if bytes.len() > MAX_FRAME {
        return Err(WireError::TooLong {
            len: bytes.len(),
            max: MAX_FRAME,
        });
    }
    Ok(bytes)
}

/// Decodes a frame that holds exactly one message, of whichever version.
pub fn unframe<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    let mut input = open(bytes)?;
    let message = T::decode(&mut input)?;
    input.finish()?;
    Ok(message)
}

/// Checks a frame's head and gives what follows it, to be read as of the frame's version.
pub fn open(bytes: &[u8]) -> Result<Decoder<'_>, WireError> {
    if bytes.len() > MAX_FRAME {
        return Err(WireError::TooLong {
            len: bytes.len(),
            max: MAX_FRAME,
        });
    }
    match bytes {
        [MAGIC, number, rest @ ..] => match Version::new(*number) {
            Some(version) => Ok(Decoder::new(version, rest)),
            None => Err(WireError::Version(*number)),
        },
        [MAGIC] | [] => Err(WireError::Short),
        [other, ..] => Err(WireError::Magic(*other)),
    }
}
