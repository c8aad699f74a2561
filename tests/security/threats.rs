//! The threat model names tests: each of them is there.

use std::path::Path;

use crate::support::check_is_there;

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let text = include_str!("../../docs/security.md");
    let mut count = 0;
    for line in text.lines().filter(|line| line.starts_with('|')) {
        // Tests are what stands in code spans of a table and has a path.
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.contains("::"))
        {
            check_is_there(name);
            count += 1;
        }
    }
    assert!(count >= 30, "only {count} tests are named");
}

#[test]
fn every_fuzz_target_is_named_with_its_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = include_str!("../../docs/security.md");
    let (_, named) = text.split_once("## Fuzzing").unwrap();
    for dir in ["tests/fuzz/fuzz_targets", "conmon/fuzz/fuzz_targets"] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().replace(".rs", "");
            assert!(named.contains(&format!("`{name}`")), "{name} is not named");
            let corpus = root.join(format!("tests/fuzz/corpus/{name}.tar.gz"));
            assert!(corpus.is_file(), "{name} has no corpus");
        }
    }
}
