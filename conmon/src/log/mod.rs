//! The container's log, in the format that the kubelet reads: `TIME STREAM TAG TEXT`, a line a record.

mod line;
mod stamp;
mod writer;

pub use line::{LineBuffer, MAX_LINE, Piece, READ_SIZE, Tag};
pub use stamp::{STAMP_LEN, Stamp};
pub use writer::{LogWriter, MAX_HEADER, Target};

/// The stream a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
