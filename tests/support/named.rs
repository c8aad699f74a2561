//! Tests that documents name.

use std::path::{Path, PathBuf};

/// The file of a module: `security::paths` is in `tests/security/paths.rs`, `oci::rootfs` in `src/oci/rootfs.rs`.
fn file_of(module: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = module.replace("::", "/");
    [
        format!("tests/{path}.rs"),
        format!("tests/{path}/main.rs"),
        format!("tests/{path}/mod.rs"),
        format!("src/{path}.rs"),
        format!("src/{path}/mod.rs"),
        format!("conmon/src/{path}.rs"),
        format!("conmon/tests/{path}.rs"),
    ]
    .iter()
    .map(|path| root.join(path))
    .find(|path| path.is_file())
}

/// Panics unless there is a test of this name.
pub(crate) fn check_is_there(name: &str) {
    let (module, test) = name.rsplit_once("::").unwrap();
    // Tests have a file of their own, or stand below what they test.
    let file = file_of(module)
        .or_else(|| file_of(module.trim_end_matches("::tests")))
        .unwrap_or_else(|| panic!("{name}: no file of {module}"));
    let source = std::fs::read_to_string(&file).unwrap();
    assert!(
        source.contains(&format!("fn {test}(")),
        "{name} is not in {}",
        file.display()
    );
}
