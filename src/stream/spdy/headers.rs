//! The headers of a stream, and the block they travel in once it is inflated.

use thiserror::Error;

/// The most headers a stream can have. Kubernetes' clients send three.
pub const MAX_HEADERS: usize = 64;
/// The longest name of a header.
pub const MAX_NAME: usize = 256;
/// The longest value of a header.
pub const MAX_VALUE: usize = 8 << 10;

/// What is wrong with a block of headers.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    /// It ends within a header.
    #[error("the headers end too early")]
    Short,
    /// It goes on behind the last header.
    #[error("{0} bytes follow the headers")]
    Trailing(usize),
    /// It has more than [`MAX_HEADERS`].
    #[error("{0} headers are more than {MAX_HEADERS}")]
    TooMany(u32),
    /// A name is longer than [`MAX_NAME`], or empty.
    #[error("a header's name has {0} bytes, not 1 to {MAX_NAME}")]
    NameLength(u32),
    /// A value is longer than [`MAX_VALUE`].
    #[error("the value of header {name:?} has {length} bytes, more than {MAX_VALUE}")]
    ValueLength {
        /// Whose value.
        name: String,
        /// How long it is.
        length: u32,
    },
    /// A name has something else in it than visible characters without capitals.
    #[error("{0:?} is no name of a header")]
    Name(Vec<u8>),
    /// A name comes twice.
    #[error("header {0:?} comes twice")]
    Twice(String),
}

/// Headers by name, in the order they came. Names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.0.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// A header's first value, when it has one and it is text. `name` is in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(n, _)| n == name)?;
        // More values follow behind a NUL.
        let first = value.split(|&b| b == 0).next()?;
        std::str::from_utf8(first).ok()
    }

    /// Reads a block.
    pub fn parse(block: &[u8]) -> Result<Self, HeaderError> {
        let mut rest = block;
        let count = number(&mut rest)?;
        if count as usize > MAX_HEADERS {
            return Err(HeaderError::TooMany(count));
        }
        let mut headers = Self(Vec::with_capacity(count as usize));
        for _ in 0..count {
            let length = number(&mut rest)?;
            if length == 0 || length as usize > MAX_NAME {
                return Err(HeaderError::NameLength(length));
            }
            let name = bytes(&mut rest, length)?;
            if !name
                .iter()
                .all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase())
            {
                return Err(HeaderError::Name(name.to_vec()));
            }
            let name = String::from_utf8_lossy(name).into_owned();
            let length = number(&mut rest)?;
            if length as usize > MAX_VALUE {
                return Err(HeaderError::ValueLength { name, length });
            }
            let value = bytes(&mut rest, length)?.to_vec();
            if headers.0.iter().any(|(n, _)| *n == name) {
                return Err(HeaderError::Twice(name));
            }
            headers.0.push((name, value));
        }
        if !rest.is_empty() {
            return Err(HeaderError::Trailing(rest.len()));
        }
        Ok(headers)
    }

    /// The block for these headers.
    pub fn to_block(&self) -> Vec<u8> {
        let mut block = Vec::new();
        let mut put = |number: usize| block.extend_from_slice(&(number as u32).to_be_bytes());
        put(self.0.len());
        for (name, value) in &self.0 {
            for text in [name.as_bytes(), value] {
                block.extend_from_slice(&(text.len() as u32).to_be_bytes());
                block.extend_from_slice(text);
            }
        }
        block
    }
}

fn number(rest: &mut &[u8]) -> Result<u32, HeaderError> {
    let (number, behind) = rest.split_first_chunk().ok_or(HeaderError::Short)?;
    *rest = behind;
    Ok(u32::from_be_bytes(*number))
}

fn bytes<'a>(rest: &mut &'a [u8], length: u32) -> Result<&'a [u8], HeaderError> {
    let (bytes, behind) = rest
        .split_at_checked(length as usize)
        .ok_or(HeaderError::Short)?;
    *rest = behind;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_of_many_values() {
        let headers = Headers::new().with("Port", "80").with("two", "a\0b");
        assert_eq!(headers.get("port"), Some("80"));
        assert_eq!(headers.get("two"), Some("a"));
        assert_eq!(headers.get("three"), None);
        assert_eq!(Headers::new().with("x", [0xff]).get("x"), None);
    }

    #[test]
    fn bounds() {
        let refused = |headers: &Headers| Headers::parse(&headers.to_block()).unwrap_err();
        let many = (0..=MAX_HEADERS).fold(Headers::new(), |h, i| h.with(&i.to_string(), ""));
        assert_eq!(refused(&many), HeaderError::TooMany(65));
        let name = Headers::new().with(&"n".repeat(MAX_NAME + 1), "");
        assert_eq!(refused(&name), HeaderError::NameLength(257));
        let empty = Headers::new().with("", "");
        assert_eq!(refused(&empty), HeaderError::NameLength(0));
        let value = Headers::new().with("v", vec![b'x'; MAX_VALUE + 1]);
        assert!(matches!(refused(&value), HeaderError::ValueLength { .. }));
        let twice = Headers::new().with("a", "").with("a", "");
        assert_eq!(refused(&twice), HeaderError::Twice("a".to_owned()));
        let capital = Headers(vec![("A".to_owned(), Vec::new())]);
        assert_eq!(refused(&capital), HeaderError::Name(b"A".to_vec()));
        let mut block = Headers::new().to_block();
        block.push(0);
        assert_eq!(Headers::parse(&block), Err(HeaderError::Trailing(1)));
        assert_eq!(Headers::parse(&[0, 0, 0, 1]), Err(HeaderError::Short));
        // A length beyond all memory costs none.
        assert_eq!(
            Headers::parse(&[0, 0, 0, 1, 255, 255, 255, 255]),
            Err(HeaderError::NameLength(u32::MAX))
        );
    }

    proptest! {
        #[test]
        fn blocks_round_trip(
            headers in prop::collection::btree_map("[a-z0-9:-]{1,20}", any::<Vec<u8>>(), 0..10),
        ) {
            let headers = Headers(headers.into_iter().collect());
            prop_assert_eq!(Headers::parse(&headers.to_block()), Ok(headers));
        }

        #[test]
        fn arbitrary_blocks_never_panic(block in any::<Vec<u8>>()) {
            if let Ok(headers) = Headers::parse(&block) {
                prop_assert_eq!(headers.to_block(), block);
            }
        }
    }
}
