//! Names of layer entries: whatever is accepted is plain and stays inside its layer.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use corten::storage::entry::{MAX_NAME, MAX_PATH, Meaning, link_target, meaning};
use libfuzzer_sys::fuzz_target;

fn check(path: &Path) {
    assert!(path.as_os_str().len() <= MAX_PATH);
    assert!(!path.as_os_str().as_bytes().contains(&0));
    for component in path.components() {
        let Component::Normal(name) = component else {
            panic!("{path:?} holds {component:?}");
        };
        assert!(name.len() <= MAX_NAME);
    }
}

fuzz_target!(|raw: &[u8]| {
    match meaning(raw) {
        Ok(Meaning::Object(path)) => {
            check(path.as_path());
            assert_eq!(path.parent().join(path.name()), path.as_path());
            assert!(!path.name().as_bytes().starts_with(b".wh."));
            // What was made plain means the same again.
            let again = meaning(path.as_path().as_os_str().as_bytes());
            assert_eq!(again, Ok(Meaning::Object(path)));
        }
        Ok(Meaning::Whiteout(path)) => {
            check(path.as_path());
            assert_ne!(path.name(), OsStr::new(""));
        }
        Ok(Meaning::Opaque(path)) => check(&path),
        Ok(Meaning::Top | Meaning::Nothing) | Err(_) => {}
    }
    if let Ok(path) = link_target(raw) {
        check(path.as_path());
    }
});
