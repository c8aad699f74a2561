//! The small JSON records that lie beside layers, root file systems and views.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::{ChainId, DiffId};
use crate::id::Id;
use crate::id_map::UserMappings;
use crate::step::{self, Step};

/// The version of every record written here; a record of a later one is not read.
const VERSION: u32 = 1;
/// The largest record read.
const CAP: u64 = 1 << 20;

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// The layer's name.
    pub chain: ChainId,
    /// The layer beneath it.
    pub parent: Option<ChainId>,
    /// The digest of its uncompressed archive.
    pub diff_id: DiffId,
    /// Bytes of file content.
    pub size: u64,
    /// Bytes taken on the file system.
    pub disk_bytes: u64,
    /// Inodes taken on the file system.
    pub inodes: u64,
    /// It hides everything beneath it.
    #[serde(default)]
    pub opaque: bool,
}

/// What is known of a container's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsRecord {
    /// The container.
    pub container: Id,
    /// Its layers, bottom first.
    pub layers: Vec<ChainId>,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// How it is mounted.
    #[serde(default)]
    pub options: RootfsOptions,
}

/// How a root file system is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootfsOptions {
    /// Mount the layers alone, with no directory to write to.
    #[serde(default)]
    pub read_only: bool,
    /// Never sync what the container writes: faster, and gone with the machine.
    #[serde(default)]
    pub volatile: bool,
    /// The SELinux label all files appear with.
    #[serde(default)]
    pub context: Option<String>,
    /// Show the layers' IDs as a user namespace maps them; what is written has the host's IDs.
    #[serde(default)]
    pub users: Option<UserMappings>,
}

/// How a view is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewOptions {
    /// Path inside the layers, resolved there whatever links they hold; empty for all.
    pub sub_path: PathBuf,
    /// The SELinux label all files appear with.
    pub context: Option<String>,
    /// The mappings of the user namespace it is for: it shows IDs as these map them.
    pub users: Option<UserMappings>,
}

/// What is known of a read-only view of layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRecord {
    /// The view's name.
    pub key: String,
    /// Its layers, bottom first.
    pub layers: Vec<ChainId>,
    /// The path inside the layers that is mounted, empty for all.
    pub sub_path: PathBuf,
    /// The SELinux label all files appear with.
    #[serde(default)]
    pub context: Option<String>,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Show IDs as a user namespace maps them.
    #[serde(default)]
    pub users: Option<UserMappings>,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    record: T,
}

/// Writes a record in place of an earlier one, whole or not at all. Does not sync.
pub(crate) fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let json = serde_json::to_vec(&Versioned {
        version: VERSION,
        record,
    })?;
    let staged = path.with_extension("new");
    File::create(&staged)?.write_all(&json)?;
    step::reached(Step::StorageRecordStaged);
    std::fs::rename(&staged, path)?;
    step::reached(Step::StorageRecorded);
    Ok(())
}

/// Reads a record.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let mut json = Vec::new();
    File::open(path)?.take(CAP).read_to_end(&mut json)?;
    parse(&json)
}

/// Reads a record's text.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> io::Result<T> {
    // What a power cut makes of a file that was not synced.
    if json.iter().all(|b| *b == 0) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    // One that is cut was written: it is no less damaged than another.
    let damaged = |e: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, e);
    let Version { version } = serde_json::from_slice(json).map_err(damaged)?;
    if version != VERSION {
        let text = format!("has version {version}; version {VERSION} is known here");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let read = serde_json::from_slice::<Versioned<T>>(json).map_err(damaged)?;
    Ok(read.record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_later_versions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer.json");
        let info = LayerInfo {
            chain: ChainId::from_bytes([1; 32]),
            parent: None,
            diff_id: DiffId::from_bytes([2; 32]),
            size: 5,
            disk_bytes: 4096,
            inodes: 3,
            opaque: false,
        };
        write(&path, &info).unwrap();
        assert_eq!(read::<LayerInfo>(&path).unwrap(), info);
        let later = std::fs::read_to_string(&path)
            .unwrap()
            .replace("\"version\":1", "\"version\":2");
        std::fs::write(&path, later).unwrap();
        let e = read::<LayerInfo>(&path).unwrap_err();
        assert!(e.to_string().contains("version 2"), "{e}");
        std::fs::write(&path, "").unwrap();
        assert!(read::<LayerInfo>(&path).is_err());
    }
}
