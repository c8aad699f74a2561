//! Network configurations: whatever is taken has plain names, and survives being recorded.
#![no_main]

use corten::network::cni::conf::ConfList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let list = ConfList::parse_list(text).map(|parsed| parsed.list).ok();
    let single = ConfList::parse_single(text).ok();
    for list in list.into_iter().chain(single) {
        let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        assert!(plain(&list.name));
        assert!(list.plugins.iter().all(|plugin| plain(&plugin.kind)));
        assert!(list.versions.contains(&list.version));
        let record = serde_json::to_vec(&list).expect("a list is plain data");
        let again: ConfList =
            serde_json::from_slice(&record).expect("what was written can be read");
        assert_eq!(again, list);
    }
});
