//! The streams of an exec or attach.

use std::{future::Future, io, pin::Pin};

use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::timeout,
};
use tracing::debug;

use super::{Limits, RemoteVersion, channel::Channel, connection::Connection};
use crate::{
    causes::whole,
    monitor::TerminalSize,
    stream::{
        resize::ResizeParser,
        session::{Ending, Outcome, Remote, Wanted},
        status,
    },
};

/// The most streams an exec or attach has: error, stdin, stdout, stderr and resize.
const STREAMS: usize = 5;

/// Why there is no exec or attach on a connection.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The client did not open all streams in time.
    #[error("the client did not open its {missing} stream in time")]
    Creation {
        /// The first one that is missing.
        missing: &'static str,
    },
    /// The client went away.
    #[error("the client went away before it opened its {missing} stream")]
    Gone {
        /// The first one that is missing.
        missing: &'static str,
    },
}

/// What there is so far.
#[derive(Default)]
struct Opened {
    error: Option<Channel>,
    stdin: Option<Channel>,
    stdout: Option<Channel>,
    stderr: Option<Channel>,
    resize: Option<Channel>,
}

impl Opened {
    fn slot(&mut self, kind: &str) -> Option<&mut Option<Channel>> {
        Some(match kind {
            "error" => &mut self.error,
            "stdin" => &mut self.stdin,
            "stdout" => &mut self.stdout,
            "stderr" => &mut self.stderr,
            "resize" => &mut self.resize,
            _ => return None,
        })
    }

    /// The first stream that has to come yet.
    fn missing(&self, wanted: Wanted, version: RemoteVersion) -> Option<&'static str> {
        let resize = wanted.tty && version.has_resize();
        [
            (true, &self.error, "error"),
            (wanted.stdin, &self.stdin, "stdin"),
            (wanted.stdout, &self.stdout, "stdout"),
            (wanted.stderr, &self.stderr, "stderr"),
            (resize, &self.resize, "resize"),
        ]
        .into_iter()
        .find_map(|(wanted, stream, name)| (wanted && stream.is_none()).then_some(name))
    }
}

/// Serves an exec or attach on a connection whose HTTP upgrade is done: waits until the client has opened the streams
/// that are wanted.
pub async fn remote<I>(
    io: I,
    version: RemoteVersion,
    wanted: Wanted,
    limits: Limits,
) -> Result<Remote, RemoteError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let streams = limits.streams.min(STREAMS);
    let connection = Connection::start(io, Limits { streams, ..limits });
    let mut opened = Opened::default();
    let opening = async {
        while let Some(missing) = opened.missing(wanted, version) {
            let Some((id, headers)) = connection.next().await else {
                return Err(RemoteError::Gone { missing });
            };
            match headers.get("streamtype").and_then(|kind| opened.slot(kind)) {
                Some(slot @ None) => *slot = Some(connection.accept(id)),
                // Twice, or of no known kind.
                _ => connection.reject(id),
            }
        }
        Ok(())
    };
    match timeout(limits.creation, opening).await {
        Ok(done) => done?,
        Err(_) => {
            let missing = opened.missing(wanted, version).unwrap_or("next");
            return Err(RemoteError::Creation { missing });
        }
    }
    connection.stop_accepting();

    // What was not asked for is dropped, and so ends at once.
    let output = |channel: Option<Channel>, wanted: bool| {
        channel.filter(|_| wanted).map(|channel| {
            channel.ignore_input();
            Box::new(channel) as _
        })
    };
    let resize = match opened.resize {
        Some(channel) if wanted.tty && version.has_resize() => {
            let (sizes, receiver) = watch::channel(None);
            channel.finish();
            tokio::spawn(follow(channel, sizes));
            Some(receiver)
        }
        _ => None,
    };
    let error = opened.error.inspect(Channel::ignore_input);
    Ok(Remote {
        stdin: opened
            .stdin
            .filter(|_| wanted.stdin)
            .map(|channel| Box::new(channel) as _),
        stdout: output(opened.stdout, wanted.stdout),
        stderr: output(opened.stderr, wanted.stderr),
        resize,
        gone: connection.gone().clone(),
        ending: Box::new(Last {
            version,
            error,
            connection,
        }),
    })
}

/// Follows the terminal's size until the client says something else, or goes.
async fn follow(mut channel: Channel, sizes: watch::Sender<Option<TerminalSize>>) {
    let mut parser = ResizeParser::new();
    let mut piece = [0; 512];
    loop {
        let read = tokio::select! {
            read = channel.read(&mut piece) => read,
            () = sizes.closed() => return,
        };
        let Ok(size @ 1..) = read else { return };
        match parser.push(&piece[..size]) {
            Ok(None) => {}
            Ok(newest) => {
                sizes.send_replace(newest);
            }
            Err(error) => {
                debug!(
                    error = whole(&error),
                    "A client's terminal sizes make no sense"
                );
                return;
            }
        }
    }
}

struct Last {
    version: RemoteVersion,
    error: Option<Channel>,
    connection: Connection,
}

impl Ending for Last {
    fn finish(
        self: Box<Self>,
        outcome: Outcome,
    ) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>> {
        Box::pin(async move {
            let text = match self.version.has_status() {
                true => Some(status::json(&outcome)),
                false => status::text(&outcome),
            };
            // Clients of the first version stop reading output when an error comes.
            self.connection.drained().await;
            if let (Some(mut error), Some(text)) = (self.error, text) {
                error.write_all(text.as_bytes()).await?;
            }
            self.connection.close().await
        })
    }
}
