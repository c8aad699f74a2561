//! Reading frames from a stream of bytes that comes in pieces of any size.

use bytes::Buf;
use thiserror::Error;

use super::{
    compress::{InflateError, Inflater},
    frame::{CONTROL, FLAG_FIN, FLAG_UNIDIRECTIONAL, Frame, HEAD, MAX_31, VERSION, kind},
    headers::{HeaderError, Headers},
};

/// The longest control frame, and so the longest block of headers before it is inflated. Data frames need no bound:
/// their payload is handed on as it comes.
pub const MAX_CONTROL: usize = 64 << 10;

/// What is wrong with what a peer sends. None of it can be recovered from: where the next frame begins, or what its
/// headers are compressed with, is no longer known.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// A frame of another version.
    #[error("a frame has version {0}, not {VERSION}")]
    Version(u16),
    /// A control frame beyond [`MAX_CONTROL`].
    #[error("a control frame of type {kind} has {length} bytes, more than {MAX_CONTROL}")]
    TooLong {
        /// Its type.
        kind: u16,
        /// Its length.
        length: usize,
    },
    /// A control frame whose length is not that of its type.
    #[error("a control frame of type {kind} cannot have {length} bytes")]
    Length {
        /// Its type.
        kind: u16,
        /// Its length.
        length: usize,
    },
    /// A frame on stream 0, which there is not.
    #[error("a frame of type {0} is on stream 0")]
    StreamZero(u16),
    /// Data on stream 0.
    #[error("data is on stream 0")]
    DataOnZero,
    /// A window update by nothing.
    #[error("the window of stream {0} is widened by 0")]
    NoDelta(u32),
    /// Headers that cannot be inflated.
    #[error("cannot inflate the headers of stream {stream}")]
    Inflate {
        /// Whose headers.
        stream: u32,
        /// Why.
        source: InflateError,
    },
    /// Headers that are none.
    #[error("cannot read the headers of stream {stream}")]
    Headers {
        /// Whose headers.
        stream: u32,
        /// Why.
        source: HeaderError,
    },
}

/// What a piece of input holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A control frame.
    Control(Frame),
    /// A data frame, or a part of one.
    Data {
        /// Its stream.
        stream: u32,
        /// With this the stream's sender has sent all. Comes with the last part.
        fin: bool,
        /// The payload that has come.
        payload: &'a [u8],
    },
}

#[derive(Debug)]
enum State {
    /// Within the first eight bytes of a frame.
    Head,
    /// Within a control frame.
    Control { kind: u16, flags: u8, length: usize },
    /// Within a data frame.
    Data { stream: u32, fin: bool, left: usize },
    /// Within a control frame that means nothing to us.
    Skip { left: usize },
}

/// Reads frames. One for the life of a connection.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Head or control frame as far as it has come.
    held: Vec<u8>,
    inflater: Inflater,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the beginning of a connection.
    pub fn new() -> Self {
        Self {
            state: State::Head,
            held: Vec::new(),
            inflater: Inflater::new(),
        }
    }

    /// Takes from `input` up to the next event; `None` when all was taken and more is needed for one. After an error
    /// nothing more can be read.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, DecodeError> {
        loop {
            match &mut self.state {
                State::Head => {
                    if !hold(&mut self.held, HEAD, input) {
                        return Ok(None);
                    }
                    self.state = begun(&self.held)?;
                    self.held.clear();
                    // An empty data frame is over with its head.
                    if let State::Data {
                        stream,
                        fin,
                        left: 0,
                    } = self.state
                    {
                        self.state = State::Head;
                        return Ok(Some(Event::Data {
                            stream,
                            fin,
                            payload: &[],
                        }));
                    }
                }
                State::Skip { left } => {
                    let now = (*left).min(input.len());
                    *input = &input[now..];
                    *left -= now;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
                State::Data { stream, fin, left } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let (payload, rest) = input.split_at((*left).min(input.len()));
                    *input = rest;
                    *left -= payload.len();
                    let last = *left == 0;
                    let event = Event::Data {
                        stream: *stream,
                        fin: *fin && last,
                        payload,
                    };
                    if last {
                        self.state = State::Head;
                    }
                    return Ok(Some(event));
                }
                &mut State::Control {
                    kind,
                    flags,
                    length,
                } => {
                    if !hold(&mut self.held, length, input) {
                        return Ok(None);
                    }
                    self.state = State::Head;
                    let frame = control(&mut self.inflater, kind, flags, &self.held);
                    // Headers can be long, and a connection lives long after them.
                    self.held = Vec::new();
                    return Ok(Some(Event::Control(frame?)));
                }
            }
        }
    }
}

/// Adds to `held` from `input`, up to `length` bytes, and tells whether there are so many.
fn hold(held: &mut Vec<u8>, length: usize, input: &mut &[u8]) -> bool {
    let (more, rest) = input.split_at(length.saturating_sub(held.len()).min(input.len()));
    held.extend_from_slice(more);
    *input = rest;
    held.len() == length
}

/// What a frame's first eight bytes begin.
fn begun(mut head: &[u8]) -> Result<State, DecodeError> {
    let first = head.get_u32();
    let flags = head.get_u8();
    let length = head.get_uint(3) as usize;
    let version = (first >> 16) as u16;
    if version & CONTROL == 0 {
        if first == 0 {
            return Err(DecodeError::DataOnZero);
        }
        return Ok(State::Data {
            stream: first,
            fin: flags & FLAG_FIN != 0,
            left: length,
        });
    }
    if version & !CONTROL != VERSION {
        return Err(DecodeError::Version(version & !CONTROL));
    }
    let kind = first as u16;
    let known = match kind {
        kind::RST_STREAM | kind::GOAWAY | kind::WINDOW_UPDATE => length == 8,
        kind::PING => length == 4,
        kind::SYN_STREAM => length >= 10,
        kind::SYN_REPLY | kind::HEADERS | kind::SETTINGS => length >= 4,
        // Types that are not known are passed over, as SPDY demands.
        _ => return Ok(State::Skip { left: length }),
    };
    if !known {
        return Err(DecodeError::Length { kind, length });
    }
    if length > MAX_CONTROL {
        return Err(DecodeError::TooLong { kind, length });
    }
    Ok(State::Control {
        kind,
        flags,
        length,
    })
}

/// A whole control frame. Its length was found to be enough for its type's fixed part.
fn control(
    inflater: &mut Inflater,
    kind: u16,
    flags: u8,
    mut payload: &[u8],
) -> Result<Frame, DecodeError> {
    let length = payload.len();
    let first = payload.get_u32();
    let stream = first & MAX_31;
    let needs_stream = matches!(
        kind,
        kind::SYN_STREAM | kind::SYN_REPLY | kind::HEADERS | kind::RST_STREAM
    );
    if needs_stream && stream == 0 {
        return Err(DecodeError::StreamZero(kind));
    }
    let fin = flags & FLAG_FIN != 0;
    Ok(match kind {
        kind::SYN_STREAM => {
            let associated = payload.get_u32() & MAX_31;
            let priority = payload.get_u8() >> 5;
            // The slot of a credential, which there are none of.
            payload.advance(1);
            Frame::SynStream {
                stream,
                associated,
                priority,
                fin,
                unidirectional: flags & FLAG_UNIDIRECTIONAL != 0,
                headers: headers(inflater, stream, payload)?,
            }
        }
        kind::SYN_REPLY => Frame::SynReply {
            stream,
            fin,
            headers: headers(inflater, stream, payload)?,
        },
        kind::HEADERS => Frame::Headers {
            stream,
            fin,
            headers: headers(inflater, stream, payload)?,
        },
        kind::RST_STREAM => Frame::RstStream {
            stream,
            status: payload.get_u32(),
        },
        kind::PING => Frame::Ping(first),
        kind::GOAWAY => Frame::GoAway {
            last: stream,
            status: payload.get_u32(),
        },
        kind::WINDOW_UPDATE => {
            let delta = payload.get_u32() & MAX_31;
            if delta == 0 {
                return Err(DecodeError::NoDelta(stream));
            }
            Frame::WindowUpdate { stream, delta }
        }
        // SETTINGS, the last of the known.
        _ => {
            if payload.len() as u64 != 8 * u64::from(first) {
                return Err(DecodeError::Length { kind, length });
            }
            let mut settings = Vec::with_capacity(payload.len() / 8);
            while payload.has_remaining() {
                // The upper byte has flags about keeping them.
                settings.push((payload.get_u32() & 0xff_ffff, payload.get_u32()));
            }
            Frame::Settings(settings)
        }
    })
}

fn headers(inflater: &mut Inflater, stream: u32, block: &[u8]) -> Result<Headers, DecodeError> {
    let block = inflater
        .inflate(block)
        .map_err(|source| DecodeError::Inflate { stream, source })?;
    Headers::parse(block).map_err(|source| DecodeError::Headers { stream, source })
}

#[cfg(test)]
mod tests;
