//! The records of PAX extended headers.

use super::TarError;

/// What an extended header says about the entry that follows; later records win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<i64>,
    pub(crate) gid: Option<i64>,
    pub(crate) mtime: Option<(i64, u32)>,
    /// Extended attributes, in the order given.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: PaxSparse,
}

/// The records with which GNU tar describes a file with holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PaxSparse {
    /// Format 1.0 and later.
    pub(crate) version: (Option<u64>, Option<u64>),
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) real_size: Option<u64>,
    /// Formats 0.0 and 0.1: offsets and lengths in turn.
    pub(crate) map: Vec<u64>,
    /// A map was given, though it may be empty.
    pub(crate) mapped: bool,
}

/// The record prefix under which extended attributes travel.
const XATTR: &[u8] = b"SCHILY.xattr.";

impl Pax {
    /// Adds the records of one extended header. A value is told by its length, so it may hold newlines.
    pub(crate) fn add(&mut self, mut data: &[u8]) -> Result<(), TarError> {
        while !data.is_empty() {
            // Some writers pad with NULs.
            if data.iter().all(|b| *b == 0) {
                break;
            }
            let (key, value, rest) = record(data).ok_or(TarError::Pax)?;
            self.record(key, value)?;
            data = rest;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        let text = |v: &[u8]| (!v.is_empty()).then(|| v.to_vec());
        match key {
            b"path" => self.path = text(value),
            b"linkpath" => self.link = text(value),
            b"size" => self.size = number("size", value)?,
            b"uid" => self.uid = signed("uid", value)?,
            b"gid" => self.gid = signed("gid", value)?,
            b"mtime" => self.mtime = time(value)?,
            b"GNU.sparse.major" => self.sparse.version.0 = number("GNU.sparse.major", value)?,
            b"GNU.sparse.minor" => self.sparse.version.1 = number("GNU.sparse.minor", value)?,
            b"GNU.sparse.name" => self.sparse.name = text(value),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
                self.sparse.real_size = number("GNU.sparse.size", value)?;
            }
            b"GNU.sparse.map" => {
                self.sparse.mapped = true;
                self.sparse.map.clear();
                for part in value.split(|b| *b == b',').filter(|p| !p.is_empty()) {
                    self.sparse.map.extend(number("GNU.sparse.map", part)?);
                }
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                self.sparse.mapped = true;
                self.sparse.map.extend(number("GNU.sparse.offset", value)?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// Splits `LENGTH KEY=VALUE\n` off the front.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(digits(&data[..space])?).ok()?;
    if length <= space + 1 || length > data.len() {
        return None;
    }
    let (body, newline) = data[space + 1..length].split_at(length - space - 2);
    if newline != b"\n" {
        return None;
    }
    let equals = body.iter().position(|b| *b == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    (!key.is_empty() && !key.contains(&0)).then_some((key, value, &data[length..]))
}

pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// A decimal number; an empty value takes an earlier record back.
fn number(field: &'static str, value: &[u8]) -> Result<Option<u64>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    digits(value).map(Some).ok_or_else(|| TarError::Number {
        field,
        value: String::from_utf8_lossy(value).chars().take(100).collect(),
    })
}

fn signed(field: &'static str, value: &[u8]) -> Result<Option<i64>, TarError> {
    let Some(number) = number(field, value)? else {
        return Ok(None);
    };
    i64::try_from(number)
        .map(Some)
        .map_err(|_| TarError::Range {
            field,
            value: number.to_string(),
        })
}

/// Seconds with an optional fraction, as seconds and the nanoseconds after them.
fn time(value: &[u8]) -> Result<Option<(i64, u32)>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    parse_time(value).map(Some).ok_or_else(|| TarError::Number {
        field: "mtime",
        value: String::from_utf8_lossy(value).chars().take(100).collect(),
    })
}

fn parse_time(value: &[u8]) -> Option<(i64, u32)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |b| *b == b'.');
    let seconds = i64::try_from(digits(parts.next()?)?).ok()?;
    let mut nanos = 0u32;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for i in 0..9 {
            nanos = nanos * 10 + u32::from(fraction.get(i).map_or(0, |d| d - b'0'));
        }
    }
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        // Nanoseconds always count forward.
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(key: &str, value: &[u8]) -> Vec<u8> {
        let body = [format!(" {key}=").as_bytes(), value, b"\n"].concat();
        let mut length = body.len() + 1;
        while length != body.len() + length.to_string().len() {
            length = body.len() + length.to_string().len();
        }
        [length.to_string().as_bytes(), &body].concat()
    }

    #[test]
    fn reads_the_records_it_knows() {
        let mut pax = Pax::default();
        let data = [
            build("path", b"a=b\nc"),
            build("mtime", b"1700000000.25"),
            build("uid", b"70000"),
            build("SCHILY.xattr.security.capability", b"\x01\n\0=\n"),
            build("comment", b"whatever"),
        ]
        .concat();
        pax.add(&data).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a=b\nc"[..]));
        assert_eq!(pax.mtime, Some((1_700_000_000, 250_000_000)));
        assert_eq!(pax.uid, Some(70_000));
        assert_eq!(
            pax.xattrs,
            [(b"security.capability".to_vec(), b"\x01\n\0=\n".to_vec())]
        );
        pax.add(&build("path", b"")).unwrap();
        assert_eq!(pax.path, None);
    }

    #[test]
    fn times_before_the_epoch_count_forward() {
        assert_eq!(parse_time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(parse_time(b"-1"), Some((-1, 0)));
        assert_eq!(parse_time(b"1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(parse_time(b"1.x"), None);
        assert_eq!(parse_time(b"99999999999999999999"), None);
    }

    #[test]
    fn damaged_records_are_errors() {
        for bad in [
            &b"5 a=b\n"[..],
            b"x",
            b"7 a=b",
            b"99 a=b\n",
            b"4 =\n",
            b"6 abc\n",
        ] {
            assert!(Pax::default().add(bad).is_err(), "{bad:?}");
        }
        assert!(Pax::default().add(&build("size", b"-1")).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Pax::default().add(&data);
        }

        #[test]
        fn values_pass_whole(value in prop::collection::vec(any::<u8>(), 1..200)) {
            let mut pax = Pax::default();
            pax.add(&build("SCHILY.xattr.user.x", &value)).unwrap();
            prop_assert_eq!(&pax.xattrs[0].1, &value);
        }
    }
}
