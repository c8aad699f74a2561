//! Records written, whatever the disk does.

use std::io::{self, IoSlice};

use super::{
    LineBuffer, MAX_LINE, Stream,
    line::{Piece, Tag},
    stamp::{STAMP_LEN, Stamp},
};

/// Length of what stands before a record's text.
pub const MAX_HEADER: usize = STAMP_LEN + " stdout F ".len();
/// Records in one system call.
const BATCH: usize = 32;
/// Pieces of memory a batch can take: header, text and newline for each record, and one before all.
const PARTS: usize = 3 * BATCH + 1;

/// The file behind a log.
pub trait Target {
    /// Appends; may append less than given.
    fn append(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Takes the last `n` bytes away again.
    fn take_back(&mut self, n: u64) -> io::Result<()>;
    /// Puts an empty file in the place of the full one.
    fn replace(&mut self) -> io::Result<()>;
}

/// Writes a container's records and never fails: what cannot be written is counted, and the count is
/// written as a record of its own as soon as writing works again.
#[derive(Debug)]
pub struct LogWriter<T> {
    target: T,
    size: u64,
    max_size: Option<u64>,
    /// The file ends within a record that could not be taken back.
    torn: bool,
    lost: Lost,
}

#[derive(Debug, Default)]
struct Lost {
    records: u64,
    bytes: u64,
    errno: i32,
}

/// A record to write.
#[derive(Clone, Copy)]
struct Record<'a> {
    tag: Tag,
    /// With its newline when full.
    text: &'a [u8],
}

impl Record<'_> {
    fn len(&self) -> u64 {
        (MAX_HEADER + self.text.len() + usize::from(self.tag == Tag::Partial)) as u64
    }
}

impl<T: Target> LogWriter<T> {
    /// Writes behind the `size` bytes that `target` holds already.
    pub fn new(target: T, size: u64, max_size: Option<u64>) -> Self {
        Self {
            target,
            size,
            max_size,
            torn: false,
            lost: Lost::default(),
        }
    }

    /// Longest text of a record, so that any record fits the file.
    pub fn line_limit(max_size: Option<u64>) -> usize {
        let room = max_size
            .unwrap_or(u64::MAX)
            .saturating_sub(MAX_HEADER as u64 + 2);
        usize::try_from(room).unwrap_or(MAX_LINE).clamp(1, MAX_LINE)
    }

    /// The file.
    pub fn target(&mut self) -> &mut T {
        &mut self.target
    }

    /// Says that the file was opened anew and holds `size` bytes.
    pub fn reopened(&mut self, size: u64) {
        self.size = size;
        self.torn = false;
    }

    /// Writes every piece that `lines` has, and the unfinished rest too when the stream has `ended`.
    pub fn write<B>(
        &mut self,
        lines: &mut LineBuffer<B>,
        stream: Stream,
        stamp: &Stamp,
        ended: bool,
    ) where
        B: AsRef<[u8]> + AsMut<[u8]>,
    {
        const NONE: Option<Piece> = None;
        loop {
            let mut pieces = [NONE; BATCH];
            let mut n = 0;
            while n < BATCH {
                let piece = lines
                    .next_piece()
                    .or_else(|| if ended { lines.finish() } else { None });
                if piece.is_none() {
                    break;
                }
                pieces[n] = piece;
                n += 1;
            }
            let mut records = [Record {
                tag: Tag::Full,
                text: &[],
            }; BATCH];
            for (record, piece) in records.iter_mut().zip(pieces.iter().flatten()) {
                *record = Record {
                    tag: piece.tag,
                    text: lines.text_and_newline(*piece),
                };
            }
            self.records(&records[..n], stream, stamp);
            if n < BATCH {
                return;
            }
        }
    }

    /// Tries once more to write down what was lost, if anything was. False when that is still unwritten.
    pub fn settle(&mut self, stamp: &Stamp) -> bool {
        self.note(stamp)
    }

    fn records(&mut self, mut records: &[Record<'_>], stream: Stream, stamp: &Stamp) {
        while !records.is_empty() {
            if !self.note(stamp) {
                return self.lose(records);
            }
            let fits = self.fitting(records);
            if fits == 0 {
                if self.replace().is_err() {
                    return self.lose(records);
                }
                continue;
            }
            let (now, later) = records.split_at(fits);
            let written = self.batch(now, stream, stamp);
            if written < now.len() {
                self.lose(&now[written..]);
                return self.lose(later);
            }
            records = later;
        }
    }

    /// How many records may be written before the file is full; at least one into an empty file.
    fn fitting(&self, records: &[Record<'_>]) -> usize {
        let Some(max) = self.max_size else {
            return records.len();
        };
        let mut size = self.size + u64::from(self.torn);
        let fits = records
            .iter()
            .take_while(|record| {
                size += record.len();
                size <= max
            })
            .count();
        if self.size == 0 { fits.max(1) } else { fits }
    }

    fn replace(&mut self) -> io::Result<()> {
        match self.target.replace() {
            Ok(()) => {
                self.reopened(0);
                Ok(())
            }
            Err(error) => {
                self.lost.errno = error.raw_os_error().unwrap_or(0);
                Err(error)
            }
        }
    }

    fn lose(&mut self, records: &[Record<'_>]) {
        self.lost.records += records.len() as u64;
        self.lost.bytes += records
            .iter()
            .map(|record| record.text.len() as u64)
            .sum::<u64>();
    }

    /// Writes down what was lost. False when that fails too.
    fn note(&mut self, stamp: &Stamp) -> bool {
        if self.lost.records == 0 {
            return true;
        }
        let Lost {
            records,
            bytes,
            errno,
        } = self.lost;
        let why = io::Error::from_raw_os_error(errno);
        let text = format!("corten: {records} log records ({bytes} bytes) were lost: {why}\n");
        let note = [Record {
            tag: Tag::Full,
            text: text.as_bytes(),
        }];
        if self.fitting(&note) == 0 && self.replace().is_err() {
            return false;
        }
        let written = self.batch(&note, Stream::Stderr, stamp) == 1;
        if written {
            self.lost = Lost::default();
        }
        written
    }

    /// Writes up to [`BATCH`] records and says how many of them are in the file, whole.
    fn batch(&mut self, records: &[Record<'_>], stream: Stream, stamp: &Stamp) -> usize {
        let full = header(stamp, stream, b'F');
        let partial = header(stamp, stream, b'P');
        let mut parts = [IoSlice::new(&[]); PARTS];
        let mut used = 0;
        let mut push = |part| {
            parts[used] = IoSlice::new(part);
            used += 1;
        };
        if self.torn {
            push(b"\n");
        }
        for record in records {
            match record.tag {
                Tag::Full => {
                    push(&full);
                    push(record.text);
                }
                Tag::Partial => {
                    push(&partial);
                    push(record.text);
                    push(b"\n");
                }
            }
        }
        let (written, error) = self.append_all(&mut parts[..used]);
        self.size += written;
        let Some(error) = error else {
            self.torn = false;
            return records.len();
        };
        self.lost.errno = error.raw_os_error().unwrap_or(0);
        self.mend(records, written)
    }

    /// After an incomplete write: keeps the whole records and takes back what follows them.
    fn mend(&mut self, records: &[Record<'_>], written: u64) -> usize {
        if written == 0 {
            return 0;
        }
        let mut whole = u64::from(self.torn);
        let mut kept = 0;
        for record in records {
            if whole + record.len() > written {
                break;
            }
            whole += record.len();
            kept += 1;
        }
        let excess = written - whole;
        self.torn = excess > 0 && self.target.take_back(excess).is_err();
        if !self.torn {
            self.size -= excess;
        }
        kept
    }

    fn append_all(&mut self, mut parts: &mut [IoSlice<'_>]) -> (u64, Option<io::Error>) {
        let mut written = 0;
        while !parts.is_empty() {
            match self.target.append(parts) {
                Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    written += n as u64;
                    IoSlice::advance_slices(&mut parts, n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }
}

fn header(stamp: &Stamp, stream: Stream, tag: u8) -> [u8; MAX_HEADER] {
    let mut header = *b"0000-00-00T00:00:00.000000000Z stdout F ";
    header[..STAMP_LEN].copy_from_slice(stamp.as_bytes());
    header[STAMP_LEN + 1..STAMP_LEN + 7].copy_from_slice(stream.name().as_bytes());
    header[MAX_HEADER - 2] = tag;
    header
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
