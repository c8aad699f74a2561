//! The files of an archive or a layout, wherever they lie.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
    sync::Arc,
};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::ArchiveError;
use crate::image::{
    digest::{Digest, Hasher, clip},
    error::ImageError,
    layers::Blobs,
    manifest::Layer,
};

/// A part of a file, read without moving the file's own position.
#[derive(Debug)]
pub(super) struct Slice {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Slice {
    pub(super) fn new(file: Arc<File>, at: u64, size: u64) -> Self {
        Self {
            file,
            at,
            end: at.saturating_add(size),
        }
    }

    /// Bytes left.
    pub(super) fn len(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Slice {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.len())
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let n = self.file.read_at(&mut buf[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Files by their path in the archive.
pub(super) trait Files: Send + Sync + fmt::Debug {
    /// Opens a file; one that is not there is an error.
    fn open(&self, path: &str) -> Result<Slice, ArchiveError>;

    /// Whether there is such a file.
    fn has(&self, path: &str) -> bool {
        self.open(path).is_ok()
    }

    /// Reads a file of at most `most` bytes.
    fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut file = self.open(path)?;
        if file.len() > most {
            return Err(ArchiveError::Member {
                path: clip(path),
                size: file.len(),
                most,
            });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|e| ArchiveError::io("reading the archive", e))?;
        Ok(bytes)
    }
}

/// A directory; links in it do not lead out of it.
#[derive(Debug)]
pub(super) struct DirFiles(OwnedFd);

impl DirFiles {
    pub(super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        rustix::fs::open(
            path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(Self)
        .map_err(|e| ArchiveError::Open {
            path: path.to_owned(),
            source: e.into(),
        })
    }
}

impl Files for DirFiles {
    fn open(&self, path: &str) -> Result<Slice, ArchiveError> {
        let fd = rustix::fs::openat2(
            &self.0,
            path,
            // Not to hang on a named pipe.
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(|e| match e {
            rustix::io::Errno::NOENT => ArchiveError::Missing(clip(path)),
            rustix::io::Errno::XDEV => ArchiveError::Path(clip(path)),
            e => ArchiveError::io("opening a file of the layout", e.into()),
        })?;
        let file = File::from(fd);
        let meta = file
            .metadata()
            .map_err(|e| ArchiveError::io("opening a file of the layout", e))?;
        if !meta.is_file() {
            return Err(ArchiveError::Missing(clip(path)));
        }
        Ok(Slice::new(Arc::new(file), 0, meta.len()))
    }
}

/// The blobs of a layout or an archive.
#[derive(Debug)]
pub(super) struct LocalBlobs {
    pub(super) files: Arc<dyn Files>,
    /// Where each blob lies; the place that its digest gives when it is not said.
    pub(super) paths: HashMap<Digest, String>,
}

/// Where a layout keeps a blob.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Blobs for LocalBlobs {
    fn open(&self, layer: &Layer) -> Result<Box<dyn Read + Send>, ImageError> {
        let digest = &layer.blob.digest;
        let path = match self.paths.get(digest) {
            Some(path) => path.clone(),
            None => blob_path(digest),
        };
        let slice = self.files.open(&path).map_err(super::archive)?;
        Ok(Box::new(slice))
    }
}

/// The digest of a file.
pub(super) fn hash(mut file: Slice) -> Result<Digest, ArchiveError> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(ArchiveError::io("reading the archive", e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_and_dots_do_not_lead_out() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("layout");
        fs::create_dir(&dir).unwrap();
        fs::write(top.path().join("secret"), "s").unwrap();
        fs::write(dir.join("index.json"), "i").unwrap();
        std::os::unix::fs::symlink("../secret", dir.join("out")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("abs")).unwrap();
        std::os::unix::fs::symlink("index.json", dir.join("in")).unwrap();
        let files = DirFiles::open(&dir).unwrap();
        assert_eq!(files.read("index.json", 10).unwrap(), b"i");
        assert_eq!(files.read("in", 10).unwrap(), b"i");
        for bad in ["out", "abs", "../secret", "/etc/passwd", "."] {
            assert!(files.open(bad).is_err(), "{bad}");
        }
        assert!(matches!(
            files.read("index.json", 0),
            Err(ArchiveError::Member { .. })
        ));
    }
}
