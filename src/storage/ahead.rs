//! A layer's bytes, read, inflated and hashed on one thread while another makes files of them.
//!
//! Inflating and writing take about as long as each other, so even an image of one layer has two processors at work.

use std::{
    io::{self, BufRead, Read},
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread,
};

use super::{digest::DiffId, stream::HashedStream};

/// Bytes inflated, hashed and offered for writing at a time.
const BLOCK: usize = 256 * 1024;
/// Blocks that may wait. One more is being filled and one being written: a layer holds a megabyte at most.
const WAITING: usize = 2;

/// A part of the stream; an empty one is its end.
#[derive(Debug, Default)]
struct Block {
    bytes: Box<[u8]>,
    end: usize,
}

/// The stream, as the other thread gives it.
#[derive(Debug)]
pub(crate) struct Blocks {
    coming: Receiver<io::Result<Block>>,
    spent: Sender<Box<[u8]>>,
    current: Block,
    at: usize,
    ended: bool,
}

/// Has `work` read `stream` while that is read ahead, and gives what came of it, with the digest of the stream if that
/// was read to its end.
pub(crate) fn read<R: Read + Send, T>(
    stream: HashedStream<R>,
    work: impl FnOnce(&mut Blocks) -> T,
) -> io::Result<(T, Option<DiffId>)> {
    let (sender, coming) = sync_channel(WAITING);
    let (spent, spare) = channel();
    thread::scope(|scope| {
        let reader = thread::Builder::new()
            .name("inflate".into())
            .spawn_scoped(scope, || read_ahead(stream, sender, spare))?;
        let mut blocks = Blocks {
            coming,
            spent,
            current: Block::default(),
            at: 0,
            ended: false,
        };
        let done = work(&mut blocks);
        // Whoever reads on for it finds that nobody listens.
        drop(blocks);
        let digest = reader.join().map_err(|_| broken_off())?;
        Ok((done, digest))
    })
}

/// Reads to the end, or until nobody wants more. The digest is of all of it, or there is none.
fn read_ahead<R: Read>(
    mut stream: HashedStream<R>,
    sender: SyncSender<io::Result<Block>>,
    spare: Receiver<Box<[u8]>>,
) -> Option<DiffId> {
    loop {
        let spent = spare.try_recv();
        let mut bytes = spent.unwrap_or_else(|_| vec![0; BLOCK].into_boxed_slice());
        let block = stream
            .read_block(&mut bytes)
            .map(|end| Block { bytes, end });
        let last = !matches!(&block, Ok(block) if block.end > 0);
        let failed = block.is_err();
        sender.send(block).ok()?;
        if last {
            return (!failed).then(|| stream.finish());
        }
    }
}

/// The other thread is gone before the end.
pub(crate) fn broken_off() -> io::Error {
    io::Error::other("reading the layer broke off")
}

impl Blocks {
    /// Reads what is left.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        loop {
            match self.fill_buf()?.len() {
                0 => return Ok(()),
                left => self.consume(left),
            }
        }
    }
}

impl BufRead for Blocks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.end && !self.ended {
            let block = self.coming.recv().map_err(|_| broken_off())??;
            self.ended = block.end == 0;
            let spent = std::mem::replace(&mut self.current, block);
            self.at = 0;
            if !spent.bytes.is_empty() {
                // At the end nobody needs it.
                let _ = self.spent.send(spent.bytes);
            }
        }
        Ok(&self.current.bytes[self.at..self.current.end])
    }

    fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.current.end);
    }
}

impl Read for Blocks {
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
    use sha2::{Digest, Sha256};

    use super::*;

    fn digest_of(data: &[u8]) -> DiffId {
        let digest: [u8; 32] = Sha256::digest(data).into();
        DiffId::from_bytes(digest)
    }

    #[test]
    fn everything_comes_in_order_and_is_hashed() {
        for length in [0, 1, BLOCK, 5 * BLOCK + 17] {
            let data: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let mut read_back = Vec::new();
            let stream = HashedStream::new(&data[..], u64::MAX);
            let (read, digest) = read(stream, |blocks| {
                blocks.read_to_end(&mut read_back)?;
                // The end stays the end.
                blocks.finish()
            })
            .unwrap();
            read.unwrap();
            assert_eq!(read_back, data);
            assert_eq!(digest, Some(digest_of(&data)));
        }
    }

    #[test]
    fn what_follows_the_archive_is_hashed_too() {
        let data = vec![3u8; 7 * BLOCK];
        let stream = HashedStream::new(&data[..], u64::MAX);
        let (finished, digest) = read(stream, |blocks| {
            blocks.read_exact(&mut [0; 100]).unwrap();
            blocks.finish()
        })
        .unwrap();
        finished.unwrap();
        assert_eq!(digest, Some(digest_of(&data)));
    }

    #[test]
    fn an_error_comes_after_what_was_read_before_it_and_leaves_no_digest() {
        struct Failing(usize);
        impl Read for Failing {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                let n = self.0.min(out.len());
                self.0 -= n;
                match n {
                    0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "cut")),
                    n => Ok(n),
                }
            }
        }
        let stream = HashedStream::new(Failing(3 * BLOCK), u64::MAX);
        let (seen, digest) = read(stream, |blocks| {
            let mut seen = 0;
            loop {
                match blocks.fill_buf().map(<[u8]>::len) {
                    Ok(0) => panic!("an end"),
                    Ok(n) => {
                        seen += n;
                        blocks.consume(n);
                    }
                    Err(error) => return (seen, error.to_string()),
                }
            }
        })
        .unwrap();
        assert_eq!(seen, (3 * BLOCK, "cut".to_owned()));
        assert_eq!(digest, None);
    }

    #[test]
    fn whoever_stops_early_stops_the_reading() {
        let stream = HashedStream::new(io::repeat(0), u64::MAX);
        let (byte, digest) = read(stream, |blocks| blocks.fill_buf().unwrap()[0]).unwrap();
        assert_eq!((byte, digest), (0, None));
    }

    #[test]
    fn a_reader_that_panics_is_an_error_and_no_end() {
        struct Panicking;
        impl Read for Panicking {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("on purpose")
            }
        }
        let mut finished = None;
        let read = read(HashedStream::new(Panicking, u64::MAX), |blocks| {
            finished = Some(blocks.finish());
        });
        assert!(read.is_err());
        assert!(finished.unwrap().is_err());
    }
}
