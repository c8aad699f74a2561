//! SPDY/3.1's frames, and how they are written.
//!
//! A frame begins with eight bytes. Of a control frame: a set bit, 15 bits of version, 16 of type, 8 of flags, 24 of
//! length. Of a data frame: a clear bit, 31 bits of stream, 8 of flags, 24 of length.

use bytes::{BufMut, BytesMut};

use super::{compress::Deflater, headers::Headers};

/// Version of the framing. SPDY/3.1 differs from 3 in the window of the whole connection alone, and says 3 as well.
pub(super) const VERSION: u16 = 3;
/// Bytes before the payload.
pub(super) const HEAD: usize = 8;
/// Streams and window sizes have 31 bits.
pub(super) const MAX_31: u32 = 0x7fff_ffff;
/// Set in the first byte of a control frame.
pub(super) const CONTROL: u16 = 0x8000;
/// The sender sends nothing more on the stream.
pub(super) const FLAG_FIN: u8 = 1;
/// The receiver of a new stream may not send on it.
pub(super) const FLAG_UNIDIRECTIONAL: u8 = 2;
/// The setting for how much may be sent on a new stream.
pub const INITIAL_WINDOW_SIZE: u32 = 7;

/// Types of control frames.
pub(super) mod kind {
    pub(crate) const SYN_STREAM: u16 = 1;
    pub(crate) const SYN_REPLY: u16 = 2;
    pub(crate) const RST_STREAM: u16 = 3;
    pub(crate) const SETTINGS: u16 = 4;
    pub(crate) const PING: u16 = 6;
    pub(crate) const GOAWAY: u16 = 7;
    pub(crate) const HEADERS: u16 = 8;
    pub(crate) const WINDOW_UPDATE: u16 = 9;
}

/// Why a stream is reset.
pub(super) mod reset {
    pub(crate) const INVALID_STREAM: u32 = 2;
    pub(crate) const REFUSED_STREAM: u32 = 3;
    pub(crate) const CANCEL: u32 = 5;
    pub(crate) const FLOW_CONTROL_ERROR: u32 = 7;
}

/// Why a connection ends.
pub(super) mod goaway {
    pub(crate) const OK: u32 = 0;
    pub(crate) const PROTOCOL_ERROR: u32 = 1;
}

/// A control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        stream: u32,
        /// The stream it belongs to, or 0.
        associated: u32,
        /// 0 to 7, 0 being the most urgent.
        priority: u8,
        /// Whoever opens it sends nothing on it.
        fin: bool,
        /// The other side may not send on it.
        unidirectional: bool,
        /// What the stream is for.
        headers: Headers,
    },
    /// Accepts a stream.
    SynReply {
        /// The accepted stream.
        stream: u32,
        /// Whoever accepts it sends nothing on it.
        fin: bool,
        /// Further words on it.
        headers: Headers,
    },
    /// Ends a stream both ways.
    RstStream {
        /// The ended stream.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// Parameters of the connection: identifier and value. Flags are left out: nothing is kept beyond a connection.
    Settings(Vec<(u32, u32)>),
    /// Is to be sent back as it is.
    Ping(u32),
    /// No streams are accepted any more.
    GoAway {
        /// The last stream that was accepted.
        last: u32,
        /// Why.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// Of which stream.
        stream: u32,
        /// They are the last on the stream.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// More may be sent.
    WindowUpdate {
        /// On which stream; 0 for all together.
        stream: u32,
        /// How many bytes more.
        delta: u32,
    },
}

/// Writes frames. One for the life of a connection, as headers are compressed with those before them.
#[derive(Debug, Default)]
pub struct Encoder {
    deflater: Deflater,
}

impl Encoder {
    /// An encoder at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a control frame.
    pub fn control(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::SynStream {
                stream,
                associated,
                priority,
                fin,
                unidirectional,
                headers,
            } => {
                let block = self.deflater.deflate(&headers.to_block());
                let flags = if *unidirectional {
                    FLAG_UNIDIRECTIONAL
                } else {
                    0
                };
                head(
                    out,
                    kind::SYN_STREAM,
                    flags | fin_flag(*fin),
                    10 + block.len(),
                );
                out.put_u32(*stream);
                out.put_u32(*associated);
                out.put_u8(priority << 5);
                out.put_u8(0);
                out.put_slice(&block);
            }
            Frame::SynReply {
                stream,
                fin,
                headers,
            } => self.headers(kind::SYN_REPLY, *stream, *fin, headers, out),
            Frame::Headers {
                stream,
                fin,
                headers,
            } => self.headers(kind::HEADERS, *stream, *fin, headers, out),
            Frame::RstStream { stream, status } => two(out, kind::RST_STREAM, *stream, *status),
            Frame::GoAway { last, status } => two(out, kind::GOAWAY, *last, *status),
            Frame::WindowUpdate { stream, delta } => {
                two(out, kind::WINDOW_UPDATE, *stream, *delta);
            }
            Frame::Ping(id) => {
                head(out, kind::PING, 0, 4);
                out.put_u32(*id);
            }
            Frame::Settings(settings) => {
                head(out, kind::SETTINGS, 0, 4 + 8 * settings.len());
                out.put_u32(settings.len() as u32);
                for (id, value) in settings {
                    out.put_u32(*id);
                    out.put_u32(*value);
                }
            }
        }
    }

    fn headers(
        &mut self,
        kind: u16,
        stream: u32,
        fin: bool,
        headers: &Headers,
        out: &mut BytesMut,
    ) {
        let block = self.deflater.deflate(&headers.to_block());
        head(out, kind, fin_flag(fin), 4 + block.len());
        out.put_u32(stream);
        out.put_slice(&block);
    }
}

/// Appends a data frame. Its payload is below 16 MiB.
pub fn data(stream: u32, fin: bool, payload: &[u8], out: &mut BytesMut) {
    out.reserve(HEAD + payload.len());
    out.put_u32(stream);
    out.put_u8(fin_flag(fin));
    out.put_uint(payload.len() as u64, 3);
    out.put_slice(payload);
}

fn head(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u16(CONTROL | VERSION);
    out.put_u16(kind);
    out.put_u8(flags);
    out.put_uint(length as u64, 3);
}

fn two(out: &mut BytesMut, kind: u16, first: u32, second: u32) {
    head(out, kind, 0, 8);
    out.put_u32(first);
    out.put_u32(second);
}

fn fin_flag(fin: bool) -> u8 {
    if fin { FLAG_FIN } else { 0 }
}
