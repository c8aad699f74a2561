//! What docs/compatibility.md says.

/// The methods in its tables, and whether they are said to work.
pub(super) fn table() -> Vec<(String, bool)> {
    let text = include_str!("../../../docs/compatibility.md");
    text.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once("` | "))
        .filter(|(name, _)| name.bytes().all(|b| b.is_ascii_alphabetic()))
        .map(|(name, rest)| match rest.split(" |").next() {
            Some("yes") => (name.to_owned(), true),
            Some("no") => (name.to_owned(), false),
            other => panic!("{name} works {other:?}, which is neither yes nor no"),
        })
        .collect()
}
