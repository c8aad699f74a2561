//! The uncompressed bytes of a layer, hashed and counted as they pass.

use std::io::{self, BufRead, Read};

use sha2::{Digest, Sha256};

use super::digest::DiffId;

/// Bytes decompressed, hashed and offered for writing at a time.
const BUFFER: usize = 256 * 1024;

/// Hashes every byte of `inner` once, and refuses to give more than a limit.
pub(crate) struct HashedStream<R> {
    inner: R,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    hash: Sha256,
    total: u64,
    limit: u64,
}

/// The stream gives more than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the uncompressed layer is larger than the limit of {0} bytes")]
pub(crate) struct StreamTooLarge(pub(crate) u64);

impl<R: Read> HashedStream<R> {
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            at: 0,
            end: 0,
            hash: Sha256::new(),
            total: 0,
            limit,
        }
    }

    /// Reads what is left and returns the digest and the length of everything.
    pub(crate) fn finish(mut self) -> io::Result<(DiffId, u64)> {
        loop {
            let left = self.fill_buf()?.len();
            if left == 0 {
                break;
            }
            self.consume(left);
        }
        let digest: [u8; 32] = self.hash.finalize().into();
        Ok((DiffId::from_bytes(digest), self.total))
    }
}

impl<R: Read> BufRead for HashedStream<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.end {
            (self.at, self.end) = (0, 0);
            // Decompressors give little at a time; a full buffer makes for large writes.
            while self.end < self.buffer.len() {
                match self.inner.read(&mut self.buffer[self.end..]) {
                    Ok(0) => break,
                    Ok(n) => self.end += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            self.hash.update(&self.buffer[..self.end]);
            self.total += self.end as u64;
            if self.total > self.limit {
                return Err(io::Error::other(StreamTooLarge(self.limit)));
            }
        }
        Ok(&self.buffer[self.at..self.end])
    }

    fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.end);
    }
}

impl<R: Read> Read for HashedStream<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(out.len());
        out[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_what_was_read_and_what_was_not() {
        let data = vec![3u8; BUFFER * 2 + 17];
        let mut stream = HashedStream::new(&data[..], u64::MAX);
        let mut first = [0; 100];
        stream.read_exact(&mut first).unwrap();
        let (digest, total) = stream.finish().unwrap();
        let expect: [u8; 32] = Sha256::digest(&data).into();
        assert_eq!(
            (digest, total),
            (DiffId::from_bytes(expect), data.len() as u64)
        );
    }

    #[test]
    fn stops_at_its_limit() {
        let e = HashedStream::new(io::repeat(0), 1 << 20)
            .finish()
            .unwrap_err();
        assert!(e.to_string().contains("1048576"), "{e}");
    }
}
