//! Archives that cannot be read twice are written down first, uncompressed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use super::ArchiveError;
use crate::id::Id;

/// What the names of such files begin with.
pub(super) const PREFIX: &str = "load-";

/// Writes an archive into a file that has no name any more, so that nothing stays behind.
pub(super) fn spool(reader: impl Read + Send, dir: &Path, cap: u64) -> Result<File, ArchiveError> {
    let path = dir.join(format!("{PREFIX}{}", Id::random()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| ArchiveError::io("making a temporary file", e))?;
    fs::remove_file(&path).map_err(|e| ArchiveError::io("unlinking a temporary file", e))?;
    let mut plain = uncompressed(reader)?;
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0u64;
    loop {
        let n = match plain.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(ArchiveError::io("reading the archive", e)),
        };
        total += n as u64;
        if total > cap {
            return Err(ArchiveError::TooLarge(cap));
        }
        file.write_all(&buffer[..n])
            .map_err(|e| ArchiveError::io("writing a temporary file", e))?;
    }
}

/// Whether a file begins like something compressed.
pub(super) fn is_compressed(file: &File) -> io::Result<bool> {
    let mut start = [0; 4];
    let mut n = 0;
    while n < start.len() {
        match file.read_at(&mut start[n..], n as u64)? {
            0 => break,
            more => n += more,
        }
    }
    Ok(is_gzip(&start[..n]) || is_zstd(&start[..n]))
}

fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b])
}

fn is_zstd(start: &[u8]) -> bool {
    start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

fn uncompressed<'a>(mut reader: impl Read + Send + 'a) -> Result<Box<dyn Read + 'a>, ArchiveError> {
    let failed = |e| ArchiveError::io("reading the archive", e);
    let mut start = Vec::with_capacity(4);
    reader
        .by_ref()
        .take(4)
        .read_to_end(&mut start)
        .map_err(failed)?;
    let (gzip, zstd) = (is_gzip(&start), is_zstd(&start));
    let whole = BufReader::with_capacity(128 << 10, io::Cursor::new(start).chain(reader));
    Ok(if gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(whole))
    } else if zstd {
        Box::new(zstd::stream::read::Decoder::with_buffer(whole).map_err(failed)?)
    } else {
        Box::new(whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom};

    fn back(mut file: File) -> Vec<u8> {
        let mut all = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn compressed_or_not_it_lies_there_plain_and_nameless() {
        let dir = tempfile::tempdir().unwrap();
        let data = vec![7u8; 100_000];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&data).unwrap();
        let zst = zstd::encode_all(&data[..], 1).unwrap();
        for given in [data.clone(), gz.finish().unwrap(), zst] {
            let file = spool(&given[..], dir.path(), 1 << 20).unwrap();
            assert_eq!(back(file), data);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_bomb_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let bomb = zstd::encode_all(io::repeat(0).take(50 << 20), 1).unwrap();
        assert!(bomb.len() < 1 << 20);
        assert!(matches!(
            spool(&bomb[..], dir.path(), 1 << 20),
            Err(ArchiveError::TooLarge(_))
        ));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
