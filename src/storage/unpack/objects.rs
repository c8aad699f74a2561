//! Making the object that an entry describes.

use std::io::BufRead;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::content::{WriteError, write_all, write_sparse};
use super::{UnpackError, Unpacker, at, kind_of, set};
use crate::storage::entry::EntryPath;
use crate::storage::metadata;
use crate::storage::tar::{Entry, Kind, TarReader};
use crate::sys::rooted;

impl Unpacker<'_> {
    pub(super) fn file<R: BufRead>(
        &mut self,
        path: &EntryPath,
        entry: &Entry,
        archive: &mut TarReader<R>,
        index: u64,
    ) -> Result<(), UnpackError> {
        let metadata = self.metadata(entry)?;
        let parent = self.reach(path.parent(), path.as_path())?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Mostly what it is to be in the end, so that it need not be changed.
        let made_with = Mode::from_raw_mode(entry.mode & 0o777);
        let fd = self
            .replacing(&parent, path.name(), |dir, name| {
                rustix::fs::openat(dir, name, flags, made_with)
            })
            .map_err(at(path.as_path(), "create the file"))?;
        let written = match &entry.sparse {
            None => write_all(&fd, None, entry.size, archive),
            Some(sparse) => write_sparse(&fd, sparse, archive),
        };
        written.map_err(|e| match e {
            WriteError::Archive(source) => UnpackError::Archive {
                index,
                after: path.as_path().to_string_lossy().into_owned(),
                source,
            },
            WriteError::File(source) => UnpackError::Make {
                path: path.as_path().to_owned(),
                step: "write the content",
                source,
            },
        })?;
        self.done.size += entry.sparse.as_ref().map_or(entry.size, |s| s.real_size);
        self.count(entry.size);
        self.done.dropped_xattrs += metadata.set(fd.as_fd()).map_err(set(path.as_path()))?;
        Ok(())
    }

    pub(super) fn hard_link(
        &mut self,
        path: &EntryPath,
        target: &EntryPath,
    ) -> Result<(), UnpackError> {
        let from = self.reach(target.parent(), path.as_path())?;
        let parent = self.reach(path.parent(), path.as_path())?;
        if from.real == parent.real && target.name() == path.name() {
            return Ok(());
        }
        self.replacing(&parent, path.name(), |dir, name| {
            // The target's own last component is never followed.
            rustix::fs::linkat(&from.fd, target.name(), dir, name, AtFlags::empty())
        })
        .map_err(at(path.as_path(), "make the hard link"))
    }

    pub(super) fn directory(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), UnpackError> {
        let fail = |source| at(path.as_path(), "make the directory")(source);
        let metadata = self.metadata(entry)?;
        let parent = self.reach(path.parent(), path.as_path())?;
        let make = || rustix::fs::mkdirat(&parent.fd, path.name(), Mode::RWXU);
        match make() {
            Ok(()) => self.count(0),
            Err(Errno::EXIST) => {
                let stat = rooted::stat_name(parent.fd.as_fd(), path.name()).map_err(fail)?;
                if !stat.is_some_and(|s| kind_of(&s) == FileType::Directory) {
                    self.clear(&parent, path.name()).map_err(fail)?;
                    make().map_err(fail)?;
                    self.count(0);
                    // What was here hid, or would have hidden, a directory of lower layers.
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let fd = rooted::open_beneath(&parent.fd, Path::new(path.name()), flags)
                        .map_err(|source| UnpackError::Parent {
                            path: path.as_path().to_owned(),
                            source,
                        })?;
                    metadata::set_opaque(fd.as_fd()).map_err(fail)?;
                }
            }
            Err(e) => return Err(fail(e)),
        }
        self.describe(parent.real.join(path.name()), metadata)
    }

    /// Makes a link, a device or a fifo.
    pub(super) fn node(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), UnpackError> {
        let metadata = self.metadata(entry)?;
        let parent = self.reach(path.parent(), path.as_path())?;
        let mode = Mode::from_raw_mode(entry.mode);
        let made = self.replacing(&parent, path.name(), |dir, name| match entry.kind {
            Kind::Symlink => rustix::fs::symlinkat(&entry.link[..], dir, name),
            Kind::Char(major, minor) => {
                let device = rustix::fs::makedev(major, minor);
                rustix::fs::mknodat(dir, name, FileType::CharacterDevice, mode, device)
            }
            Kind::Block(major, minor) => {
                let device = rustix::fs::makedev(major, minor);
                rustix::fs::mknodat(dir, name, FileType::BlockDevice, mode, device)
            }
            _ => rustix::fs::mknodat(dir, name, FileType::Fifo, mode, 0),
        });
        made.map_err(at(path.as_path(), "make the node"))?;
        self.count(0);
        let (dir, name) = (&parent.fd, path.name());
        let owner = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(dir, name, Some(owner.0), Some(owner.1), nofollow)
            .map_err(at(path.as_path(), "set the owner"))?;
        if entry.kind != Kind::Symlink {
            // Just made here, so it is no link that could be followed.
            rustix::fs::chmodat(dir, name, mode, AtFlags::empty())
                .map_err(at(path.as_path(), "set the mode"))?;
        }
        if !metadata.xattrs.is_empty() {
            let named = rooted::fd_path(dir.as_fd()).join(name);
            self.done.dropped_xattrs += metadata
                .set_xattrs(|key, value| {
                    rustix::fs::lsetxattr(&named, key, value, XattrFlags::empty())
                })
                .map_err(set(path.as_path()))?;
        }
        rustix::fs::utimensat(dir, name, &metadata.times(), nofollow)
            .map_err(at(path.as_path(), "set the times"))
    }

    /// Hides what lower layers have under this name. What this layer has there stays.
    pub(super) fn whiteout(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        let fail = |source| at(path.as_path(), "make the whiteout")(source);
        let parent = self.reach(path.parent(), path.as_path())?;
        let kind = FileType::CharacterDevice;
        match rustix::fs::mknodat(&parent.fd, path.name(), kind, Mode::empty(), 0) {
            Ok(()) => {
                self.count(0);
                let real = parent.real.join(path.name());
                self.defer(real.as_os_str().len() + 64)?;
                self.done.whiteouts.push(real);
                Ok(())
            }
            Err(Errno::EXIST) => {
                let stat = rooted::stat_name(parent.fd.as_fd(), path.name()).map_err(fail)?;
                if stat.is_some_and(|s| kind_of(&s) == FileType::Directory) {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let fd = rooted::open_beneath(&parent.fd, Path::new(path.name()), flags)
                        .map_err(|source| UnpackError::Parent {
                            path: path.as_path().to_owned(),
                            source,
                        })?;
                    metadata::set_opaque(fd.as_fd()).map_err(fail)?;
                }
                Ok(())
            }
            Err(e) => Err(fail(e)),
        }
    }
}
