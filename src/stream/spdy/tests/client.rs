//! A client for tests: it sends what it is told and hands out what comes.

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::stream::spdy::{
    decode::{Decoder, Event},
    dictionary::DICTIONARY,
    frame::{self, Encoder, Frame},
    headers::Headers,
};

/// What comes from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got {
    Control(Frame),
    Data(u32, Vec<u8>, bool),
    /// The server closed the connection.
    Closed,
}

pub(super) struct Client<I> {
    io: I,
    zlib: Compress,
    encoder: Encoder,
    decoder: Decoder,
    held: BytesMut,
    next: u32,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Client<I> {
    pub(super) fn new(io: I) -> Self {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&DICTIONARY).unwrap();
        Self {
            io,
            zlib,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            held: BytesMut::new(),
            next: 1,
        }
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Sends as much as is taken at once.
    pub(super) async fn some(&mut self, bytes: &[u8]) -> usize {
        self.io.write(bytes).await.unwrap()
    }

    pub(super) async fn send(&mut self, frame: Frame) {
        let mut out = BytesMut::new();
        self.encoder.control(&frame, &mut out);
        self.raw(&out).await;
    }

    pub(super) async fn data(&mut self, stream: u32, payload: &[u8], fin: bool) {
        let mut out = BytesMut::new();
        frame::data(stream, fin, payload, &mut out);
        self.raw(&out).await;
    }

    /// Opens a stream as moby/spdystream does, without waiting for the answer.
    pub(super) async fn syn(&mut self, headers: &[(&str, &str)]) -> u32 {
        let id = self.next;
        self.next += 2;
        self.syn_as(id, headers).await;
        id
    }

    pub(super) async fn syn_as(&mut self, id: u32, headers: &[(&str, &str)]) {
        let headers = headers
            .iter()
            .fold(Headers::new(), |all, (name, value)| all.with(name, *value));
        let mut block = Vec::with_capacity(4096);
        self.zlib
            .compress_vec(&headers.to_block(), &mut block, FlushCompress::Sync)
            .unwrap();
        let mut out = BytesMut::new();
        out.put_u32(0x8003_0001);
        out.put_u32(10 + block.len() as u32);
        out.put_u32(id);
        out.put_u32(0);
        out.put_u16(0);
        out.put_slice(&block);
        self.raw(&out).await;
    }

    /// Opens a stream and waits until it is accepted.
    pub(super) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let id = self.syn(headers).await;
        assert_eq!(self.next().await, accepted(id));
        id
    }

    /// The next thing that comes, but for windows that are widened.
    pub(super) async fn next(&mut self) -> Got {
        loop {
            match self.next_of_all().await {
                Got::Control(Frame::WindowUpdate { .. }) => {}
                other => return other,
            }
        }
    }

    pub(super) async fn next_of_all(&mut self) -> Got {
        loop {
            let mut input = &self.held[..];
            let event = self.decoder.next(&mut input).unwrap();
            let got = event.map(|event| match event {
                Event::Control(frame) => Got::Control(frame),
                Event::Data {
                    stream,
                    fin,
                    payload,
                } => Got::Data(stream, payload.to_vec(), fin),
            });
            let taken = self.held.len() - input.len();
            let _ = self.held.split_to(taken);
            if let Some(got) = got {
                return got;
            }
            self.held.reserve(64 << 10);
            if !matches!(self.io.read_buf(&mut self.held).await, Ok(1..)) {
                return Got::Closed;
            }
        }
    }

    /// So many bytes of one stream, which are those of whole frames, and whether the stream ends with them.
    pub(super) async fn exactly(&mut self, stream: u32, size: usize) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        let mut ended = false;
        while all.len() < size {
            let Got::Data(id, payload, fin) = self.next().await else {
                panic!("something else than data");
            };
            assert_eq!(id, stream);
            all.extend(payload);
            ended = fin;
        }
        assert_eq!(all.len(), size);
        (all, ended)
    }

    /// All data that comes, to the end of so many streams, by stream.
    pub(super) async fn all(&mut self, streams: usize) -> Vec<(u32, Vec<u8>)> {
        let mut all: std::collections::BTreeMap<u32, Vec<u8>> = Default::default();
        let mut ended = 0;
        while ended < streams {
            match self.next().await {
                Got::Data(id, payload, fin) => {
                    all.entry(id).or_default().extend(payload);
                    ended += usize::from(fin);
                }
                other => panic!("{other:?} instead of data"),
            }
        }
        all.into_iter().collect()
    }

    pub(super) fn into_io(self) -> I {
        self.io
    }
}

pub(super) fn accepted(stream: u32) -> Got {
    Got::Control(Frame::SynReply {
        stream,
        fin: false,
        headers: Headers::new(),
    })
}

pub(super) fn reset(stream: u32, status: u32) -> Got {
    Got::Control(Frame::RstStream { stream, status })
}

pub(super) fn goaway(last: u32, status: u32) -> Got {
    Got::Control(Frame::GoAway { last, status })
}
