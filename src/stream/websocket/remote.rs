//! Exec and attach: a channel for each stream.

use std::{future::Future, io, pin::Pin, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    sync::watch,
};

use super::{
    codec::{CodecError, Incoming, decode},
    link::{Inbox, Link, Out, PIPE, Shared},
    subprotocol::RemoteProtocol,
    writer::{ChannelWriter, Framing},
};
use crate::stream::{
    resize::ResizeParser,
    session::{Ending, Outcome, Reader, Remote, TerminalSize, Wanted, Writer},
    status,
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Makes an exec's or attach's streams of a connection on which the handshake is done.
pub async fn remote<S>(io: S, protocol: RemoteProtocol, wanted: Wanted, idle: Duration) -> Remote
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stdin, input) = match wanted.stdin {
        true => {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            (Some(ours), Some(theirs))
        }
        false => (None, None),
    };
    let (sizes, resize) = match wanted.tty {
        true => {
            let (sender, receiver) = watch::channel(None);
            (Some((sender, ResizeParser::new())), Some(receiver))
        }
        false => (None, None),
    };
    let inbox = RemoteInbox {
        protocol,
        stdin: input,
        sizes,
    };
    let link = Link::start(io, idle, inbox).await;
    let framing = |channel| Framing::Channel(protocol.encoding, channel);
    // Clients may take the first message, however empty, for the sign that all is set up.
    let first = match (wanted.stdout, wanted.stderr) {
        (true, _) => STDOUT,
        (false, true) => STDERR,
        (false, false) => ERROR,
    };
    let hello = Out::Message(framing(first).message(b""));
    // There is room for the first message, unless the client is gone already.
    let _ = link.out.try_send(hello);
    let writer = |wanted: bool, channel| {
        wanted.then(|| Box::new(ChannelWriter::new(&link, framing(channel))) as Writer)
    };
    Remote {
        stdin: stdin.map(|stdin| Box::new(stdin) as Reader),
        stdout: writer(wanted.stdout, STDOUT),
        stderr: writer(wanted.stderr, STDERR),
        resize,
        gone: link.shared.gone.clone(),
        ending: Box::new(RemoteEnding { link, protocol }),
    }
}

struct RemoteInbox {
    protocol: RemoteProtocol,
    stdin: Option<DuplexStream>,
    sizes: Option<(watch::Sender<Option<TerminalSize>>, ResizeParser)>,
}

impl Inbox for RemoteInbox {
    async fn take(&mut self, message: Bytes, link: &Shared) -> Result<(), CodecError> {
        let RemoteProtocol {
            encoding,
            half_close,
            ..
        } = self.protocol;
        match decode(encoding, half_close, message)? {
            Incoming::Data(STDIN, data) => link.deliver(&mut self.stdin, &data).await,
            Incoming::Data(RESIZE, data) => self.resize(&data),
            Incoming::Close(STDIN) => self.stdin = None,
            // Channels of later versions, and those that only we write to.
            Incoming::Data(..) | Incoming::Close(_) | Incoming::Nothing => {}
        }
        Ok(())
    }
}

impl RemoteInbox {
    fn resize(&mut self, data: &[u8]) {
        let Some((sender, parser)) = &mut self.sizes else {
            return;
        };
        match parser.push(data) {
            Ok(Some(size)) => drop(sender.send_replace(Some(size))),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no terminal size");
                self.sizes = None;
            }
        }
    }
}

struct RemoteEnding {
    link: Link,
    protocol: RemoteProtocol,
}

impl Ending for RemoteEnding {
    fn finish(
        self: Box<Self>,
        outcome: Outcome,
    ) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>> {
        let text = match self.protocol.status {
            true => Some(status::json(&outcome)),
            false => status::text(&outcome),
        };
        let framing = Framing::Channel(self.protocol.encoding, ERROR);
        let last = text.map(|text| framing.message(text.as_bytes()));
        Box::pin(self.link.finish(last))
    }
}
