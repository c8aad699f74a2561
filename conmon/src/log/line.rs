//! Output cut into lines.

/// Longest text of one record; a longer line takes several.
pub const MAX_LINE: usize = 16 * 1024;
/// Most that is read at once.
pub const READ_SIZE: usize = 8 * 1024;

/// Whether a record ends its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// The line ends here (`F`).
    Full,
    /// The line goes on in the stream's next record, or its output ended without a newline (`P`).
    Partial,
}

/// Text for one record: a place in its [`LineBuffer`], without the newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Whether the line ends with it.
    pub tag: Tag,
    start: usize,
    len: usize,
}

/// Collects a stream's output and gives it back in pieces.
///
/// What comes out depends on the bytes alone, not on how they arrived: a line of up to the limit is one
/// piece; a longer one is cut each time the limit is full.
#[derive(Debug)]
pub struct LineBuffer<B> {
    buf: B,
    limit: usize,
    start: usize,
    scanned: usize,
    end: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> LineBuffer<B> {
    /// Uses `buf`, which holds more than `limit` bytes: the rest is room to read into.
    ///
    /// # Panics
    /// When it does not, or the limit is 0.
    pub fn new(buf: B, limit: usize) -> Self {
        assert!(
            limit > 0 && buf.as_ref().len() > limit,
            "no room to read into"
        );
        Self {
            buf,
            limit,
            start: 0,
            scanned: 0,
            end: 0,
        }
    }

    /// Where the next output goes; never empty once all pieces were taken. Ends the pieces' life.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buf.as_mut().copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        let buf = self.buf.as_mut();
        let until = buf.len().min(self.end + READ_SIZE);
        &mut buf[self.end..until]
    }

    /// Says that the first `n` bytes of [`Self::room`] hold output, and gives them.
    pub fn filled(&mut self, n: usize) -> &[u8] {
        let from = self.end;
        self.end = self.buf.as_ref().len().min(self.end + n);
        &self.buf.as_ref()[from..self.end]
    }

    /// The next piece that is certain.
    pub fn next_piece(&mut self) -> Option<Piece> {
        let fresh = &self.buf.as_ref()[self.scanned..self.end];
        let newline = fresh
            .iter()
            .position(|&b| b == b'\n')
            .map(|at| self.scanned + at);
        self.scanned = newline.unwrap_or(self.end);
        if self.scanned - self.start > self.limit {
            return Some(self.take(Tag::Partial, self.limit, 0));
        }
        newline.map(|at| self.take(Tag::Full, at - self.start, 1))
    }

    /// What is left when the output ended without a newline. All other pieces must have been taken.
    pub fn finish(&mut self) -> Option<Piece> {
        let left = self.end - self.start;
        (left > 0).then(|| self.take(Tag::Partial, left, 0))
    }

    fn take(&mut self, tag: Tag, len: usize, skip: usize) -> Piece {
        let piece = Piece {
            tag,
            start: self.start,
            len,
        };
        self.start += len + skip;
        self.scanned = self.scanned.max(self.start);
        piece
    }

    /// The text of a piece, and whether the newline stands right behind it in memory.
    pub fn text(&self, piece: Piece) -> &[u8] {
        &self.buf.as_ref()[piece.start..piece.start + piece.len]
    }

    /// The text of a piece with a newline, where it had one.
    pub(super) fn text_and_newline(&self, piece: Piece) -> &[u8] {
        let newline = usize::from(piece.tag == Tag::Full);
        &self.buf.as_ref()[piece.start..piece.start + piece.len + newline]
    }

    /// Whether nothing waits for its newline.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The memory itself, for its owner to give back while [`Self::is_empty`].
    pub fn memory(&mut self) -> &mut B {
        &mut self.buf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `input` in chunks and collects what comes out.
    fn pieces(input: &[u8], chunks: &[usize], limit: usize) -> Vec<(Tag, Vec<u8>)> {
        let mut lines = LineBuffer::new(vec![0; limit + 7], limit);
        let mut out = Vec::new();
        let mut rest = input;
        let mut sizes = chunks.iter().copied().cycle();
        while !rest.is_empty() {
            let room = lines.room();
            assert!(!room.is_empty());
            let n = sizes
                .next()
                .unwrap_or(1)
                .clamp(1, room.len().min(rest.len()));
            room[..n].copy_from_slice(&rest[..n]);
            assert_eq!(lines.filled(n), &rest[..n]);
            rest = &rest[n..];
            while let Some(piece) = lines.next_piece() {
                out.push((piece.tag, lines.text(piece).to_vec()));
            }
        }
        out.extend(
            lines
                .finish()
                .map(|piece| (piece.tag, lines.text(piece).to_vec())),
        );
        assert!(lines.is_empty());
        out
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..400)
    }

    proptest! {
        #[test]
        fn pieces_make_the_input_again(
            input in text(),
            chunks in proptest::collection::vec(1usize..50, 1..8),
            limit in 1usize..40,
        ) {
            let mut again = Vec::new();
            for (tag, text) in pieces(&input, &chunks, limit) {
                prop_assert!(text.len() <= limit);
                prop_assert!(!text.contains(&b'\n'));
                again.extend(text);
                if tag == Tag::Full {
                    again.push(b'\n');
                }
            }
            prop_assert_eq!(again, input);
        }

        #[test]
        fn chunking_does_not_matter(
            input in text(),
            chunks in proptest::collection::vec(1usize..50, 1..8),
            limit in 1usize..40,
        ) {
            prop_assert_eq!(pieces(&input, &chunks, limit), pieces(&input, &[1], limit));
        }
    }

    #[test]
    fn a_line_of_the_limit_is_whole() {
        assert_eq!(
            pieces(b"abc\nabcd\n", &[100], 3),
            [
                (Tag::Full, b"abc".to_vec()),
                (Tag::Partial, b"abc".to_vec()),
                (Tag::Full, b"d".to_vec()),
            ]
        );
    }

    #[test]
    fn an_empty_line_is_a_line() {
        assert_eq!(pieces(b"\n", &[1], 3), [(Tag::Full, Vec::new())]);
    }
}
