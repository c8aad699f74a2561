//! A blob on its way from the network, where it comes in pieces, to the unpacker, which blocks.

use std::{
    io::{self, Read},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    digest::{Digest, Hasher},
    manifest::Descriptor,
};

/// Pieces that may wait for the unpacker: with the usual ones of some 16 KiB, half a megabyte.
const PIECES: usize = 32;

/// What the network side sends.
#[derive(Debug)]
pub(crate) enum Piece {
    /// More of the blob.
    Data(Bytes),
    /// The blob is complete.
    End,
}

/// Why a blob is not what its descriptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Other bytes.
    Digest(Digest),
    /// More or fewer of them.
    Size(u64),
}

/// Filled in when a blob turns out to be another.
pub(crate) type Verdict = Arc<OnceLock<Mismatch>>;

/// The end at which the network side puts pieces in.
pub(crate) type Sender = mpsc::Sender<Piece>;

/// The pieces as they come, read by a thread that may block.
#[derive(Debug)]
pub(crate) struct PieceReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

/// A pipe from the network to a thread.
pub(crate) fn pipe() -> (Sender, PieceReader) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let reader = PieceReader {
        pieces,
        current: Bytes::new(),
        ended: false,
    };
    (sender, reader)
}

impl Read for PieceReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(Piece::Data(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                // The network side gave up, and says why elsewhere.
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the transfer was given up",
                    ));
                }
            }
        }
        let n = buf.len().min(self.current.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

/// Passes a blob on and, at its end, fails unless it is the one that was promised.
pub(crate) struct Verified<R> {
    inner: R,
    hasher: Option<Hasher>,
    seen: u64,
    expected: Descriptor,
    verdict: Verdict,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, expected: Descriptor) -> Self {
        Self {
            inner,
            hasher: Some(Hasher::default()),
            seen: 0,
            expected,
            verdict: Verdict::default(),
        }
    }

    /// Where it will be told what was wrong with the blob.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }

    fn refuse(&self, mismatch: Mismatch) -> io::Error {
        let _ = self.verdict.set(mismatch);
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the blob is not {}", self.expected.digest),
        )
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buf)?;
        self.seen += n as u64;
        if n > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buf[..n]);
            }
            if self.seen > self.expected.size {
                return Err(self.refuse(Mismatch::Size(self.seen)));
            }
            return Ok(n);
        }
        if self.seen != self.expected.size {
            return Err(self.refuse(Mismatch::Size(self.seen)));
        }
        if let Some(hasher) = self.hasher.take() {
            let actual = hasher.finish();
            if actual != self.expected.digest {
                return Err(self.refuse(Mismatch::Digest(actual)));
            }
        } else if self.verdict.get().is_some() {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expecting(bytes: &[u8]) -> Descriptor {
        Descriptor {
            media_type: String::new(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        }
    }

    fn read(given: &[u8], expected: Descriptor) -> (io::Result<usize>, Option<Mismatch>) {
        let mut verified = Verified::new(given, expected);
        let verdict = verified.verdict();
        let read = verified.read_to_end(&mut Vec::new());
        (read, verdict.get().cloned())
    }

    #[test]
    fn only_the_promised_blob_passes() {
        assert!(read(b"hello", expecting(b"hello")).0.is_ok());
        let (result, verdict) = read(b"hellO", expecting(b"hello"));
        assert!(result.is_err());
        assert_eq!(verdict, Some(Mismatch::Digest(Digest::of(b"hellO"))));
        for given in [&b"hell"[..], b"hello!"] {
            let (result, verdict) = read(given, expecting(b"hello"));
            assert!(result.is_err());
            assert_eq!(verdict, Some(Mismatch::Size(given.len() as u64)));
        }
    }

    #[test]
    fn a_refusal_lasts() {
        let mut verified = Verified::new(&b"x"[..], expecting(b"y"));
        let mut buf = [0; 8];
        assert_eq!(verified.read(&mut buf).unwrap(), 1);
        assert!(verified.read(&mut buf).is_err());
        assert!(verified.read(&mut buf).is_err());
    }

    #[tokio::test]
    async fn pieces_become_a_stream_and_a_lost_sender_an_error() {
        let (sender, mut reader) = pipe();
        let all = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        for piece in [&b"he"[..], b"", b"llo"] {
            sender
                .send(Piece::Data(Bytes::from_static(piece)))
                .await
                .unwrap();
        }
        sender.send(Piece::End).await.unwrap();
        assert_eq!(all.await.unwrap().unwrap(), b"hello");

        let (sender, mut reader) = pipe();
        sender
            .send(Piece::Data(Bytes::from_static(b"he")))
            .await
            .unwrap();
        drop(sender);
        let cut = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new()));
        assert_eq!(
            cut.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
