//! The head of a request for a stream.
#![no_main]

use corten::stream::upgrade;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (String, Vec<(String, Vec<u8>)>)| {
    let (uri, pairs) = input;
    let Ok(uri) = uri.parse::<Uri>() else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().take(64) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    if let Err(refusal) = upgrade::read(&Method::GET, &uri, &headers) {
        assert!(refusal.status.is_client_error());
    }
});
