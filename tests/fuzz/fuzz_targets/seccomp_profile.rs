//! Profiles of system call filters: whatever is taken can be compiled and written.
#![no_main]

use corten::oci::{
    capability::CapSet,
    seccomp::{Profile, Target},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(profile) = Profile::parse(text) else {
        return;
    };
    for capabilities in [CapSet::EMPTY, CapSet::ALL] {
        let filter = profile.compile(&Target {
            capabilities,
            kernel: (6, 1),
        });
        let json = serde_json::to_vec(&filter).expect("a filter is plain data");
        assert!(!json.is_empty());
    }
});
