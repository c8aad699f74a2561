//! Values to bytes and back.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use super::{MAX_ITEMS, Version, WireError};

/// A value that can travel.
pub trait Wire: Sized {
    /// Appends the value.
    fn encode(&self, out: &mut Encoder);
    /// Reads the value back.
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError>;
}

/// Collects the bytes of a frame.
#[derive(Debug)]
pub struct Encoder {
    version: Version,
    bytes: Vec<u8>,
}

impl Encoder {
    /// Nothing yet, of a frame of this version.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            bytes: Vec::new(),
        }
    }

    /// The frame's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a length. Lengths beyond `u32` make the frame too long anyway.
    pub fn length(&mut self, len: usize) {
        self.raw(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }

    /// Appends bytes after their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    /// All that was appended.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads a frame's bytes in order.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    version: Version,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first of `bytes`, which are of a frame of this version.
    pub fn new(version: Version, bytes: &'a [u8]) -> Self {
        Self {
            version,
            rest: bytes,
        }
    }

    /// The frame's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Takes the next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes the next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Takes a length, and the bytes it counts.
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = u32::from_le_bytes(self.array()?);
        self.take(len as usize)
    }

    /// Succeeds when nothing is left.
    pub fn finish(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            n => Err(WireError::Trailing(n)),
        }
    }
}

macro_rules! numbers {
    ($($t:ty),*) => {$(
        impl Wire for $t {
            fn encode(&self, out: &mut Encoder) {
                out.raw(&self.to_le_bytes());
            }
            fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
                Ok(Self::from_le_bytes(input.array()?))
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i32, i64);

impl Wire for bool {
    fn encode(&self, out: &mut Encoder) {
        out.raw(&[u8::from(*self)]);
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        match input.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [tag] => Err(WireError::Tag { what: "bool", tag }),
        }
    }
}

impl Wire for OsString {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(self.as_bytes());
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok(Self::from_vec(input.bytes()?.to_vec()))
    }
}

impl Wire for PathBuf {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(self.as_os_str().as_bytes());
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        OsString::decode(input).map(Into::into)
    }
}

impl Wire for String {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(self.as_bytes());
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        match std::str::from_utf8(input.bytes()?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(WireError::NotUtf8),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut Encoder) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok(if bool::decode(input)? {
            Some(T::decode(input)?)
        } else {
            None
        })
    }
}

impl<T: Wire> Wire for Box<T> {
    fn encode(&self, out: &mut Encoder) {
        T::encode(self, out);
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        T::decode(input).map(Self::new)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut Encoder) {
        out.length(self.len());
        for item in self {
            item.encode(out);
        }
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        let len = u32::decode(input)? as usize;
        if len > MAX_ITEMS {
            return Err(WireError::TooLong {
                len,
                max: MAX_ITEMS,
            });
        }
        // Grown as items arrive: a length alone must not cost memory.
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(T::decode(input)?);
        }
        Ok(items)
    }
}
