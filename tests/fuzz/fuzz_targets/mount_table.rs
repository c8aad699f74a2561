//! The kernel's table of mounts, in which tenants choose names.
#![no_main]

use std::path::Path;

use corten::oci::mountinfo::MountTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let table = MountTable::parse(text);
    for path in ["/", "/a/b", "/var/lib/kubelet/pods"] {
        if let Some(mount) = table.covering(Path::new(path)) {
            assert!(Path::new(path).starts_with(&mount.path));
        }
    }
});
