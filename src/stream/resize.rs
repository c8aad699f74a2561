//! Terminal sizes as clients send them: JSON objects one after another, `{"Width":80,"Height":24}`.

use serde::Deserialize;
use thiserror::Error;

use crate::monitor::TerminalSize;

/// The longest object that is taken. Real ones have some thirty bytes.
pub const MAX_OBJECT: usize = 1024;

/// What is wrong with a stream of sizes.
#[derive(Debug, Error)]
pub enum ResizeError {
    /// Something else than an object where one must begin.
    #[error("expected an object with the terminal's size, found byte {0:#04x}")]
    NoObject(u8),
    /// An object that does not end.
    #[error("an object with the terminal's size is longer than {MAX_OBJECT} bytes")]
    TooLong,
    /// An object that is no size.
    #[error("cannot read the terminal's size")]
    Malformed(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

/// Reads sizes from pieces of a stream, wherever it is split.
#[derive(Debug, Default)]
pub struct ResizeParser {
    /// The object that has begun. Empty between objects.
    object: Vec<u8>,
}

impl ResizeParser {
    /// A parser at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a piece and gives the newest size that is complete with it, if any. Older ones are of no use: a terminal
    /// has the size it was given last. Sizes with a zero in them mean nothing and are passed over.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<TerminalSize>, ResizeError> {
        let mut newest = None;
        for &byte in piece {
            if self.object.is_empty() && byte != b'{' {
                if byte.is_ascii_whitespace() {
                    continue;
                }
                return Err(ResizeError::NoObject(byte));
            }
            if self.object.len() == MAX_OBJECT {
                return Err(ResizeError::TooLong);
            }
            self.object.push(byte);
            // The objects are flat, and have no text in them.
            if byte == b'}' {
                let size: Size =
                    serde_json::from_slice(&self.object).map_err(ResizeError::Malformed)?;
                self.object.clear();
                if size.width > 0 && size.height > 0 {
                    newest = Some(TerminalSize {
                        width: size.width,
                        height: size.height,
                    });
                }
            }
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(width: u16, height: u16) -> Option<TerminalSize> {
        Some(TerminalSize { width, height })
    }

    #[test]
    fn sizes_one_after_another() {
        let mut parser = ResizeParser::new();
        let got = parser.push(b"{\"Width\":80,\"Height\":24}\n").unwrap();
        assert_eq!(got, size(80, 24));
        let two = b" {\"Width\":1,\"Height\":2}{\"Height\":4,\"Width\":3}";
        assert_eq!(parser.push(two).unwrap(), size(3, 4));
        assert_eq!(parser.push(b"\n").unwrap(), None);
    }

    #[test]
    fn sizes_of_nothing_are_passed_over() {
        let mut parser = ResizeParser::new();
        assert_eq!(parser.push(b"{\"Width\":0,\"Height\":24}").unwrap(), None);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        let refused = |text: &[u8]| ResizeParser::new().push(text).unwrap_err();
        assert!(matches!(refused(b"[1]"), ResizeError::NoObject(b'[')));
        assert!(matches!(refused(b"{}"), ResizeError::Malformed(_)));
        assert!(matches!(
            refused(b"{\"Width\":70000,\"Height\":1}"),
            ResizeError::Malformed(_)
        ));
        let endless = vec![b'{'; MAX_OBJECT + 1];
        assert!(matches!(refused(&endless), ResizeError::TooLong));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            sizes in prop::collection::vec((1u16.., 1u16..), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let text: String = sizes
                .iter()
                .map(|(w, h)| format!("{{\"Width\":{w},\"Height\":{h}}}\n"))
                .collect();
            let (head, tail) = text.as_bytes().split_at(cut.index(text.len()));
            let mut parser = ResizeParser::new();
            let first = parser.push(head).unwrap();
            let last = parser.push(tail).unwrap().or(first);
            let (width, height) = sizes[sizes.len() - 1];
            prop_assert_eq!(last, size(width, height));
        }

        #[test]
        fn arbitrary_bytes_never_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut parser = ResizeParser::new();
            for piece in pieces {
                if parser.push(&piece).is_err() {
                    break;
                }
            }
        }
    }
}
