//! Printing: complaints, tables, JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::error::CliError;

/// Says on stderr what went wrong.
pub(super) fn complain(error: &CliError) {
    if error.is_broken_pipe() {
        return;
    }
    // Where even stderr is closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "corten: {}", printable(&chain_once(error)));
}

/// The variants print their cause where it helps; only the configuration's carry more.
fn chain_once(error: &CliError) -> String {
    match error {
        CliError::Config(e) => crate::causes::whole(e),
        other => other.to_string(),
    }
}

/// Text from the daemon may hold what a tenant wrote: control characters must not reach the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Writes text to stdout.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| CliError::Stdio("write the output", e))
}

/// Writes a value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| CliError::Stdio("write the output", e.into()))?;
    print(&(text + "\n"))
}

/// A table with a heading, its columns as wide as they must be.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let clean = |cell: &str| printable(cell).replace(['\n', '\t'], " ");
    let mut lines: Vec<Vec<String>> = vec![heading.iter().map(|cell| clean(cell)).collect()];
    lines.extend(
        rows.iter()
            .map(|row| row.iter().map(|cell| clean(cell)).collect()),
    );
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut written = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            written.push_str(&format!("{cell:width$}   "));
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    text
}

/// The part of an identifier that people read.
pub(super) fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..13).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "bcd".to_owned()],
            vec!["long\nname".to_owned(), "\u{1b}[31m".to_owned()],
        ];
        assert_eq!(
            table(&["ONE", "TWO"], &rows),
            "ONE         TWO\na           bcd\nlong name   \u{fffd}[31m\n"
        );
    }

    #[test]
    fn identifiers_are_shortened() {
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789abc");
        assert_eq!(short("0123"), "0123");
    }
}
