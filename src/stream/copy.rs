//! Copying between clients and processes, a buffer at a time.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// Bytes in flight in one direction.
const BUFFER: usize = 32 << 10;
/// How long output may still come once the process is gone. What it wrote itself is there by then, and needs none.
const DRAIN: Duration = Duration::from_millis(250);
/// Most output that is read once the process is gone: no pipe or terminal holds more.
const LEFT_MAX: usize = 1 << 20;

/// How output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// With its end, or with that of its process.
    Whole,
    /// The client takes no more of it.
    Unwanted,
}

/// Copies output to a client, or nowhere, until its end, or until the process is gone and nothing more comes of it:
/// what it started may hold its output open for ever. Waits for a slow client as long as it takes.
pub(super) async fn output(
    mut from: impl AsyncRead + Unpin,
    mut to: Option<impl AsyncWrite + Unpin>,
    exited: &CancellationToken,
) -> Read {
    let mut buffer = vec![0; BUFFER];
    let mut left = LEFT_MAX;
    loop {
        let read = from.read(&mut buffer);
        let over = exited.is_cancelled();
        let read = if over {
            match tokio::time::timeout(DRAIN, read).await {
                Ok(read) => read,
                Err(_) => return Read::Whole,
            }
        } else {
            tokio::select! {
                biased;
                read = read => read,
                () = exited.cancelled() => continue,
            }
        };
        // Reading from a terminal that nobody has open fails.
        let n = match read {
            Ok(0) | Err(_) => return Read::Whole,
            Ok(n) => n,
        };
        if let Some(to) = &mut to
            && (to.write_all(&buffer[..n]).await.is_err() || to.flush().await.is_err())
        {
            return Read::Unwanted;
        }
        if over {
            left = left.saturating_sub(n);
            if left == 0 {
                return Read::Whole;
            }
        }
    }
}

/// How input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// The client sent no more.
    Whole,
    /// The client's connection broke.
    Broken,
    /// Nobody reads it.
    Unwanted,
}

/// Copies a client's input until its end. `to` is neither shut down nor dropped.
pub(super) async fn input(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
) -> Fed {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = match from.read(&mut buffer).await {
            Ok(0) => return Fed::Whole,
            Ok(n) => n,
            Err(_) => return Fed::Broken,
        };
        if to.write_all(&buffer[..n]).await.is_err() || to.flush().await.is_err() {
            return Fed::Unwanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_ends_with_its_end() {
        let (mut from, to) = (&b"all of it"[..], Vec::new());
        let mut seen = std::io::Cursor::new(to);
        output(&mut from, Some(&mut seen), &CancellationToken::new()).await;
        assert_eq!(seen.into_inner(), b"all of it");
    }

    #[tokio::test]
    async fn what_was_written_before_the_exit_is_copied_and_what_never_ends_is_left() {
        let (mut process, from) = tokio::io::duplex(1 << 10);
        process.write_all(b"last words").await.unwrap();
        let exited = CancellationToken::new();
        exited.cancel();
        let mut seen = std::io::Cursor::new(Vec::new());
        // `process` stays open, as with a daemon that was left behind.
        output(from, Some(&mut seen), &exited).await;
        assert_eq!(seen.into_inner(), b"last words");
        drop(process);
    }

    #[tokio::test]
    async fn endless_output_after_the_exit_is_cut() {
        let exited = CancellationToken::new();
        exited.cancel();
        let mut seen = std::io::Cursor::new(Vec::new());
        output(tokio::io::repeat(b'x'), Some(&mut seen), &exited).await;
        assert_eq!(seen.into_inner().len(), LEFT_MAX);
    }

    #[tokio::test]
    async fn input_tells_how_it_ended() {
        let mut to = std::io::Cursor::new(Vec::new());
        assert_eq!(input(&b"words"[..], &mut to).await, Fed::Whole);
        assert_eq!(to.into_inner(), b"words");
        let (mut closed, other) = tokio::io::duplex(16);
        drop(other);
        assert_eq!(input(&b"words"[..], &mut closed).await, Fed::Unwanted);
    }
}
