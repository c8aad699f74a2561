//! Reading a log file that grows, is rotated, or begins anew.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::cli::error::CliError;

/// Longest line that is waited for; a longer one is given out in pieces.
const LINE_MAX: usize = 1 << 20;

/// A log file by its path, read from one place on.
pub(in crate::cli) struct LogFile {
    path: PathBuf,
    open: Option<Open>,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

struct Open {
    file: File,
    inode: (u64, u64),
    position: u64,
}

impl Open {
    fn new(path: &Path, position: u64) -> io::Result<Option<Self>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        file.seek(SeekFrom::Start(position))?;
        Ok(Some(Self {
            file,
            inode: (meta.dev(), meta.ino()),
            position,
        }))
    }
}

impl LogFile {
    /// Reads from `position` on; the file may come into being later.
    pub(in crate::cli) fn new(path: &Path, position: u64) -> Result<Self, CliError> {
        Ok(Self {
            path: path.to_owned(),
            open: Open::new(path, position).map_err(|e| failed(path, e))?,
            rest: Vec::new(),
        })
    }

    /// Gives out every whole line written since the last call.
    pub(in crate::cli) fn read(
        &mut self,
        mut line: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        loop {
            self.drain(&mut line)?;
            let Some(next) = self.successor().map_err(|e| failed(&self.path, e))? else {
                return Ok(());
            };
            // The old file's last lines may have come after our read and before the new one was made.
            self.drain(&mut line)?;
            if !self.rest.is_empty() {
                line(&self.rest)?;
                self.rest.clear();
            }
            self.open = Some(next);
        }
    }

    /// Gives out the rest, once nobody writes to the file any more.
    pub(in crate::cli) fn finish(
        mut self,
        mut line: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        self.read(&mut line)?;
        match self.rest.is_empty() {
            true => Ok(()),
            false => line(&self.rest),
        }
    }

    fn drain(
        &mut self,
        line: &mut impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let mut block = [0; 64 * 1024];
        loop {
            let count = match open.file.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(failed(&self.path, e)),
            };
            open.position += count as u64;
            for piece in block[..count].split_inclusive(|byte| *byte == b'\n') {
                let end = piece.strip_suffix(b"\n");
                self.rest.extend_from_slice(end.unwrap_or(piece));
                if end.is_some() || self.rest.len() >= LINE_MAX {
                    line(&self.rest)?;
                    self.rest.clear();
                }
            }
        }
    }

    /// The file that has taken the place of the one that is open, if one has.
    fn successor(&mut self) -> io::Result<Option<Open>> {
        let meta = match std::fs::metadata(&self.path) {
            Ok(meta) => meta,
            // Renamed away: the writer goes on in it until it is told to reopen.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let same = self.open.as_ref().is_some_and(|open| {
            open.inode == (meta.dev(), meta.ino()) && meta.len() >= open.position
        });
        if same {
            return Ok(None);
        }
        Open::new(&self.path, 0)
    }
}

fn failed(path: &Path, source: io::Error) -> CliError {
    CliError::File {
        doing: "read the log",
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{fs, io::Write};

    fn lines(log: &mut LogFile) -> Vec<String> {
        let mut found = Vec::new();
        log.read(|line| {
            found.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn follows_growth_rotation_and_truncation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = LogFile::new(&path, 0).unwrap();
        assert!(lines(&mut log).is_empty());

        let mut writer = File::create(&path).unwrap();
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(lines(&mut log), ["one"]);
        writer.write_all(b"o\n").unwrap();
        assert_eq!(lines(&mut log), ["two"]);

        fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        writer.write_all(b"three\n").unwrap();
        assert_eq!(lines(&mut log), ["three"]);
        writer.write_all(b"four\n").unwrap();
        let mut writer = File::create(&path).unwrap();
        writer.write_all(b"five\n").unwrap();
        assert_eq!(lines(&mut log), ["four", "five"]);

        let mut writer = File::create(&path).unwrap();
        writer.write_all(b"six\n").unwrap();
        // As long as before: only a shorter file shows that it began anew.
        writer.set_len(0).unwrap();
        assert!(lines(&mut log).is_empty());
        fs::write(&path, "7\nrest").unwrap();
        assert_eq!(lines(&mut log), ["7"]);
        let mut rest = Vec::new();
        log.finish(|line| {
            rest.extend_from_slice(line);
            Ok(())
        })
        .unwrap();
        assert_eq!(rest, b"rest");
    }

    #[test]
    fn a_line_without_end_does_not_fill_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        fs::write(&path, vec![b'x'; LINE_MAX * 2 + 10]).unwrap();
        let mut log = LogFile::new(&path, 0).unwrap();
        let mut longest = 0;
        log.read(|line| {
            longest = longest.max(line.len());
            Ok(())
        })
        .unwrap();
        assert!((LINE_MAX..=LINE_MAX + 64 * 1024).contains(&longest));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn however_it_is_cut_the_lines_are_the_same(
            expected in proptest::collection::vec("[a-z]{0,9}", 0..20),
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let mut writer = File::create(&path).unwrap();
            let text: String = expected.iter().map(|line| format!("{line}\n")).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut log = LogFile::new(&path, 0).unwrap();
            let (mut found, mut from) = (Vec::new(), 0);
            for cut in cuts {
                writer.write_all(&text.as_bytes()[from..cut]).unwrap();
                from = cut;
                found.extend(lines(&mut log));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
