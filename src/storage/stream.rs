//! The uncompressed bytes of a layer, hashed and counted as they pass.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::digest::DiffId;

/// Hashes every byte of `inner` once, and refuses to give more than a limit.
pub(crate) struct HashedStream<R> {
    inner: R,
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
            hash: Sha256::new(),
            total: 0,
            limit,
        }
    }

    /// Fills a buffer, as far as there is something; nothing is at the end. Decompressors give little at a time, and a
    /// full buffer makes for large writes.
    pub(crate) fn read_block(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut end = 0;
        while end < buffer.len() {
            match self.inner.read(&mut buffer[end..]) {
                Ok(0) => break,
                Ok(n) => end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.hash.update(&buffer[..end]);
        self.total += end as u64;
        if self.total > self.limit {
            return Err(io::Error::other(StreamTooLarge(self.limit)));
        }
        Ok(end)
    }

    /// The digest of everything that was read.
    pub(crate) fn finish(self) -> DiffId {
        let digest: [u8; 32] = self.hash.finalize().into();
        DiffId::from_bytes(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_what_it_gives() {
        let data = vec![3u8; 1000];
        let mut stream = HashedStream::new(&data[..], 1000);
        let mut block = [0; 300];
        for expect in [300, 300, 300, 100, 0, 0] {
            assert_eq!(stream.read_block(&mut block).unwrap(), expect);
        }
        let expect: [u8; 32] = Sha256::digest(&data).into();
        assert_eq!(stream.finish(), DiffId::from_bytes(expect));
    }

    #[test]
    fn stops_at_its_limit() {
        let mut stream = HashedStream::new(io::repeat(0), 999);
        assert_eq!(stream.read_block(&mut [0; 999]).unwrap(), 999);
        let e = stream.read_block(&mut [0; 1]).unwrap_err();
        assert!(e.to_string().contains("999"), "{e}");
    }
}
