//! Answers of plugins: whatever is taken is consistent in itself, and survives being recorded.
#![no_main]

use corten::network::cni::result::{CniError, CniResult};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Some(error) = CniError::parse(text) {
        assert!(error.to_string().contains(&format!("code {}", error.code)));
    }
    let Ok(result) = CniResult::parse(text) else {
        return;
    };
    for ip in &result.ips {
        assert!(ip.interface.is_none_or(|at| at < result.interfaces.len()));
        let network = ip.address.network();
        assert_eq!(network, network.network());
    }
    let record = serde_json::to_vec(&result).expect("a result is plain data");
    let again: CniResult = serde_json::from_slice(&record).expect("what was written can be read");
    assert_eq!(again, result);
});
