//! Where the last lines of a log begin.

use std::{
    collections::VecDeque,
    io::{self, BufRead},
};

use super::line::{Stream, parse};

/// The most of a line that is looked at: time, stream and tags.
const HEAD: usize = 128;

/// The position where the last `count` lines of a container begin.
///
/// Lines that go on in the next one count once.
pub(super) fn start(mut log: impl BufRead, count: usize) -> io::Result<u64> {
    let mut starts: VecDeque<u64> = VecDeque::new();
    // For stdout and stderr: whether its last line goes on.
    let mut open = [false; 2];
    let mut position = 0;
    loop {
        let (head, length) = next_line(&mut log)?;
        if length == 0 {
            break;
        }
        let begins = match parse(&head) {
            Some(line) => {
                let index = match line.stream {
                    Stream::Stdout => 0,
                    Stream::Stderr => 1,
                };
                !std::mem::replace(&mut open[index], line.partial)
            }
            None => true,
        };
        if begins {
            starts.push_back(position);
            if starts.len() > count {
                starts.pop_front();
            }
        }
        position += length;
    }
    Ok(starts.front().copied().unwrap_or(position))
}

/// The beginning of the next line and its whole length, which is 0 at the end.
fn next_line(log: &mut impl BufRead) -> io::Result<(Vec<u8>, u64)> {
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let block = log.fill_buf()?;
        let end = block.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(block.len(), |end| end + 1);
        let text = &block[..end.unwrap_or(block.len())];
        head.extend_from_slice(&text[..text.len().min(HEAD - head.len())]);
        let done = end.is_some() || block.is_empty();
        log.consume(taken);
        length += taken as u64;
        if done {
            return Ok((head, length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(text: &str, count: usize) -> &str {
        let at = start(io::Cursor::new(text), count).unwrap();
        &text[usize::try_from(at).unwrap()..]
    }

    #[test]
    fn counts_the_containers_lines() {
        let text = "t stdout F a\nt stdout P b\nt stdout F c\nt stderr F d\n";
        assert_eq!(tail(text, 0), "");
        assert_eq!(tail(text, 1), "t stderr F d\n");
        assert_eq!(tail(text, 2), &text[13..]);
        assert_eq!(tail(text, 9), text);
        assert_eq!(tail("", 3), "");
    }

    #[test]
    fn long_lines_are_skipped_over() {
        let text = format!("t stdout F {}\nt stdout F end\n", "x".repeat(100_000));
        assert_eq!(tail(&text, 1), "t stdout F end\n");
    }
}
