//! The streams of one connection: what came for each and what is to be sent, without I/O.
//!
//! # Flow control
//!
//! SPDY/3.1 has windows of 64 KiB for each stream and for the connection, which the receiver widens. The library behind
//! nearly every client of Kubernetes (moby/spdystream) neither keeps to them nor widens them: it drops such frames
//! unread. So:
//!
//! * **Sending** is held back by windows only when the client has shown that it knows them: by widening one, or by setting
//!   their size. What was sent before counts as well. Streams and connection are told apart, since SPDY/3 has no window
//!   of the connection. Against all other clients TCP alone holds back, as with every server that they know.
//! * **Receiving** never relies on the client. What nobody has read is kept up to a bound for each stream and one for
//!   the connection; at either, the connection is not read from any more, which stops its other streams too. That is the
//!   only way to slow such a client down. The bound for a stream is four windows, so that a client that keeps to its
//!   windows never gets there: of such a client only the one stream stops.
//! * Windows are widened as streams are read, until the client goes beyond one, and so shows that it does not care.
//!   The window of the connection is widened at once, for it must not let one stream stop the others.
//!
//! # Bounds
//!
//! Every queue here is bounded: streams by [`Limits::streams`]; input as said; output of a stream by [`OUTPUT`]; answers
//! by [`CONTROL`], beyond which nothing is read; widenings of windows are kept as one number for each stream.

use std::{
    collections::{HashMap, VecDeque},
    task::Waker,
};

use bytes::BytesMut;

use super::{
    Limits,
    connection::ConnectionError,
    decode::Event,
    frame::{self, Encoder, Frame, INITIAL_WINDOW_SIZE, MAX_31, goaway, reset},
    headers::Headers,
};

/// The window at the beginning, of streams and connection alike.
pub(super) const WINDOW: i64 = 64 << 10;
/// Input that is kept for one stream before the connection is not read from any more.
pub(super) const INPUT: usize = 256 << 10;
/// The same for all streams together.
pub(super) const ALL_INPUT: usize = 1 << 20;
/// Output that is kept for one stream before its writer has to wait.
pub(super) const OUTPUT: usize = 32 << 10;
/// Answers that are kept before the connection is not read from any more.
const CONTROL: usize = 64 << 10;
/// The largest payload that is sent at a time: streams take turns by frames.
const PAYLOAD: usize = 32 << 10;
/// How much is put together for one write to the socket.
const BATCH: usize = 64 << 10;

/// Whether our side of a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    Open,
    /// To be told to the client once all output is sent.
    Wanted,
    Sent,
}

#[derive(Debug)]
struct Stream {
    input: BytesMut,
    /// The client sends nothing more.
    input_ended: bool,
    /// Someone wants the input.
    read: bool,
    reader: Option<Waker>,
    /// What the client may still send by the rules.
    allowed: i64,
    /// What was read since the window was last widened.
    grant: u32,
    output: BytesMut,
    fin: Fin,
    writer: Option<Waker>,
    /// What may still be sent by the rules.
    window: i64,
    /// Waits for its turn to send.
    queued: bool,
    /// Broken off by either side.
    reset: bool,
    /// There is a channel for it.
    held: bool,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// What was written goes out, nothing more comes.
    Closing,
    /// The socket is no longer used.
    Over,
}

/// What a channel finds when it reads or writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// So many bytes were moved. When reading, 0 is the end.
    Moved(usize),
    /// Nothing can be moved now.
    Wait,
    /// Nothing can be moved any more.
    Broken,
}

/// All streams of a connection.
#[derive(Debug)]
pub(super) struct Mux {
    limits: Limits,
    streams: HashMap<u32, Stream>,
    /// The last stream that the client opened.
    last: u32,
    /// Opened, and neither accepted nor refused.
    fresh: VecDeque<(u32, Headers)>,
    /// Someone takes new streams.
    accepting: bool,
    acceptor: Option<Waker>,
    encoder: Encoder,
    /// Answers to be sent, as bytes.
    control: BytesMut,
    /// Streams that have something to send, in turn.
    ready: VecDeque<u32>,
    /// Streams whose windows are to be widened.
    grants: VecDeque<u32>,
    /// The same for the connection.
    all_grant: u32,
    ignores_windows: bool,
    stream_windows: bool,
    initial_window: i64,
    connection_window: bool,
    window: i64,
    /// Input of all streams that is kept.
    all_input: usize,
    /// Streams with as much input as is kept.
    full: usize,
    stage: Stage,
    delivered: bool,
    driver: Option<Waker>,
    drainer: Option<Waker>,
    active: bool,
}

impl Mux {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            streams: HashMap::new(),
            last: 0,
            fresh: VecDeque::new(),
            accepting: true,
            acceptor: None,
            encoder: Encoder::new(),
            control: BytesMut::new(),
            ready: VecDeque::new(),
            grants: VecDeque::new(),
            all_grant: 0,
            ignores_windows: false,
            stream_windows: false,
            initial_window: WINDOW,
            connection_window: false,
            window: WINDOW,
            all_input: 0,
            full: 0,
            stage: Stage::Open,
            delivered: false,
            driver: None,
            drainer: None,
            active: false,
        }
    }
}

mod driven;
mod input;
mod output;
mod used;

use driven::wake;

#[cfg(test)]
mod tests;
