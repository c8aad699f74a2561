//! The log format of the CRI.

use std::path::Path;

/// One record of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub(crate) time: String,
    pub(crate) stream: String,
    /// `F`, or `P` for a part of a longer line.
    pub(crate) tag: String,
    pub(crate) text: String,
}

/// Reads a log; panics at a record that is not one.
#[track_caller]
pub(crate) fn read_log(path: &Path) -> Vec<LogLine> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("reading {}: {e}", path.display()));
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last record of {} is cut: {text:?}",
        path.display()
    );
    text.lines().map(parse).collect()
}

fn parse(line: &str) -> LogLine {
    let mut parts = line.splitn(4, ' ');
    let mut next = || {
        parts
            .next()
            .unwrap_or_else(|| panic!("not a log record: {line:?}"))
            .to_owned()
    };
    let record = LogLine {
        time: next(),
        stream: next(),
        tag: next(),
        text: next(),
    };
    // RFC 3339 with nanoseconds, like 2026-01-02T03:04:05.123456789Z or with an offset.
    let time = record.time.as_bytes();
    assert!(
        time.len() >= 30 && time[10] == b'T' && time[19] == b'.',
        "not a time: {line:?}"
    );
    assert!(
        time[20..29].iter().all(u8::is_ascii_digit),
        "not nanoseconds: {line:?}"
    );
    assert!(
        ["stdout", "stderr"].contains(&record.stream.as_str()),
        "not a stream: {line:?}"
    );
    assert!(
        ["F", "P"].contains(&record.tag.as_str()),
        "not a tag: {line:?}"
    );
    record
}
