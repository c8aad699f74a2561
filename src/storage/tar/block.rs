//! The fields of one 512-byte tar header block.

use super::TarError;

/// The size of a block.
pub(crate) const BLOCK: usize = 512;

/// One header block whose checksum was found right.
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Checks the block's sum; old writers added signed bytes.
    pub(crate) fn new(block: &'a [u8; BLOCK]) -> Result<Self, TarError> {
        let told = number("checksum", &block[148..156])?;
        let (mut unsigned, mut signed) = (0u64, 0i64);
        for (i, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&i) { b' ' } else { *byte };
            unsigned += u64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if told == unsigned.cast_signed() || told == signed {
            Ok(Self(block))
        } else {
            Err(TarError::Checksum)
        }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The name, with the prefix that POSIX archives split off long ones.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match (&self.0[257..263], &self.0[508..512]) {
            (b"ustar\0", b"tar\0") => text(&self.0[345..476]),
            (b"ustar\0", _) => text(&self.0[345..500]),
            _ => &[],
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(crate) fn mode(&self) -> Result<i64, TarError> {
        number("mode", &self.0[100..108])
    }

    pub(crate) fn uid(&self) -> Result<i64, TarError> {
        number("uid", &self.0[108..116])
    }

    pub(crate) fn gid(&self) -> Result<i64, TarError> {
        number("gid", &self.0[116..124])
    }

    pub(crate) fn size(&self) -> Result<u64, TarError> {
        size("size", &self.0[124..136])
    }

    pub(crate) fn mtime(&self) -> Result<i64, TarError> {
        number("mtime", &self.0[136..148])
    }

    /// Major and minor numbers of a device.
    pub(crate) fn device(&self) -> Result<(u32, u32), TarError> {
        let part = |field, bytes| {
            let value = number(field, bytes)?;
            u32::try_from(value).map_err(|_| TarError::Range {
                field,
                value: value.to_string(),
            })
        };
        Ok((
            part("devmajor", &self.0[329..337])?,
            part("devminor", &self.0[337..345])?,
        ))
    }

    /// The first segments of the sparse map in an old GNU header.
    pub(crate) fn gnu_segments(&self) -> Result<Vec<(u64, u64)>, TarError> {
        sparse_segments(&self.0[386..482])
    }

    /// Whether blocks of more segments follow.
    pub(crate) fn gnu_extended(&self) -> bool {
        self.0[482] != 0
    }

    /// The size of a file with holes, holes and all.
    pub(crate) fn gnu_real_size(&self) -> Result<u64, TarError> {
        size("realsize", &self.0[483..495])
    }
}

/// The segments in an array of old GNU sparse fields, up to the first unused one.
pub(crate) fn sparse_segments(fields: &[u8]) -> Result<Vec<(u64, u64)>, TarError> {
    let mut segments = Vec::new();
    for field in fields.chunks_exact(24) {
        if field[0] == 0 {
            break;
        }
        segments.push((
            size("sparse offset", &field[..12])?,
            size("sparse length", &field[12..])?,
        ));
    }
    Ok(segments)
}

/// The bytes before the first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

fn size(name: &'static str, field: &[u8]) -> Result<u64, TarError> {
    let value = number(name, field)?;
    u64::try_from(value).map_err(|_| TarError::Range {
        field: name,
        value: value.to_string(),
    })
}

/// An octal number, or a big-endian one marked by the highest bit. An empty field is zero.
fn number(name: &'static str, field: &[u8]) -> Result<i64, TarError> {
    let bad = || TarError::Number {
        field: name,
        value: String::from_utf8_lossy(field).into_owned(),
    };
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i64 = if negative { -1 } else { 0 };
        for (i, byte) in field.iter().enumerate() {
            let byte = match (i, negative) {
                (0, true) => byte | 0x80,
                (0, false) => byte & 0x7f,
                _ => *byte,
            };
            if value.checked_mul(256).is_none() {
                return Err(bad());
            }
            value = value << 8 | i64::from(byte);
        }
        return Ok(value);
    }
    let digits = field.trim_ascii_start();
    let digits = digits
        .split(|b| *b == 0 || *b == b' ')
        .next()
        .unwrap_or_default();
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value
            .checked_mul(8)
            .and_then(|v| v.checked_add(i64::from(digit - b'0')))
            .ok_or_else(bad),
        _ => Err(bad()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"   755 \0", 0o755),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"\x80\0\0\0\0\0\x01\0", 256),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
            (b"77777777", 0o77777777),
        ] {
            assert_eq!(number("x", field).unwrap(), value);
        }
        for field in [&b"12345678"[..], b"-1\0\0\0\0\0\0", b"abc\0\0\0\0\0"] {
            assert!(number("x", field).is_err());
        }
        assert!(number("x", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn a_wrong_sum_is_refused() {
        let mut header = tar::Header::new_ustar();
        header.set_path("a/b").unwrap();
        header.set_cksum();
        let mut block = *header.as_bytes();
        assert_eq!(Header::new(&block).unwrap().path(), b"a/b");
        block[0] ^= 1;
        assert!(matches!(Header::new(&block), Err(TarError::Checksum)));
    }
}
