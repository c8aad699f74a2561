//! What a client asks for a WebSocket with, and what it is answered.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What RFC 6455 has added to a key.
const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Most subprotocols that are looked at.
const OFFERS_MAX: usize = 32;

/// A request that cannot be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not the version there is.
    #[error("only version 13 of WebSocket is spoken here")]
    Version,
    /// No key, or not one.
    #[error("Sec-WebSocket-Key is missing or not 16 bytes in base64")]
    Key,
}

/// The answer to the key of a client's request.
pub fn accept(headers: &HeaderMap) -> Result<HeaderValue, HandshakeError> {
    let value = |name: HeaderName| headers.get(name).map(|value| value.as_bytes().trim_ascii());
    if value(header::SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(HandshakeError::Version);
    }
    let key = value(header::SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?;
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(HandshakeError::Key);
    }
    // The protocol's own choice; it guards against mistakes, not against people.
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, SALT].concat());
    HeaderValue::from_str(&STANDARD.encode(hash)).map_err(|_| HandshakeError::Key)
}

/// The subprotocols that a client names, in its order.
pub fn offers(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .take(OFFERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_key_is_answered_as_the_standard_says() {
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let version = ("sec-websocket-version", "13");
        assert_eq!(
            accept(&headers(&[key, version])).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(accept(&headers(&[key])), Err(HandshakeError::Version));
        assert_eq!(accept(&headers(&[version])), Err(HandshakeError::Key));
        let short = ("sec-websocket-key", "c2hvcnQ=");
        assert_eq!(
            accept(&headers(&[short, version])),
            Err(HandshakeError::Key)
        );
    }

    #[test]
    fn offers_come_in_one_header_or_in_several() {
        let all = headers(&[
            ("sec-websocket-protocol", "a, b"),
            ("sec-websocket-protocol", "c,,"),
        ]);
        assert_eq!(offers(&all), ["a", "b", "c"]);
        assert!(offers(&HeaderMap::new()).is_empty());
        let many = "x,".repeat(1000);
        assert_eq!(
            offers(&headers(&[("sec-websocket-protocol", &many)])).len(),
            OFFERS_MAX
        );
    }
}
