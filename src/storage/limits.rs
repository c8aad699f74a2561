//! What one layer may ask of the machine.

/// Bounds on one layer; a layer beyond any of them is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of the archive once decompressed.
    pub bytes: u64,
    /// Bytes of all extended attributes of one entry.
    pub xattr_bytes: usize,
    /// Memory for the metadata of directories, which is set once their content is there.
    pub deferred_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            bytes: 512 << 30,
            xattr_bytes: 256 << 10,
            deferred_bytes: 256 << 20,
        }
    }
}
