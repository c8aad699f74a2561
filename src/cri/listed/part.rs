//! Writing protobuf from borrowed values, twice over: once to know how long it is, once for real.

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// A message that can be written.
pub(super) trait Part {
    /// Writes the fields that differ from their defaults.
    fn put(&self, sink: &mut impl Sink);

    /// Bytes of what is written.
    fn length(&self) -> usize {
        let mut length = Length(0);
        self.put(&mut length);
        length.0
    }

    /// All of it.
    fn written(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length());
        self.put(&mut Writer(&mut bytes));
        bytes
    }
}

/// What fields are written to.
pub(super) trait Sink {
    /// A number, where it is not 0.
    fn number(&mut self, tag: u32, value: u64);
    /// A text, where it is not empty.
    fn text(&mut self, tag: u32, value: &str);
    /// Fields that were written before.
    fn fields(&mut self, written: &[u8]);
    /// A message, even where it is empty.
    fn part(&mut self, tag: u32, part: &impl Part);

    /// A map, as messages of key and value.
    fn map<'a>(&mut self, tag: u32, entries: impl IntoIterator<Item = (&'a String, &'a String)>) {
        for (key, value) in entries {
            self.part(tag, &Entry { key, value });
        }
    }
}

struct Entry<'a> {
    key: &'a str,
    value: &'a str,
}

impl Part for Entry<'_> {
    fn put(&self, sink: &mut impl Sink) {
        sink.text(1, self.key);
        sink.text(2, self.value);
    }
}

/// Counts the bytes.
pub(super) struct Length(pub(super) usize);

impl Length {
    fn delimited(&mut self, tag: u32, length: usize) {
        self.0 += key_len(tag) + encoded_len_varint(length as u64) + length;
    }
}

impl Sink for Length {
    fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.0 += key_len(tag) + encoded_len_varint(value);
        }
    }

    fn text(&mut self, tag: u32, value: &str) {
        if !value.is_empty() {
            self.delimited(tag, value.len());
        }
    }

    fn fields(&mut self, written: &[u8]) {
        self.0 += written.len();
    }

    fn part(&mut self, tag: u32, part: &impl Part) {
        self.delimited(tag, part.length());
    }
}

/// Writes the bytes.
pub(super) struct Writer<'a, B: BufMut>(pub(super) &'a mut B);

impl<B: BufMut> Writer<'_, B> {
    fn begin(&mut self, tag: u32, length: usize) {
        encode_key(tag, WireType::LengthDelimited, self.0);
        encode_varint(length as u64, self.0);
    }
}

impl<B: BufMut> Sink for Writer<'_, B> {
    fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            encode_key(tag, WireType::Varint, self.0);
            encode_varint(value, self.0);
        }
    }

    fn text(&mut self, tag: u32, value: &str) {
        if !value.is_empty() {
            self.begin(tag, value.len());
            self.0.put_slice(value.as_bytes());
        }
    }

    fn fields(&mut self, written: &[u8]) {
        self.0.put_slice(written);
    }

    fn part(&mut self, tag: u32, part: &impl Part) {
        self.begin(tag, part.length());
        part.put(self);
    }
}
