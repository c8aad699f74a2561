//! The mounts of this process, for what matters to a bind mount: where propagation leads.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// Largest table that is read: some hundred thousand mounts.
const TABLE_CAP: u64 = 64 << 20;

/// How a mount passes on what is mounted below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peers {
    /// To and from its peers.
    pub shared: bool,
    /// From its master.
    pub slave: bool,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// Where it is.
    pub path: PathBuf,
    /// How it propagates.
    pub peers: Peers,
}

/// All mounts of this process, in the order they were made visible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountTable(Vec<MountPoint>);

impl MountTable {
    /// Reads the present table. Blocks.
    pub fn read() -> io::Result<Self> {
        let mut text = Vec::new();
        File::open("/proc/self/mountinfo")?
            .take(TABLE_CAP)
            .read_to_end(&mut text)?;
        Ok(Self::parse(&text))
    }

    /// Parses lines of `mountinfo`, passing over what is none.
    pub fn parse(text: &[u8]) -> Self {
        Self(
            text.split(|b| *b == b'\n')
                .filter_map(mount_point)
                .collect(),
        )
    }

    /// The mount that `path`, absolute and free of links, lies in.
    pub fn covering(&self, path: &Path) -> Option<&MountPoint> {
        // Later mounts hide earlier ones at the same place.
        self.0
            .iter()
            .filter(|mount| path.starts_with(&mount.path))
            .enumerate()
            .max_by_key(|(at, mount)| (mount.path.as_os_str().len(), *at))
            .map(|(_, mount)| mount)
    }
}

fn mount_point(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|b| *b == b' ');
    let path = unescape(fields.nth(4)?);
    let _options = fields.next()?;
    let mut peers = Peers::default();
    for field in fields {
        if field == b"-" {
            return Some(MountPoint { path, peers });
        }
        peers.shared |= field.starts_with(b"shared:");
        peers.slave |= field.starts_with(b"master:");
    }
    None
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'\\'
            && let Some(digits) = tail.get(..3)
            && digits.iter().all(|d| (b'0'..=b'7').contains(d))
        {
            let value = digits
                .iter()
                .fold(0u32, |value, d| value * 8 + u32::from(d - b'0'));
            bytes.push(value as u8);
            rest = &tail[3..];
        } else {
            bytes.push(*first);
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &[u8] = b"23 1 8:1 / / rw - ext4 /dev/sda rw\n\
        24 23 0:5 / /mnt/a\\040b rw,relatime shared:7 - tmpfs tmpfs rw\n\
        25 23 0:6 / /mnt rw master:3 propagate_from:2 - tmpfs tmpfs rw\n\
        26 23 0:7 / /mnt rw - tmpfs tmpfs rw\nbroken line\n";

    #[test]
    fn the_innermost_and_latest_counts() {
        let table = MountTable::parse(TABLE);
        let at = |path: &str| table.covering(Path::new(path)).unwrap();
        assert_eq!(at("/etc/x").path, Path::new("/"));
        assert!(at("/mnt/a b/c").peers.shared);
        assert_eq!(at("/mnt/a").peers, Peers::default());
        assert_eq!(at("/mntx").path, Path::new("/"));
        assert_eq!(
            table.0[2].peers,
            Peers {
                shared: false,
                slave: true
            }
        );
    }

    #[test]
    fn the_present_table_has_a_root() {
        let table = MountTable::read().unwrap();
        assert!(table.covering(Path::new("/proc/self")).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(text: Vec<u8>) {
            let _ = MountTable::parse(&text).covering(Path::new("/a"));
        }
    }
}
