//! One line of a CRI log: `TIME STREAM TAGS TEXT`.

/// Which of its outputs a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// When it was written, as it stands there.
    pub(crate) time: &'a str,
    /// Where to.
    pub(crate) stream: Stream,
    /// Whether the container's line goes on in the next one of this stream.
    pub(crate) partial: bool,
    /// What was written, without the line's end.
    pub(crate) text: &'a [u8],
}

/// Takes a line apart; `None` when it has another form.
pub(crate) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are separated by colons; the first says whether the line is whole.
    let partial = match parts.next()?.split(|byte| *byte == b':').next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    // An empty line may end after its tag.
    let text = parts.next().unwrap_or_default();
    (!time.is_empty()).then_some(Line {
        time,
        stream,
        partial,
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_lines_apart() {
        let line = parse(b"2016-10-06T00:17:09.669794202Z stdout F a  b ").unwrap();
        assert_eq!(line.time, "2016-10-06T00:17:09.669794202Z");
        assert_eq!((line.stream, line.partial), (Stream::Stdout, false));
        assert_eq!(line.text, b"a  b ");
        let line = parse(b"t stderr P:x \xff").unwrap();
        assert_eq!((line.stream, line.partial), (Stream::Stderr, true));
        assert_eq!(line.text, b"\xff");
        assert_eq!(parse(b"t stdout F").unwrap().text, b"");
        for wrong in [
            "",
            "t",
            "t stdout",
            "t stdin F x",
            "t stdout Q x",
            " stdout F x",
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn text_comes_back(text in proptest::collection::vec(any::<u8>(), 0..60), partial: bool) {
            let tag = if partial { 'P' } else { 'F' };
            let mut line = format!("2026-01-01T00:00:00Z stderr {tag} ").into_bytes();
            line.extend_from_slice(&text);
            let read = parse(&line).unwrap();
            prop_assert_eq!(read.text, &text[..]);
            prop_assert_eq!(read.partial, partial);
        }

        #[test]
        fn any_bytes_are_answered(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&line);
        }
    }
}
