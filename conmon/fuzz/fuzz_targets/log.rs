//! Output split into records, in chunks and on a disk of the fuzzer's choice, makes the output again.
#![no_main]

use std::io::{self, IoSlice};

use corten_conmon::log::{LineBuffer, LogWriter, MAX_HEADER, READ_SIZE, Stamp, Stream, Target};
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Disk {
    files: Vec<Vec<u8>>,
    file: Vec<u8>,
    most: usize,
}

impl Target for Disk {
    fn append(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let n = all.len().min(self.most);
        self.file.extend_from_slice(&all[..n]);
        Ok(n)
    }
    fn take_back(&mut self, n: u64) -> io::Result<()> {
        self.file.truncate(self.file.len() - n as usize);
        Ok(())
    }
    fn replace(&mut self) -> io::Result<()> {
        self.files.push(std::mem::take(&mut self.file));
        Ok(())
    }
}

fuzz_target!(|input: (u16, u16, u16, &[u8])| {
    let (chunk, most, cap, output) = input;
    let cap = 4096 + u64::from(cap);
    let limit = LogWriter::<Disk>::line_limit(Some(cap));
    let disk = Disk {
        most: usize::from(most).max(1),
        ..Disk::default()
    };
    let mut writer = LogWriter::new(disk, 0, Some(cap));
    let mut lines = LineBuffer::new(vec![0; limit + READ_SIZE], limit);
    let stamp = Stamp::new(0, 0);
    for part in output.chunks(usize::from(chunk).clamp(1, READ_SIZE)) {
        lines.room()[..part.len()].copy_from_slice(part);
        lines.filled(part.len());
        writer.write(&mut lines, Stream::Stdout, &stamp, false);
    }
    writer.write(&mut lines, Stream::Stdout, &stamp, true);
    let disk = writer.target();
    disk.replace().expect("memory does not fail");
    let mut again = Vec::new();
    for file in &disk.files {
        assert!(file.len() as u64 <= cap);
        for line in file.split_inclusive(|&b| b == b'\n') {
            let (head, text) = line.split_at(MAX_HEADER);
            match &head[MAX_HEADER - 10..] {
                b" stdout F " => again.extend_from_slice(text),
                b" stdout P " => again.extend_from_slice(&text[..text.len() - 1]),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(again, output);
});
