//! The writing end of one channel.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::PollSender;

use super::{
    codec::{Encoding, encode},
    link::{Link, Out},
};

/// Most data in one message.
const CHUNK: usize = 32 << 10;

/// How data becomes a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    /// As it is.
    Plain,
    /// As data of a channel.
    Channel(Encoding, u8),
}

impl Framing {
    /// The message that holds `data`.
    pub(super) fn message(self, data: &[u8]) -> Message {
        match self {
            Self::Plain => Message::Binary(Bytes::copy_from_slice(data)),
            Self::Channel(encoding, channel) => {
                let bytes = encode(encoding, channel, data);
                match (encoding, Utf8Bytes::try_from(bytes.clone())) {
                    (Encoding::Base64, Ok(text)) => Message::Text(text),
                    _ => Message::Binary(bytes),
                }
            }
        }
    }
}

/// Writes one channel's data; fails once the connection is closed. The connection stays open for as long as one
/// of its writers is neither shut down nor dropped.
#[derive(Debug)]
pub(super) struct ChannelWriter {
    out: PollSender<Out>,
    framing: Framing,
}

impl ChannelWriter {
    pub(super) fn new(link: &Link, framing: Framing) -> Self {
        Self {
            out: PollSender::new(link.out.clone()),
            framing,
        }
    }
}

impl AsyncWrite for ChannelWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let broken = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.out.poll_reserve(cx)).map_err(broken)?;
        let data = &data[..data.len().min(CHUNK)];
        let message = self.framing.message(data);
        self.out.send_item(Out::Message(message)).map_err(broken)?;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.close();
        Poll::Ready(Ok(()))
    }
}
