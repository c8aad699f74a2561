//! A streaming tar reader: ustar, GNU and PAX archives, entry by entry, nothing trusted.
//!
//! It tells what an archive says, not what to make of it. Where writers and readers are known to differ
//! (sizes of entries that have no data, the precedence of long names), it reads as the peers do, so that
//! nobody sees other files in a layer than the one who scanned it.

mod block;
mod pax;
mod sparse;

use std::io::{self, BufRead};

use block::{BLOCK, Header};
use pax::Pax;
pub(crate) use sparse::Sparse;

/// Bytes of extended headers and long names before one entry.
const MAX_EXTENDED: u64 = 1 << 20;
/// Headers that only describe the next entry, in a row.
const MAX_META: usize = 16;

/// An archive that is not as a tar should be.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The bytes could not be read or decompressed.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// The archive ends within an entry.
    #[error("the archive ends within an entry")]
    Truncated,
    /// A header's checksum is wrong.
    #[error("a header has a wrong checksum")]
    Checksum,
    /// A numeric field holds something else.
    #[error("header field {field} holds {value:?}, which is no number")]
    Number {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// A numeric field is out of range.
    #[error("header field {field} holds {value}, which is out of range")]
    Range {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// An extended header is malformed.
    #[error("a PAX extended header is malformed")]
    Pax,
    /// Extended headers are too long.
    #[error("the extended headers of an entry are longer than {MAX_EXTENDED} bytes or too many")]
    Extended,
    /// The map of a file with holes is wrong.
    #[error("the map of a sparse file {0}")]
    Sparse(&'static str),
    /// An entry of a kind no layer has.
    #[error("entry {path:?} has the unknown type {kind:?}")]
    Kind {
        /// Its name.
        path: String,
        /// Its type.
        kind: char,
    },
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Char(u32, u32),
    Block(u32, u32),
    Directory,
    Fifo,
}

/// One entry as the archive has it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of data in the archive.
    pub(crate) size: u64,
    pub(crate) sparse: Option<Sparse>,
}

/// Reads entries from a stream.
pub(crate) struct TarReader<R> {
    inner: R,
    /// Data of the current entry not read yet.
    data: u64,
    /// Padding after it.
    padding: u64,
    global: Pax,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            data: 0,
            padding: 0,
            global: Pax::default(),
        }
    }

    /// The next entry, or none at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip(self.data + self.padding)?;
        (self.data, self.padding) = (0, 0);
        let (mut long_path, mut long_link) = (None, None);
        let mut pax = self.global.clone();
        for _ in 0..MAX_META {
            let mut block = [0; BLOCK];
            if !self.block(&mut block)? || block == [0; BLOCK] {
                return Ok(None);
            }
            let header = Header::new(&block)?;
            match header.kind() {
                b'x' | b'X' => {
                    let data = self.extended(header.size()?)?;
                    pax = self.global.clone();
                    pax.add(&data)?;
                }
                b'g' => {
                    let data = self.extended(header.size()?)?;
                    self.global.add(&data)?;
                    pax = self.global.clone();
                }
                b'L' => long_path = Some(self.long_name(header.size()?)?),
                b'K' => long_link = Some(self.long_name(header.size()?)?),
                // A volume label describes nothing that is unpacked.
                b'V' => self.skip(padded(header.size()?))?,
                _ => return self.entry(&header, pax, long_path, long_link).map(Some),
            }
        }
        Err(TarError::Extended)
    }

    /// The data of the current entry still to be read, as far as it is in memory. Empty at its end.
    pub(crate) fn fill(&mut self) -> Result<&[u8], TarError> {
        if self.data == 0 {
            return Ok(&[]);
        }
        let have = self.inner.fill_buf().map_err(TarError::Read)?;
        if have.is_empty() {
            return Err(TarError::Truncated);
        }
        let n = usize::try_from(self.data).map_or(have.len(), |data| data.min(have.len()));
        Ok(&have[..n])
    }

    /// Marks bytes that [`TarReader::fill`] showed as used.
    pub(crate) fn consume(&mut self, n: usize) {
        self.data -= n as u64;
        self.inner.consume(n);
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        pax: Pax,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, TarError> {
        let path = long_path.or(pax.path).unwrap_or_else(|| header.path());
        let path = pax.sparse.name.clone().unwrap_or(path);
        let link = long_link.or(pax.link).unwrap_or_else(|| header.link());
        let kind = match header.kind() {
            // Archives older than POSIX mark a directory by its name alone.
            0 | b'0' if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => {
                let (major, minor) = header.device()?;
                Kind::Char(major, minor)
            }
            b'4' => {
                let (major, minor) = header.device()?;
                Kind::Block(major, minor)
            }
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(TarError::Kind {
                    path: String::from_utf8_lossy(&path).into_owned(),
                    kind: char::from(other),
                });
            }
        };
        // Only files have data; a size elsewhere is what the entry stands for, not what follows.
        let size = match kind {
            Kind::File => pax.size.map_or_else(|| header.size(), Ok)?,
            _ => 0,
        };
        self.data = size;
        self.padding = padded(size) - size;
        let sparse = match kind {
            Kind::File if header.kind() == b'S' => Some(self.gnu_sparse(header, size)?),
            Kind::File => self.pax_sparse(&pax.sparse)?,
            _ => None,
        };
        let id = |field, pax: Option<i64>, header: Result<i64, TarError>| {
            let value = pax.map_or(header, Ok)?;
            // The highest number means "leave it" to the kernel.
            match u32::try_from(value) {
                Ok(id) if id != u32::MAX => Ok(id),
                _ => Err(TarError::Range {
                    field,
                    value: value.to_string(),
                }),
            }
        };
        Ok(Entry {
            uid: id("uid", pax.uid, header.uid())?,
            gid: id("gid", pax.gid, header.gid())?,
            mode: (header.mode()? & 0o7777) as u32,
            mtime: pax
                .mtime
                .map_or_else(|| header.mtime().map(|s| (s, 0)), Ok)?,
            xattrs: pax.xattrs,
            size: self.data,
            path,
            link,
            kind,
            sparse,
        })
    }

    fn gnu_sparse(&mut self, header: &Header<'_>, stored: u64) -> Result<Sparse, TarError> {
        let mut segments = header.gnu_segments()?;
        let mut more = header.gnu_extended();
        while more {
            let mut block = [0; BLOCK];
            if !self.block(&mut block)? {
                return Err(TarError::Truncated);
            }
            segments.extend(block::sparse_segments(&block[..504])?);
            if segments.len() > sparse::MAX_SEGMENTS {
                return Err(TarError::Sparse("has too many segments"));
            }
            more = block[504] != 0;
        }
        Sparse::new(header.gnu_real_size()?, segments, stored)
    }

    fn pax_sparse(&mut self, told: &pax::PaxSparse) -> Result<Option<Sparse>, TarError> {
        let numbers = match told.version {
            (Some(1), Some(0)) => self.sparse_map()?,
            (None | Some(0), _) if told.mapped => told.map.clone(),
            (None | Some(0), _) => return Ok(None),
            _ => return Err(TarError::Sparse("has an unknown version")),
        };
        let real_size = told.real_size.ok_or(TarError::Sparse("tells no size"))?;
        Sparse::new(real_size, sparse::pairs(&numbers)?, self.data).map(Some)
    }

    /// The map that format 1.0 puts before the data: decimal lines, padded to whole blocks.
    fn sparse_map(&mut self) -> Result<Vec<u64>, TarError> {
        let mut numbers = Vec::new();
        let mut want = None;
        let mut line = Vec::new();
        while want.is_none_or(|want| numbers.len() < want) {
            let mut block = [0; BLOCK];
            if self.data < BLOCK as u64 || !self.block(&mut block)? {
                return Err(TarError::Sparse("is cut short"));
            }
            self.data -= BLOCK as u64;
            for byte in block {
                if want.is_some_and(|want| numbers.len() == want) {
                    break;
                }
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let number = pax::digits(&line).ok_or(TarError::Sparse("holds no number"))?;
                line.clear();
                if want.is_some() {
                    numbers.push(number);
                    continue;
                }
                let count = usize::try_from(number).unwrap_or(usize::MAX);
                if count > sparse::MAX_SEGMENTS {
                    return Err(TarError::Sparse("has too many segments"));
                }
                want = Some(count * 2);
            }
            if line.len() > BLOCK {
                return Err(TarError::Sparse("holds no number"));
            }
        }
        Ok(numbers)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let data = self.extended(size)?;
        Ok(block::text(&data).to_vec())
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENDED {
            return Err(TarError::Extended);
        }
        let size = usize::try_from(size).map_err(|_| TarError::Extended)?;
        let mut data = Vec::new();
        let whole = usize::try_from(padded(size as u64)).map_err(|_| TarError::Extended)?;
        while data.len() < whole {
            let have = self.inner.fill_buf().map_err(TarError::Read)?;
            if have.is_empty() {
                return Err(TarError::Truncated);
            }
            let n = have.len().min(whole - data.len());
            data.extend_from_slice(&have[..n]);
            self.inner.consume(n);
        }
        data.truncate(size);
        Ok(data)
    }

    /// Reads one block; false at the end of the stream.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < BLOCK {
            let have = self.inner.fill_buf().map_err(TarError::Read)?;
            if have.is_empty() {
                return if filled == 0 {
                    Ok(false)
                } else {
                    Err(TarError::Truncated)
                };
            }
            let n = have.len().min(BLOCK - filled);
            block[filled..filled + n].copy_from_slice(&have[..n]);
            self.inner.consume(n);
            filled += n;
        }
        Ok(true)
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), TarError> {
        while bytes > 0 {
            let have = self.inner.fill_buf().map_err(TarError::Read)?.len();
            if have == 0 {
                return Err(TarError::Truncated);
            }
            let n = usize::try_from(bytes).map_or(have, |bytes| bytes.min(have));
            self.inner.consume(n);
            bytes -= n as u64;
        }
        Ok(())
    }
}

/// Rounded up to whole blocks; no archive comes near the end of the range.
fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64)
}

#[cfg(test)]
mod tests;
