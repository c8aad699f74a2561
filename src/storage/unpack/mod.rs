//! Makes one layer's directory from its archive.
//!
//! Every object is made by name in a directory descriptor that was reached without leaving the layer, and
//! nothing is ever opened through the last component of a name. Links within the layer are followed for
//! the directories above an entry, as readers of layers do, but resolved inside the layer.

mod content;
mod error;
mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::BufRead;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::storage::entry::{self, Meaning};
use crate::storage::limits::Limits;
use crate::storage::metadata::{self, Metadata};
use crate::storage::settle::is_whiteout;
use crate::storage::tar::{Entry, Kind, TarReader};
use crate::sys::rooted::{self, Met, RootedError, Step};

pub use error::UnpackError;

/// The unit in which space is counted.
const BLOCK: u64 = 4096;
/// The mode of a directory that no entry describes.
const IMPLICIT_MODE: u32 = 0o755;

/// What was unpacked.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// Bytes of file content.
    pub(crate) size: u64,
    /// Bytes taken on the file system, counted in its blocks.
    pub(crate) disk_bytes: u64,
    pub(crate) inodes: u64,
    /// Directories made only because something is in them, by their link-free paths.
    pub(crate) implicit: Vec<PathBuf>,
    /// Whiteouts, by their link-free paths; some may have been replaced since.
    pub(crate) whiteouts: Vec<PathBuf>,
    /// The layer hides everything beneath it.
    pub(crate) opaque_top: bool,
    /// Extended attributes not kept.
    pub(crate) dropped_xattrs: usize,
}

/// A directory that was reached.
struct Parent {
    /// The path it was asked for by.
    asked: PathBuf,
    /// Its path without links.
    real: PathBuf,
    fd: OwnedFd,
}

struct Unpacker<'a> {
    top: BorrowedFd<'a>,
    /// Where directories go that later entries replace; emptied with the staging directory.
    attic: BorrowedFd<'a>,
    in_attic: u64,
    limits: Limits,
    deferred: BTreeMap<PathBuf, Metadata>,
    deferred_bytes: usize,
    implicit: BTreeSet<PathBuf>,
    last: Option<Rc<Parent>>,
    done: Unpacked,
}

/// Unpacks `archive` into the empty directory `top` and returns what is in it.
pub(crate) fn unpack<R: BufRead>(
    archive: &mut TarReader<R>,
    top: BorrowedFd<'_>,
    attic: BorrowedFd<'_>,
    limits: Limits,
) -> Result<Unpacked, UnpackError> {
    let mut unpacker = Unpacker {
        top,
        attic,
        in_attic: 0,
        limits,
        deferred: BTreeMap::new(),
        deferred_bytes: 0,
        implicit: BTreeSet::from([PathBuf::new()]),
        last: None,
        done: Unpacked {
            inodes: 1,
            disk_bytes: BLOCK,
            ..Unpacked::default()
        },
    };
    let mut index = 0;
    let mut after = Vec::new();
    loop {
        let next = archive.next().map_err(|source| UnpackError::Archive {
            index,
            after: String::from_utf8_lossy(&after).into_owned(),
            source,
        })?;
        let Some(entry) = next else { break };
        index += 1;
        if index > limits.entries {
            return Err(UnpackError::Limit {
                what: "entries",
                limit: limits.entries,
            });
        }
        after = unpacker.entry(entry, archive, index)?;
    }
    unpacker.finish()
}

impl Unpacker<'_> {
    fn entry<R: BufRead>(
        &mut self,
        entry: Entry,
        archive: &mut TarReader<R>,
        index: u64,
    ) -> Result<Vec<u8>, UnpackError> {
        let name = |what, name: &[u8]| {
            let name = String::from_utf8_lossy(name).into_owned();
            move |source| UnpackError::Name { what, name, source }
        };
        match entry::meaning(&entry.path).map_err(name("name", &entry.path))? {
            Meaning::Nothing => {}
            Meaning::Top => {
                if entry.kind != Kind::Directory {
                    return Err(UnpackError::Top);
                }
                let metadata = self.metadata(&entry)?;
                self.describe(PathBuf::new(), metadata)?;
            }
            Meaning::Whiteout(path) => self.whiteout(&path)?,
            Meaning::Opaque(dir) => {
                let parent = self.reach(&dir, &dir)?;
                metadata::set_opaque(parent.fd.as_fd()).map_err(at(&dir, "hide the content"))?;
                self.done.opaque_top |= parent.real.as_os_str().is_empty();
            }
            Meaning::Object(path) => match entry.kind {
                Kind::File => self.file(&path, &entry, archive, index)?,
                Kind::HardLink => {
                    let target = entry::link_target(&entry.link)
                        .map_err(name("link target", &entry.link))?;
                    self.hard_link(&path, &target)?;
                }
                Kind::Directory => self.directory(&path, &entry)?,
                Kind::Symlink | Kind::Char(..) | Kind::Block(..) | Kind::Fifo => {
                    self.node(&path, &entry)?;
                }
            },
        }
        Ok(entry.path)
    }

    /// Reaches the directory `dir` of entry `path`, making what is missing.
    fn reach(&mut self, dir: &Path, path: &Path) -> Result<Rc<Parent>, UnpackError> {
        if let Some(last) = self.last.as_ref().filter(|last| last.asked == dir) {
            return Ok(Rc::clone(last));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let (fd, real) = match rooted::open_beneath(self.top, dir, flags) {
            Ok(fd) => (fd, dir.to_owned()),
            Err(_) => self
                .make_parents(dir)
                .map_err(|source| UnpackError::Parent {
                    path: path.to_owned(),
                    source,
                })?,
        };
        let parent = Rc::new(Parent {
            asked: dir.to_owned(),
            real,
            fd,
        });
        self.last = Some(Rc::clone(&parent));
        Ok(parent)
    }

    fn make_parents(&mut self, dir: &Path) -> Result<(OwnedFd, PathBuf), RootedError> {
        let mut unhide = false;
        let mut made = Vec::new();
        let walked = rooted::walk_making(
            self.top,
            dir,
            Mode::from_raw_mode(IMPLICIT_MODE),
            &mut |real, met| match met {
                Met::Made(fd) => {
                    if std::mem::take(&mut unhide) {
                        metadata::set_opaque(fd)?;
                    }
                    made.push(real.to_owned());
                    Ok(Step::Keep)
                }
                Met::Blocked { parent, name } => match rooted::stat_name(parent, name)? {
                    // The layer hides a directory of lower layers and then has one of its own.
                    Some(stat) if is_whiteout(&stat) => {
                        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
                        unhide = true;
                        Ok(Step::Removed)
                    }
                    _ => Ok(Step::Keep),
                },
            },
        );
        for path in made {
            self.count(0);
            self.implicit.insert(path);
        }
        walked
    }

    /// Makes something under a name, taking away what an earlier entry put there.
    fn replacing<T>(
        &mut self,
        parent: &Parent,
        name: &OsStr,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match make(parent.fd.as_fd(), name) {
            Err(Errno::EXIST) => {
                self.clear(parent, name)?;
                make(parent.fd.as_fd(), name)
            }
            made => made,
        }
    }

    /// Takes away what an earlier entry put under a name, and what is known of it.
    fn clear(&mut self, parent: &Parent, name: &OsStr) -> Result<(), Errno> {
        let Some(stat) = rooted::stat_name(parent.fd.as_fd(), name)? else {
            return Ok(());
        };
        // Directories below may have been reached through what goes away.
        self.last = None;
        if kind_of(&stat) != FileType::Directory {
            rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty())?;
            if stat.st_nlink <= 1 {
                self.uncount(u64::try_from(stat.st_size).unwrap_or(0));
            }
            return Ok(());
        }
        let aside = self.in_attic.to_string();
        rustix::fs::renameat(&parent.fd, name, self.attic, aside)?;
        self.in_attic += 1;
        let real = parent.real.join(name);
        let from = (Bound::Included(real.as_path()), Bound::Unbounded);
        let described = self.deferred.range::<Path, _>(from).map(|(path, _)| path);
        let implicit = self.implicit.range::<Path, _>(from);
        let inside = |path: &&PathBuf| path.starts_with(&real);
        let gone: Vec<PathBuf> = described
            .take_while(inside)
            .chain(implicit.take_while(inside))
            .cloned()
            .collect();
        for path in gone {
            self.implicit.remove(&path);
            self.forget(&path);
        }
        Ok(())
    }

    /// Remembers the metadata of a directory until nothing more is put into it.
    fn describe(&mut self, real: PathBuf, metadata: Metadata) -> Result<(), UnpackError> {
        self.implicit.remove(&real);
        self.forget(&real);
        self.defer(weight(&real, &metadata))?;
        self.deferred.insert(real, metadata);
        Ok(())
    }

    /// Accounts for memory that is held until the layer is complete.
    fn defer(&mut self, bytes: usize) -> Result<(), UnpackError> {
        self.deferred_bytes += bytes;
        if self.deferred_bytes > self.limits.deferred_bytes {
            return Err(UnpackError::Limit {
                what: "bytes of metadata to be set at its end",
                limit: self.limits.deferred_bytes as u64,
            });
        }
        Ok(())
    }

    fn forget(&mut self, real: &Path) {
        if let Some(metadata) = self.deferred.remove(real) {
            self.deferred_bytes -= weight(real, &metadata);
        }
    }

    fn metadata(&self, entry: &Entry) -> Result<Metadata, UnpackError> {
        let bytes: usize = entry.xattrs.iter().map(|(n, v)| n.len() + v.len()).sum();
        if bytes > self.limits.xattr_bytes {
            return Err(UnpackError::Limit {
                what: "bytes of extended attributes on one entry",
                limit: self.limits.xattr_bytes as u64,
            });
        }
        Ok(Metadata {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs.clone(),
        })
    }

    fn finish(mut self) -> Result<Unpacked, UnpackError> {
        // Deepest first, so that no directory changes once its times are set.
        while let Some((path, metadata)) = self.deferred.pop_last() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let fd = rooted::open_beneath(self.top, &path, flags).map_err(|source| {
                UnpackError::Parent {
                    path: path.clone(),
                    source,
                }
            })?;
            self.done.dropped_xattrs += metadata.set(fd.as_fd()).map_err(set(&path))?;
        }
        self.done.implicit = self.implicit.into_iter().collect();
        Ok(self.done)
    }

    fn count(&mut self, bytes: u64) {
        self.done.inodes += 1;
        self.done.disk_bytes += bytes.div_ceil(BLOCK) * BLOCK;
    }

    fn uncount(&mut self, bytes: u64) {
        self.done.inodes = self.done.inodes.saturating_sub(1);
        let blocks = bytes.div_ceil(BLOCK) * BLOCK;
        self.done.disk_bytes = self.done.disk_bytes.saturating_sub(blocks);
    }
}

fn weight(path: &Path, metadata: &Metadata) -> usize {
    path.as_os_str().len() + metadata.weight()
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn at(path: &Path, step: &'static str) -> impl Fn(Errno) -> UnpackError {
    move |source| UnpackError::Make {
        path: path.to_owned(),
        step,
        source,
    }
}

fn set(path: &Path) -> impl Fn(metadata::Failed) -> UnpackError {
    move |(step, source)| UnpackError::Make {
        path: path.to_owned(),
        step,
        source,
    }
}
