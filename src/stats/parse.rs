//! Parsers of the kernel's cgroup files: pure, and content with any bytes.

use super::sample::{DeviceIo, Pressure, Stall};

/// Limits from here on are none: the kernel rounds the largest number it knows down to whole pages.
const UNLIMITED: u64 = 1 << 62;
/// Most devices that are told apart.
const DEVICES_MAX: usize = 64;

/// A file of one number.
pub fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// A file of one limit; `None` where there is none (`max`, or more than a machine can have).
pub fn limit(text: &[u8]) -> Option<u64> {
    number(text).filter(|limit| *limit < UNLIMITED)
}

/// The lines `name number`; others are passed over.
pub fn keyed(text: &[u8]) -> impl Iterator<Item = (&str, u64)> {
    lines(text).filter_map(|line| {
        let (key, value) = line.split_once([' ', '\t'])?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// Pressure stall information: lines of `some` and `full`.
pub fn pressure(text: &[u8]) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in lines(text) {
        let mut words = line.split_ascii_whitespace();
        let place = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        let mut stall = Stall::default();
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => stall.avg10 = share(value),
                "avg60" => stall.avg60 = share(value),
                "avg300" => stall.avg300 = share(value),
                // In microseconds.
                "total" => stall.total_ns = value.parse::<u64>().unwrap_or(0).saturating_mul(1000),
                _ => {}
            }
        }
        *place = Some(stall);
    }
    (pressure != Pressure::default()).then_some(pressure)
}

/// A percentage.
fn share(text: &str) -> f64 {
    let value: f64 = text.parse().unwrap_or(0.0);
    if value.is_finite() {
        value.clamp(0.0, 100.0)
    } else {
        0.0
    }
}

/// `io.stat`: a line for each device, with `rbytes=… wbytes=… rios=… wios=…`.
pub fn io_stat(text: &[u8]) -> Vec<DeviceIo> {
    let mut devices = Vec::new();
    for line in lines(text) {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else {
            continue;
        };
        let Some(found) = of_device(&mut devices, major, minor) else {
            break;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => found.read_bytes = value,
                "wbytes" => found.write_bytes = value,
                "rios" => found.reads = value,
                "wios" => found.writes = value,
                _ => {}
            }
        }
    }
    devices
}

/// The two files of cgroup v1: bytes, and operations. Lines are `major:minor Read number`.
pub fn blkio(bytes: &[u8], operations: &[u8]) -> Vec<DeviceIo> {
    let mut devices = Vec::new();
    for (text, counts_bytes) in [(bytes, true), (operations, false)] {
        for line in lines(text) {
            let mut words = line.split_ascii_whitespace();
            let (Some((major, minor)), Some(operation), Some(value)) = (
                words.next().and_then(device),
                words.next(),
                words.next().and_then(|word| word.parse().ok()),
            ) else {
                continue;
            };
            let Some(found) = of_device(&mut devices, major, minor) else {
                break;
            };
            match (operation, counts_bytes) {
                ("Read", true) => found.read_bytes = value,
                ("Write", true) => found.write_bytes = value,
                ("Read", false) => found.reads = value,
                ("Write", false) => found.writes = value,
                _ => {}
            }
        }
    }
    devices
}

/// The entry of a device, made when it is new; `None` when there are too many.
fn of_device(devices: &mut Vec<DeviceIo>, major: u32, minor: u32) -> Option<&mut DeviceIo> {
    let at = devices
        .iter()
        .position(|known| (known.major, known.minor) == (major, minor));
    let at = match at {
        Some(at) => at,
        None if devices.len() == DEVICES_MAX => return None,
        None => {
            devices.push(DeviceIo {
                major,
                minor,
                ..DeviceIo::default()
            });
            devices.len() - 1
        }
    };
    devices.get_mut(at)
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The soft limit of open files among `/proc/PID/limits`; `None` when it is unlimited.
pub fn open_files_limit(text: &[u8]) -> Option<u64> {
    lines(text)
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
}

/// A huge page size as cgroup files are named after it (`2MB`), from a directory below
/// `/sys/kernel/mm/hugepages` (`hugepages-2048kB`).
pub fn page_size(directory: &str) -> Option<String> {
    let kib: u64 = directory
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    Some(match kib {
        0 => return None,
        kib if kib % (1 << 20) == 0 => format!("{}GB", kib >> 20),
        kib if kib % (1 << 10) == 0 => format!("{}MB", kib >> 10),
        kib => format!("{kib}KB"),
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_limits() {
        assert_eq!(number(b"42\n"), Some(42));
        assert_eq!(number(b"-1\n"), None);
        assert_eq!(number(b""), None);
        assert_eq!(limit(b"max\n"), None);
        assert_eq!(limit(b"9223372036854771712\n"), None);
        assert_eq!(limit(b"67108864\n"), Some(64 << 20));
        let all: Vec<_> = keyed(b"cache 5\nbroken\nrss x\n\xff 1\ntotal_rss 7").collect();
        assert_eq!(all, [("cache", 5), ("total_rss", 7)]);
    }

    #[test]
    fn pressure_has_two_lines() {
        let text = b"some avg10=1.50 avg60=0.00 avg300=100.00 total=12\n\
                     full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        let pressure = pressure(text).unwrap();
        let some = pressure.some.unwrap();
        assert_eq!(
            (some.avg10, some.avg300, some.total_ns),
            (1.5, 100.0, 12_000)
        );
        assert_eq!(pressure.full.unwrap().total_ns, 3_000);
        assert_eq!(super::pressure(b""), None);
    }

    #[test]
    fn both_ways_of_counting_io() {
        let v2 = io_stat(b"8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n9:0 \nx\n");
        assert_eq!(v2.len(), 2);
        assert_eq!((v2[0].read_bytes, v2[0].writes), (1, 4));
        let v1 = blkio(
            b"8:16 Read 1\n8:16 Write 2\n8:16 Sync 3\n8:16 Total 3\nTotal 3\n",
            b"8:16 Read 3\n8:16 Write 4\nTotal 7\n",
        );
        assert_eq!(v1, v2[..1]);
    }

    #[test]
    fn limits_of_processes_and_page_sizes() {
        let text = b"Limit  Soft Limit  Hard Limit  Units\nMax open files   1024    4096   files\n";
        assert_eq!(open_files_limit(text), Some(1024));
        assert_eq!(
            open_files_limit(b"Max open files unlimited unlimited files"),
            None
        );
        let size = |name| page_size(name);
        assert_eq!(size("hugepages-2048kB").as_deref(), Some("2MB"));
        assert_eq!(size("hugepages-1048576kB").as_deref(), Some("1GB"));
        assert_eq!(size("hugepages-64kB").as_deref(), Some("64KB"));
        assert_eq!(size("hugepages-0kB"), None);
        assert_eq!(size("x"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(
            text in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "((some|full|[0-9]{1,3}:[0-9]{1,12}|Max open files)( |=|\n|Read|rbytes|avg10|total|[0-9.NainfE+-]{1,21}){0,9}){0,9}"
                    .prop_map(String::into_bytes),
            ],
        ) {
            let _ = (number(&text), limit(&text), keyed(&text).count(), open_files_limit(&text));
            prop_assert!(io_stat(&text).len() <= DEVICES_MAX);
            prop_assert!(blkio(&text, &text).len() <= DEVICES_MAX);
            if let Some(pressure) = pressure(&text) {
                for stall in [pressure.some, pressure.full].into_iter().flatten() {
                    prop_assert!((0.0..=100.0).contains(&stall.avg10));
                }
            }
            let _ = page_size(&String::from_utf8_lossy(&text));
        }
    }
}
