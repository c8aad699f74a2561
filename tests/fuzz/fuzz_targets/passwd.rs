//! Lines of `/etc/passwd` and `/etc/group` as an image may bring them.
#![no_main]

use corten::oci::user::passwd::{MAX_ID, accounts, groups};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    for account in accounts(text) {
        assert!(account.uid <= MAX_ID && account.gid <= MAX_ID);
        assert!(!account.name.is_empty() && !account.name.contains([':', '\n']));
        assert!(!account.home.contains(char::is_control));
        for group in groups(text) {
            assert!(group.gid <= MAX_ID);
            let _ = group.has_member(&account.name);
        }
    }
});
