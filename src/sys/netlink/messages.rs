//! Messages of netlink: written, and read as far as they are whole. Pure.

use std::io;

const HEADER: usize = 16;
/// Says of an attribute that it holds others.
const NESTED: u16 = 1 << 15;

/// A message being written.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
    flags: u16,
}

impl Request {
    /// A message of a kind, without its header yet.
    pub fn new(kind: u16, flags: u16) -> Self {
        let flags = flags | libc::NLM_F_REQUEST as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        Self { bytes, flags }
    }

    /// What comes before the attributes.
    pub fn header(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.align();
    }

    /// An attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = 4 + value.len();
        self.bytes.extend((len as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.align();
    }

    /// An attribute that is a text.
    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    /// An attribute made of what `fill` adds.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        fill(self);
        let len = (self.bytes.len() - at) as u16;
        put(&mut self.bytes, at, &len.to_ne_bytes());
    }

    /// The same, to be acknowledged.
    pub fn acknowledged(mut self) -> Self {
        self.flags |= libc::NLM_F_ACK as u16;
        put(&mut self.bytes, 6, &self.flags.to_ne_bytes());
        self
    }

    /// Whether it is answered by a list.
    pub fn is_dump(&self) -> bool {
        // NLM_F_EXCL is one of the two bits.
        let dump = libc::NLM_F_DUMP as u16;
        self.flags & dump == dump
    }

    /// Whether the answer ends with an acknowledgement.
    pub fn is_acknowledged(&self) -> bool {
        self.flags & libc::NLM_F_ACK as u16 != 0
    }

    /// The whole message.
    pub fn finish(&mut self, sequence: u32) -> &[u8] {
        let len = self.bytes.len() as u32;
        put(&mut self.bytes, 0, &len.to_ne_bytes());
        put(&mut self.bytes, 8, &sequence.to_ne_bytes());
        &self.bytes
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}

/// A message that was received.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Of what kind.
    pub kind: u16,
    /// The request that it answers.
    pub sequence: u32,
    /// All but its header.
    pub payload: &'a [u8],
}

/// The messages of a datagram; ends at the first that is not whole.
pub fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let message = rest.get(..len)?;
        let found = Message {
            kind: u16_at(message, 4)?,
            sequence: u32_at(message, 8)?,
            payload: message.get(HEADER..)?,
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

/// The attributes of a message; ends at the first that is not whole.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..len)?;
        // The two highest bits say how the value is written.
        let kind = u16_at(rest, 2)? & 0x3fff;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A text up to its end, the null byte.
pub fn text(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The end of a dump carries an error where it could not begin.
pub fn end_of(payload: &[u8]) -> io::Result<()> {
    match u32_at(payload, 0).map(|code| code as i32) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Ok(()),
    }
}

/// An acknowledgement carries the error 0.
pub fn error_of(payload: &[u8]) -> io::Result<()> {
    match u32_at(payload, 0).map(|code| code as i32) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::Error::other("a netlink error is cut short")),
    }
}

/// A number in a message.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_hold_others() {
        let mut request = Request::new(1, 0);
        request.header(&[7; 5]);
        request.nested(3, |inner| {
            inner.text(1, "veth");
            inner.nested(2, |deep| deep.attribute(9, &[1, 2, 3]));
        });
        request.attribute(4, &[8]);
        let bytes = request.finish(1).to_vec();
        let payload = messages(&bytes).next().unwrap().payload;
        let outer: Vec<_> = attributes(&payload[8..]).collect();
        assert_eq!((outer[0].0, outer[1]), (3, (4, &[8][..])));
        let inner: Vec<_> = attributes(outer[0].1).collect();
        assert_eq!(text(inner[0].1), "veth");
        assert_eq!(attributes(inner[1].1).next(), Some((9, &[1, 2, 3][..])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..40, any::<u8>()], 0..200)) {
            for message in messages(&bytes) {
                let _ = (error_of(message.payload), end_of(message.payload), text(message.payload));
            }
            prop_assert!(attributes(&bytes).map(|(_, value)| value.len()).sum::<usize>() <= bytes.len());
        }

        #[test]
        fn requests_are_messages(kind: u16, value in proptest::collection::vec(any::<u8>(), 0..50)) {
            let mut request = Request::new(kind, 0);
            request.attribute(7, &value);
            let bytes = request.finish(5).to_vec();
            let message = messages(&bytes).next().unwrap();
            prop_assert_eq!((message.kind, message.sequence), (kind, 5));
            prop_assert_eq!(attributes(message.payload).next(), Some((7, &value[..])));
        }
    }
}
