//! Builds archives, honest ones and others.

use sha2::{Digest, Sha256};
use tar::EntryType;

use super::DiffId;

pub(super) struct Archive {
    bytes: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    pax: Vec<(String, Vec<u8>)>,
}

impl Archive {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            mode: 0o644,
            owner: (0, 0),
            pax: Vec::new(),
        }
    }

    /// The mode of the entries that follow.
    pub(super) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The owner of the entries that follow.
    pub(super) fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// An extended header record of the next entry.
    pub(super) fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.to_owned(), value.to_vec()));
        self
    }

    pub(super) fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content.as_bytes(), (0, 0))
    }

    pub(super) fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"", (0, 0))
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"", (0, 0))
    }

    pub(super) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"", (0, 0))
    }

    pub(super) fn node(self, kind: EntryType, name: &str, device: (u32, u32)) -> Self {
        self.entry(kind, name, "", b"", device)
    }

    fn entry(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        content: &[u8],
        device: (u32, u32),
    ) -> Self {
        let pax = std::mem::take(&mut self.pax);
        if !pax.is_empty() {
            let records: Vec<(&str, &[u8])> = pax.iter().map(|(k, v)| (&k[..], &v[..])).collect();
            let mut builder = tar::Builder::new(Vec::new());
            builder.append_pax_extensions(records).unwrap();
            let mut bytes = builder.into_inner().unwrap();
            // Without the blocks that end an archive.
            bytes.truncate(bytes.len() - 1024);
            self.bytes.extend(bytes);
        }
        let mut header = tar::Header::new_ustar();
        // Not through the crate's setters: they refuse what hostile archives hold.
        let raw = header.as_mut_bytes();
        raw[..name.len()].copy_from_slice(name.as_bytes());
        raw[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(device.0).unwrap();
        header.set_device_minor(device.1).unwrap();
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        let whole = self.bytes.len().next_multiple_of(512);
        self.bytes.resize(whole, 0);
        self
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

pub(super) fn diff_id(blob: &[u8]) -> DiffId {
    DiffId::from_bytes(Sha256::digest(blob).into())
}
