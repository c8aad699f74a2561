//! Compression of header blocks: one zlib stream each way for the life of a connection, flushed after each block.

use std::fmt;

use flate2::{
    Compress, CompressError, Compression, Decompress, DecompressError, FlushCompress,
    FlushDecompress, Status,
};
use thiserror::Error;

use super::dictionary::DICTIONARY;

/// The longest block, inflated.
pub const MAX_BLOCK: usize = 32 << 10;

/// How much room a step of inflating gets.
const STEP: usize = 2 << 10;

/// What is wrong with a compressed block.
#[derive(Debug, Error)]
pub enum InflateError {
    /// It grows beyond [`MAX_BLOCK`].
    #[error("headers are longer than {MAX_BLOCK} bytes when inflated")]
    TooLong,
    /// It ends the compressed stream, which has to go on.
    #[error("the compressed headers end")]
    Ended,
    /// It is no zlib stream, or one with another dictionary.
    #[error("cannot inflate headers")]
    Broken(#[source] DecompressError),
}

/// Inflates the blocks that a peer sends.
pub(super) struct Inflater {
    zlib: Decompress,
    block: Vec<u8>,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self {
            zlib: Decompress::new(true),
            block: Vec::new(),
        }
    }

    /// The next block. After an error nothing more can be inflated.
    pub(super) fn inflate(&mut self, compressed: &[u8]) -> Result<&[u8], InflateError> {
        self.block.clear();
        let mut rest = compressed;
        loop {
            if self.block.len() > MAX_BLOCK {
                return Err(InflateError::TooLong);
            }
            self.block.reserve(STEP);
            let before = (self.zlib.total_in(), self.zlib.total_out());
            let step = self
                .zlib
                .decompress_vec(rest, &mut self.block, FlushDecompress::Sync);
            let taken = (self.zlib.total_in() - before.0) as usize;
            rest = &rest[taken..];
            match step {
                Ok(Status::StreamEnd) => return Err(InflateError::Ended),
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib
                        .set_dictionary(&DICTIONARY)
                        .map_err(InflateError::Broken)?;
                    continue;
                }
                Err(error) => return Err(InflateError::Broken(error)),
            }
            let still = taken == 0 && self.zlib.total_out() == before.1;
            // With room left there is no more to come out of what was taken.
            if still || rest.is_empty() && self.block.len() < self.block.capacity() {
                break;
            }
        }
        if self.block.len() > MAX_BLOCK {
            return Err(InflateError::TooLong);
        }
        if !rest.is_empty() {
            return Err(InflateError::Ended);
        }
        Ok(&self.block)
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// Compresses the blocks for a peer.
pub(super) struct Deflater {
    zlib: Compress,
}

impl Deflater {
    pub(super) fn new() -> Result<Self, CompressError> {
        // The smallest window that has room for the dictionary: what is sent is little, connections are many.
        let mut zlib = Compress::new_with_window_bits(Compression::fast(), true, 11);
        zlib.set_dictionary(&DICTIONARY)?;
        Ok(Self { zlib })
    }

    /// The next block, compressed.
    pub(super) fn deflate(&mut self, block: &[u8]) -> Result<Vec<u8>, CompressError> {
        let mut out = Vec::new();
        let mut rest = block;
        loop {
            out.reserve(block.len() / 2 + 64);
            let before = self.zlib.total_in();
            self.zlib
                .compress_vec(rest, &mut out, FlushCompress::Sync)?;
            rest = &rest[(self.zlib.total_in() - before) as usize..];
            // Room left means that all is flushed.
            if rest.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
        }
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_words_cost_little() {
        let block = b"\0\0\0\x0dauthorization\0\0\0\x0econtent-length";
        let compressed = Deflater::new().unwrap().deflate(block).unwrap();
        assert!(compressed.len() < block.len(), "{}", compressed.len());
        // The stream says that it needs the dictionary.
        assert_eq!(compressed[1] & 0x20, 0x20);
        assert_eq!(compressed[2..6], 0xe3c6_a7c2u32.to_be_bytes());
    }

    #[test]
    fn bombs_are_defused() {
        let bomb = Deflater::new()
            .unwrap()
            .deflate(&vec![0; 10 << 20])
            .unwrap();
        assert!(bomb.len() < 128 << 10);
        let mut inflater = Inflater::new();
        assert!(matches!(
            inflater.inflate(&bomb),
            Err(InflateError::TooLong)
        ));
        assert!(inflater.block.capacity() <= 4 * MAX_BLOCK);
    }

    #[test]
    fn another_dictionary_is_refused() {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(b"another").unwrap();
        let mut out = Vec::with_capacity(256);
        zlib.compress_vec(b"text", &mut out, FlushCompress::Sync)
            .unwrap();
        assert!(matches!(
            Inflater::new().inflate(&out),
            Err(InflateError::Broken(_))
        ));
    }

    #[test]
    fn an_ended_stream_is_refused() {
        let mut zlib = Compress::new(Compression::fast(), true);
        let mut out = Vec::with_capacity(256);
        zlib.compress_vec(b"text", &mut out, FlushCompress::Finish)
            .unwrap();
        assert!(matches!(
            Inflater::new().inflate(&out),
            Err(InflateError::Ended)
        ));
    }

    proptest! {
        #[test]
        fn blocks_round_trip(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 1..10),
        ) {
            let mut deflater = Deflater::new().unwrap();
            let mut inflater = Inflater::new();
            for block in blocks {
                let compressed = deflater.deflate(&block).unwrap();
                prop_assert_eq!(inflater.inflate(&compressed).unwrap(), block);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut inflater = Inflater::new();
            for piece in pieces {
                if inflater.inflate(&piece).is_err() {
                    break;
                }
            }
        }
    }
}
