//! Port forwarding: two channels for each port, or a SPDY connection inside of binary messages.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    codec::{CodecError, Encoding, Incoming, decode},
    link::{Inbox, Link, Out, PIPE, Shared},
    writer::{ChannelWriter, Framing},
};
use crate::stream::session::{Duplex, Forward, Forwards};

/// Most ports of one connection: a channel's number has to fit into a character of base64.
pub const PORTS_MAX: usize = 32;

/// Makes a connection for each of `ports` (at most [`PORTS_MAX`]) of a connection on which the handshake is done.
///
/// The first message of each channel, ours, is the port's number. No channel can be closed alone: the client sees
/// the end when all ports' connections ended, and a connection ends when the pod has no more to say. A port that
/// takes no data holds up the others.
pub async fn channels<S>(io: S, encoding: Encoding, ports: &[u16], idle: Duration) -> Forwards
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut inputs, mut readers) = (Vec::new(), Vec::new());
    for _ in ports {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        readers.push(ours);
        inputs.push(Some(theirs));
    }
    let link = Link::start(io, idle, ChannelsInbox { encoding, inputs }).await;
    let (sender, incoming) = mpsc::channel(ports.len().max(1));
    for (n, (&port, reader)) in (0u8..).zip(ports.iter().zip(readers)) {
        let framing = |channel| Framing::Channel(encoding, channel);
        let number = port.to_le_bytes();
        for channel in [2 * n, 2 * n + 1] {
            let message: Message = framing(channel).message(&number);
            // Fails when the client is gone; then the writers do so too.
            let _ = link.out.send(Out::Message(message)).await;
        }
        let writer = ChannelWriter::new(&link, framing(2 * n));
        let _ = sender.try_send(Forward {
            port,
            data: Box::new(Port {
                reader,
                writer,
                over: false,
                waiting: None,
            }),
            error: Box::new(ChannelWriter::new(&link, framing(2 * n + 1))),
        });
    }
    Forwards {
        incoming,
        gone: link.shared.gone.clone(),
    }
}

/// One port's data. Shutting it down ends what is read as well: the client will not learn of it, and so send nothing
/// in return.
struct Port {
    reader: DuplexStream,
    writer: ChannelWriter,
    over: bool,
    waiting: Option<Waker>,
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.reader).poll_read(cx, buffer);
        if read.is_pending() {
            self.waiting = Some(cx.waker().clone());
        }
        read
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.over = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

struct ChannelsInbox {
    encoding: Encoding,
    inputs: Vec<Option<DuplexStream>>,
}

impl Inbox for ChannelsInbox {
    async fn take(&mut self, message: Bytes, link: &Shared) -> Result<(), CodecError> {
        if let Incoming::Data(channel, data) = decode(self.encoding, false, message)?
            && channel % 2 == 0
            && let Some(input) = self.inputs.get_mut(usize::from(channel / 2))
        {
            link.deliver(input, &data).await;
        }
        Ok(())
    }
}

/// The bytes inside of the binary messages of a connection on which the handshake is done.
pub async fn tunnel<S>(io: S, idle: Duration) -> impl Duplex + 'static
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reader, input) = tokio::io::duplex(PIPE);
    let link = Link::start(io, idle, TunnelInbox(Some(input))).await;
    tokio::io::join(reader, ChannelWriter::new(&link, Framing::Plain))
}

struct TunnelInbox(Option<DuplexStream>);

impl Inbox for TunnelInbox {
    async fn take(&mut self, message: Bytes, link: &Shared) -> Result<(), CodecError> {
        link.deliver(&mut self.0, &message).await;
        Ok(())
    }
}
