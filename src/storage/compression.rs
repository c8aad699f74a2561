//! How a layer's tar is compressed, and reading it whatever way that is.

use std::io::{self, BufReader, Read};

/// The compression of a layer blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// To be told from the first bytes.
    #[default]
    Detect,
    /// A plain tar.
    None,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
}

/// Bytes read from the blob at a time.
const CHUNK: usize = 128 * 1024;
/// The largest window a zstd frame may ask for, as a power of two: what the format's own tools accept.
const ZSTD_WINDOW_LOG: u32 = 27;

impl Compression {
    /// What a media type says; the first bytes decide where it says nothing, or the wrong thing.
    pub fn from_media_type(media_type: &str) -> Self {
        let base = media_type.split(';').next().unwrap_or_default().trim();
        if base.ends_with("+gzip") || base.ends_with(".gzip") {
            Self::Gzip
        } else if base.ends_with("+zstd") || base.ends_with(".zstd") {
            Self::Zstd
        } else if base.ends_with(".tar") {
            Self::None
        } else {
            Self::Detect
        }
    }

    /// Recognises the compression from the beginning of a blob; a tar begins with neither mark.
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // Frames that only carry the producer's data precede chunked zstd blobs.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The uncompressed bytes of `blob`.
///
/// The first bytes win over what `told` says: registries are known to serve layers under the wrong type.
pub(crate) fn decompress<'a, R: Read + Send + 'a>(
    blob: R,
    told: Compression,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let (start, blob) = peek(blob)?;
    let seen = Compression::sniff(&start);
    let blob = BufReader::with_capacity(CHUNK, io::Cursor::new(start).chain(blob));
    if told != Compression::Detect && told != seen {
        tracing::debug!(
            ?told,
            ?seen,
            "a layer is compressed otherwise than its type says"
        );
    }
    Ok(match seen {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(blob)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::None | Compression::Detect => Box::new(blob),
    })
}

/// Takes the first four bytes, or what there is of them, however few a read gives.
fn peek<R: Read>(mut blob: R) -> io::Result<(Vec<u8>, R)> {
    let mut start = Vec::with_capacity(4);
    blob.by_ref().take(4).read_to_end(&mut start)?;
    Ok((start, blob))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(data).unwrap();
        e.finish().unwrap()
    }

    fn read(blob: &[u8], told: Compression) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(blob, told)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn reads_every_kind_whatever_it_was_told() {
        let zst = zstd::encode_all(&b"hello"[..], 1).unwrap();
        let mut two = gzip(b"hel");
        two.extend(gzip(b"lo"));
        let mut skippable = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        skippable.extend(&zst);
        for blob in [&b"hello"[..], &two, &zst, &skippable] {
            for told in [
                Compression::Detect,
                Compression::Gzip,
                Compression::Zstd,
                Compression::None,
            ] {
                assert_eq!(read(blob, told).unwrap(), b"hello");
            }
        }
        assert_eq!(read(b"", Compression::Gzip).unwrap(), b"");
    }

    #[test]
    fn a_cut_or_damaged_blob_is_an_error() {
        let blob = gzip(&[7; 10_000]);
        assert!(read(&blob[..blob.len() - 3], Compression::Gzip).is_err());
        let zst = zstd::encode_all(&[7u8; 10_000][..], 1).unwrap();
        assert!(read(&zst[..zst.len() - 1], Compression::Zstd).is_err());
    }

    struct Dribble<'a>(&'a [u8]);
    impl Read for Dribble<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(buf.len()).min(1);
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn recognises_a_blob_that_comes_byte_by_byte() {
        let blob = gzip(b"hello");
        let mut out = Vec::new();
        decompress(Dribble(&blob), Compression::Detect)
            .unwrap()
            .read_to_end(&mut out)
            .unwrap();
        assert_eq!(out, b"hello");
    }

    #[test]
    fn media_types() {
        use Compression::*;
        for (t, c) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip", Gzip),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Zstd),
            ("application/vnd.oci.image.layer.v1.tar", None),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Gzip),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                Gzip,
            ),
            ("application/octet-stream", Detect),
        ] {
            assert_eq!(Compression::from_media_type(t), c, "{t}");
        }
    }
}
