//! The invariants of docs/architecture.md: each has tests, and what a look at the source can tell.

use std::path::{Path, PathBuf};

use crate::support::check_is_there;

#[test]
fn every_invariant_names_tests_that_are_there() {
    let text = include_str!("../docs/architecture.md");
    let (_, section) = text.split_once("## Invariants").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut items: Vec<(&str, usize)> = Vec::new();
    for line in section.lines() {
        let number = line.split_once(". ").map(|(number, _)| number);
        if number.is_some_and(|number| number.parse::<usize>().is_ok()) {
            items.push((line, 0));
        }
        let named = line.trim_start().strip_prefix("* `");
        if let Some(name) = named.and_then(|rest| rest.strip_suffix('`')) {
            check_is_there(name);
            items.last_mut().expect("an invariant before its tests").1 += 1;
        }
    }
    assert!(items.len() >= 11, "only {} invariants", items.len());
    for (item, count) in items {
        assert!(count > 0, "no test guards {item:?}");
    }
}

fn sources(path: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .flatten()
            .flat_map(|entry| sources(&entry.path()))
            .collect(),
        Err(_) => vec![path.to_owned()],
    }
}

#[test]
fn pure_parts_do_no_io_and_hold_no_locks() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let unlawful = [
        "std::fs",
        "fs::",
        "File::",
        "tokio",
        "async ",
        "Mutex",
        "RwLock",
        "rustix",
        "nix::",
        "Command::new",
        "TcpStream",
        "UnixStream",
        "std::process",
        "std::thread",
    ];
    let mut looked_at = 0;
    for part in [
        "pod/state.rs",
        "pod/lane.rs",
        "container/state.rs",
        "events/changes.rs",
        "oci/spec",
        "cri/convert",
        "network/native/answer.rs",
        "network/native/ipam/range.rs",
        "network/native/plugin.rs",
    ] {
        for file in sources(&src.join(part)) {
            if file.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            let source = std::fs::read_to_string(&file).unwrap();
            let code = source.split("#[cfg(test)]").next().unwrap();
            for (number, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap();
                for word in unlawful {
                    assert!(
                        !line.contains(word),
                        "{}:{}: {word:?} in {line:?}",
                        file.display(),
                        number + 1
                    );
                }
            }
            looked_at += 1;
        }
    }
    assert!(looked_at >= 20, "only {looked_at} files");
}
