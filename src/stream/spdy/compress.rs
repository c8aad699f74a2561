//! Compression of header blocks: one zlib stream each way for the life of a connection, flushed after each block.

use std::{fmt, mem};

use flate2::{Decompress, DecompressError, FlushDecompress, Status};
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

/// Writes blocks for a peer: as a zlib stream, but without making them smaller. All that is sent are answers without
/// headers, which compression would not shorten; its tables would take a quarter of a megabyte for each connection.
#[derive(Debug, Default)]
pub(super) struct Deflater {
    begun: bool,
}

impl Deflater {
    /// The next block, as it goes over the wire.
    pub(super) fn deflate(&mut self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len() + 24);
        if !mem::replace(&mut self.begun, true) {
            // A window of 32 KiB, and a dictionary: this one.
            out.extend([0x78, 0x20 | (31 - (0x7820u16 % 31) as u8)]);
            out.extend(adler32(&DICTIONARY).to_be_bytes());
        }
        // An empty part at the end is what zlib calls a flush, and what makes Go's inflater give out what came before.
        for part in block.chunks(usize::from(u16::MAX)).chain([&[][..]]) {
            let length = part.len() as u16;
            // Stored, and not the last.
            out.push(0);
            out.extend(length.to_le_bytes());
            out.extend((!length).to_le_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

/// The checksum by which zlib names a dictionary.
pub(super) fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    /// What clients do.
    fn compress(zlib: &mut Compress, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len() + 256);
        let before = zlib.total_in();
        zlib.compress_vec(block, &mut out, FlushCompress::Sync)
            .unwrap();
        assert_eq!(zlib.total_in() - before, block.len() as u64);
        assert!(out.len() < out.capacity());
        out
    }

    fn compressor() -> Compress {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&DICTIONARY).unwrap();
        zlib
    }

    #[test]
    fn known_words_cost_little() {
        let block = b"\0\0\0\x0dauthorization\0\0\0\x0econtent-length";
        let compressed = compress(&mut compressor(), block);
        assert!(compressed.len() < block.len(), "{}", compressed.len());
        assert_eq!(Inflater::new().inflate(&compressed).unwrap(), block);
    }

    #[test]
    fn bombs_are_defused() {
        let bomb = compress(&mut compressor(), &vec![0; 10 << 20]);
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
        fn compressed_blocks_are_inflated(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 1..10),
        ) {
            let mut zlib = compressor();
            let mut inflater = Inflater::new();
            for block in blocks {
                prop_assert_eq!(inflater.inflate(&compress(&mut zlib, &block)).unwrap(), block);
            }
        }

        #[test]
        fn own_blocks_are_inflated(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 1..10),
        ) {
            let mut deflater = Deflater::default();
            let mut inflater = Inflater::new();
            for block in blocks {
                prop_assert_eq!(inflater.inflate(&deflater.deflate(&block)).unwrap(), block);
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
