use proptest::prelude::*;

use super::*;
use crate::log::READ_SIZE;

/// A file in memory whose writes are as short, and fail as often, as the test wants.
#[derive(Debug, Default)]
struct Disk {
    file: Vec<u8>,
    replaced: Vec<Vec<u8>>,
    /// For each write, how much is taken; 0 stands for a full disk.
    script: Vec<usize>,
    next: usize,
    keeps_torn: bool,
}

impl Target for Disk {
    fn append(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let most = if self.script.is_empty() {
            usize::MAX
        } else {
            self.next += 1;
            self.script[(self.next - 1) % self.script.len()]
        };
        if most == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let n = all.len().min(most);
        self.file.extend_from_slice(&all[..n]);
        Ok(n)
    }
    fn take_back(&mut self, n: u64) -> io::Result<()> {
        if self.keeps_torn {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.file.truncate(self.file.len() - n as usize);
        Ok(())
    }
    fn replace(&mut self) -> io::Result<()> {
        self.replaced.push(std::mem::take(&mut self.file));
        Ok(())
    }
}

/// Writes `chunks` as one stream's output and ends it.
fn run(disk: Disk, chunks: &[Vec<u8>], max_size: Option<u64>) -> LogWriter<Disk> {
    let limit = LogWriter::<Disk>::line_limit(max_size);
    let mut lines = LineBuffer::new(vec![0; limit + READ_SIZE], limit);
    let mut writer = LogWriter::new(disk, 0, max_size);
    let stamp = Stamp::new(1_000_000_000, 42);
    for chunk in chunks {
        lines.room()[..chunk.len()].copy_from_slice(chunk);
        lines.filled(chunk.len());
        writer.write(&mut lines, Stream::Stdout, &stamp, false);
    }
    writer.write(&mut lines, Stream::Stdout, &stamp, true);
    writer
}

/// Text of the well-formed records, and how many records and bytes notes say were lost.
fn read(file: &[u8]) -> (Vec<u8>, u64, u64) {
    let (mut text, mut records, mut bytes) = (Vec::new(), 0, 0);
    assert!(file.is_empty() || file.ends_with(b"\n"));
    for line in file.split_inclusive(|&b| b == b'\n') {
        assert_eq!(&line[..31], b"2001-09-09T01:46:40.000000042Z ");
        match &line[31..40] {
            b"stdout F " => text.extend_from_slice(&line[40..]),
            b"stdout P " => text.extend_from_slice(&line[40..line.len() - 1]),
            b"stderr F " => {
                let note = String::from_utf8(line[40..].to_vec()).unwrap();
                let words: Vec<&str> = note.split_whitespace().collect();
                assert_eq!(words[0], "corten:", "{note}");
                records += words[1].parse::<u64>().unwrap();
                bytes += words[4].trim_start_matches('(').parse::<u64>().unwrap();
            }
            other => panic!(
                "{:?} is no head of a record",
                String::from_utf8_lossy(other)
            ),
        }
    }
    (text, records, bytes)
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')];
    proptest::collection::vec(proptest::collection::vec(byte, 1..1500), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_log_holds_the_output(chunks in chunks(), script in proptest::collection::vec(1usize..5000, 0..6)) {
        let disk = Disk { script, ..Disk::default() };
        let mut writer = run(disk, &chunks, None);
        let (text, lost, _) = read(&writer.target().file);
        prop_assert_eq!(lost, 0);
        prop_assert_eq!(text, chunks.concat());
    }

    #[test]
    fn what_a_full_disk_took_is_counted(chunks in chunks(), script in proptest::collection::vec(0usize..3000, 1..9)) {
        let disk = Disk { script, ..Disk::default() };
        let mut writer = run(disk, &chunks, None);
        let pending = (writer.lost.records, writer.lost.bytes);
        let (text, lost, bytes) = read(&writer.target().file);
        let all = chunks.concat();
        prop_assert_eq!(text.len() as u64 + bytes + pending.1, all.len() as u64);
        prop_assert_eq!(lost + pending.0 == 0, text == all);
    }

    #[test]
    fn no_file_outgrows_its_cap(chunks in chunks(), max in 4096u64..20_000, script in proptest::collection::vec(1usize..5000, 0..6)) {
        let disk = Disk { script, ..Disk::default() };
        let mut writer = run(disk, &chunks, Some(max));
        let disk = writer.target();
        let mut all = Vec::new();
        for file in disk.replaced.iter().chain([&disk.file]) {
            prop_assert!(file.len() as u64 <= max);
            all.extend(read(file).0);
        }
        prop_assert_eq!(all, chunks.concat());
        prop_assert!(disk.replaced.iter().all(|file| !file.is_empty()));
    }
}

#[test]
fn a_torn_record_that_stays_costs_one_line() {
    let disk = Disk {
        script: vec![20, 0, 9999, 9999, 9999],
        keeps_torn: true,
        ..Disk::default()
    };
    let mut writer = run(disk, &[b"one\n".to_vec(), b"two\n".to_vec()], None);
    let file = String::from_utf8(writer.target().file.clone()).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    assert_eq!(lines[0], "2001-09-09T01:46:40.");
    assert!(lines[1].contains("stderr F corten: 1 log records (4 bytes) were lost: No space"));
    assert!(lines[2].ends_with("stdout F two"));
}
