//! Loading images from archives and directories: OCI layouts, and what `docker save` writes.
//!
//! Nothing is extracted: an archive is indexed where it lies, and its members are read by their place.
//! So no path in it ever reaches the file system.

mod docker;
mod error;
mod files;
mod layout;
mod names;
mod spool;
mod tarball;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::io::{AsyncRead, AsyncReadExt};

pub use error::ArchiveError;

use self::files::{DirFiles, Files, LocalBlobs};
use super::{
    Images,
    digest::Digest,
    error::ImageError,
    layers::{Blobs, Origin},
    manifest::{MAX_CONFIG, Manifest},
    platform::Platform,
    progress::Board,
    pull::{Incoming, read_config, receive},
    record::Image,
    stream::{self, Piece},
};

/// How an archive is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The name for images that bear none, or only a tag.
    pub name: Option<String>,
    /// The platform to choose; this one when not given.
    pub platform: Option<Platform>,
}

/// An image found in an archive.
#[derive(Debug)]
struct Found {
    /// For messages.
    label: String,
    tags: Vec<String>,
    digests: Vec<String>,
    inner_digests: Vec<String>,
    manifest: Manifest,
    config: Vec<u8>,
    blobs: Arc<LocalBlobs>,
}

impl Images {
    /// Loads the images of a directory, or of an archive in a file.
    pub async fn load_path(
        &self,
        path: &Path,
        options: LoadOptions,
    ) -> Result<Vec<Arc<Image>>, ImageError> {
        let config = &self.inner.config;
        let (dir, cap) = (config.temp_dir.clone(), config.max_archive);
        let opened = path.to_owned();
        let stem = names::stem(path);
        let files = super::blocking("(archive)", move || open_path(&opened, &dir, cap))
            .await?
            .map_err(archive)?;
        self.load_files(files, options, stem).await
    }

    /// Loads the images of an archive that comes as a stream, compressed or not.
    pub async fn load_reader(
        &self,
        mut reader: impl AsyncRead + Send + Unpin,
        options: LoadOptions,
    ) -> Result<Vec<Arc<Image>>, ImageError> {
        let config = &self.inner.config;
        let (dir, cap) = (config.temp_dir.clone(), config.max_archive);
        let (sender, pipe) = stream::pipe();
        let spool = tokio::task::spawn_blocking(move || {
            let file = spool::spool(pipe, &dir, cap)?;
            tarball::TarFiles::index(file).map(|tar| Arc::new(tar) as Arc<dyn Files>)
        });
        let mut buffer = vec![0; 128 << 10];
        let read = loop {
            match reader.read(&mut buffer).await {
                Ok(0) => {
                    let _ = sender.send(Piece::End).await;
                    break Ok(());
                }
                Ok(n) => {
                    let piece = Piece::Data(bytes::Bytes::copy_from_slice(&buffer[..n]));
                    if sender.send(piece).await.is_err() {
                        break Ok(());
                    }
                }
                Err(source) => break Err(source),
            }
        };
        drop(sender);
        let files = spool.await.map_err(|_| ImageError::Interrupted {
            image: "(archive)".into(),
        })?;
        read.map_err(|source| archive(ArchiveError::io("reading the stream", source)))?;
        self.load_files(files.map_err(archive)?, options, None)
            .await
    }

    async fn load_files(
        &self,
        files: Arc<dyn Files>,
        options: LoadOptions,
        stem: Option<String>,
    ) -> Result<Vec<Arc<Image>>, ImageError> {
        let platform = options
            .platform
            .unwrap_or_else(|| self.inner.config.platform.clone());
        let namer = names::Namer::new(options.name.as_deref(), stem)?;
        let found = {
            let platform = platform.clone();
            super::blocking("(archive)", move || find(&files, &namer, &platform)).await??
        };
        let mut images = Vec::with_capacity(found.len());
        for found in found {
            images.push(self.load_one(found, &platform).await?);
        }
        Ok(images)
    }

    async fn load_one(&self, found: Found, platform: &Platform) -> Result<Arc<Image>, ImageError> {
        let parsed = read_config(&found.label, &found.config, platform, &found.manifest)?;
        let incoming = Incoming {
            id: Digest::of(&found.config),
            tags: found.tags,
            digests: found.digests,
            inner_digests: found.inner_digests,
            parsed,
            config_size: found.config.len() as u64,
        };
        let origin = Origin::Local(found.blobs as Arc<dyn Blobs>);
        let inner = self.inner.clone();
        // What was begun is finished, whether or not the caller waits.
        let label = found.label.clone();
        let work = tokio::spawn(async move {
            let board = Board::new();
            receive(
                &inner,
                &found.label,
                &found.manifest,
                incoming,
                &origin,
                &board,
            )
            .await
        });
        work.await
            .unwrap_or(Err(ImageError::Interrupted { image: label }))
    }
}

/// The images of an archive, by whichever of the two formats it has; a recent `docker save` has both.
fn find(
    files: &Arc<dyn Files>,
    namer: &names::Namer,
    platform: &Platform,
) -> Result<Vec<Found>, ImageError> {
    if files.has("index.json") && files.has("oci-layout") {
        let docker = docker::tags(files.as_ref()).map_err(archive)?;
        return layout::find(files, namer, platform, &docker);
    }
    if files.has("manifest.json") {
        return docker::find(files, namer);
    }
    Err(archive(ArchiveError::Unrecognised))
}

/// What an archive holds: how many images, or why it has none.
#[cfg(fuzzing)]
pub(crate) fn count(file: File) -> Result<usize, ImageError> {
    let files: Arc<dyn Files> = Arc::new(tarball::TarFiles::index(file).map_err(archive)?);
    let namer = names::Namer::new(None, None)?;
    find(&files, &namer, &Platform::host()).map(|found| found.len())
}

/// Reads a configuration; its digest is the image's ID.
fn config_bytes(files: &dyn Files, path: &str) -> Result<Vec<u8>, ArchiveError> {
    files.read(path, MAX_CONFIG as u64)
}

fn archive(error: ArchiveError) -> ImageError {
    ImageError::Archive(Arc::new(error))
}

fn open_path(path: &Path, dir: &Path, cap: u64) -> Result<Arc<dyn Files>, ArchiveError> {
    let failed = |source| ArchiveError::Open {
        path: path.to_owned(),
        source,
    };
    let meta = fs::metadata(path).map_err(failed)?;
    if meta.is_dir() {
        return Ok(Arc::new(DirFiles::open(path)?));
    }
    let file = File::open(path).map_err(failed)?;
    let file = if meta.is_file() && !spool::is_compressed(&file).map_err(failed)? {
        file
    } else {
        spool::spool(file, dir, cap)?
    };
    Ok(Arc::new(tarball::TarFiles::index(file)?))
}

/// Makes the directory for archives on their way in, and clears what a crash left there.
pub(super) fn prepare_temp_dir(dir: &Path) -> Result<(), ImageError> {
    let failed = |source| ImageError::Io {
        step: "preparing the directory",
        path: PathBuf::from(dir),
        source: Arc::new(source),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed)?;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(spool::PREFIX.as_bytes())
        {
            match fs::remove_file(entry.path()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
                _ => {}
            }
        }
    }
    Ok(())
}
