//! Which address is whose, on the disk: as the plugin host-local keeps it, so that either goes on with what the other left.
//!
//! A directory for each network holds a file for each address in use, named for it, that says whose it is; a file for
//! each range set with the address that was given last; and a file that is locked by whoever reads or changes these.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::io::Errno;

use crate::sys::exclusive;

/// Between two tries to lock.
const PAUSE: Duration = Duration::from_millis(2);
/// What stands between a pod and its link.
const LINE_BREAK: &str = "\r\n";
/// Longer than whatever is written here.
const MAX_FILE: u64 = 4096;

/// A directory of reservations that does not do as it should.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not made, opened, read, written or removed.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process keeps the lock.
    #[error("{} is locked for more than {} s", path.display(), limit.as_secs_f32())]
    Locked {
        /// Which.
        path: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
}

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Identifier of the sandbox.
    pub id: &'a str,
    /// Its link.
    pub interface: &'a str,
}

impl Owner<'_> {
    fn text(&self) -> String {
        format!("{}{LINE_BREAK}{}", self.id.trim(), self.interface)
    }

    /// Whether a file says that an address is its owner's. Old versions of the plugin wrote no link.
    fn has(&self, text: &str) -> bool {
        text.trim() == self.text() || text.trim() == self.id.trim()
    }
}

/// A locked directory of reservations.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Store {
    /// Makes the directory of `network` if needed and locks it. Blocks, for `limit` at most.
    pub(super) fn open(
        data_dir: &Path,
        network: &str,
        limit: Duration,
    ) -> Result<Self, StoreError> {
        let dir = data_dir.join(network);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&dir);
        made.map_err(failed(&dir))?;
        Self::lock(dir, limit)
    }

    /// The same where there is a directory already; `None` where there is none, and so no reservation.
    pub(super) fn existing(
        data_dir: &Path,
        network: &str,
        limit: Duration,
    ) -> Result<Option<Self>, StoreError> {
        let dir = data_dir.join(network);
        match dir.is_dir() {
            true => Self::lock(dir, limit).map(Some),
            false => Ok(None),
        }
    }

    fn lock(dir: PathBuf, limit: Duration) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let lock = open_lock(&path).map_err(failed(&path))?;
        match exclusive::lock_within(&lock, limit, PAUSE) {
            Ok(()) => Ok(Self { dir, _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(StoreError::Locked { path, limit }),
            Err(e) => Err(failed(&path)(e.into())),
        }
    }

    /// Gives an address away; says whether it was free.
    pub(super) fn reserve(
        &self,
        ip: IpAddr,
        owner: &Owner<'_>,
        set: usize,
    ) -> Result<bool, StoreError> {
        let path = self.dir.join(ip.to_string());
        if read(&path)?.is_some_and(|text| !is_nobodys(&text)) {
            return Ok(false);
        }
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o644);
        let mut file = options.open(&path).map_err(failed(&path))?;
        let last = self.last_path(set);
        let written = file
            .write_all(owner.text().as_bytes())
            .map_err(failed(&path))
            .and_then(|()| fs::write(&last, ip.to_string()).map_err(failed(&last)));
        if let Err(e) = written {
            // Half a reservation is nobody's, and taken as the plugin sees it.
            remove(&path)?;
            return Err(e);
        }
        Ok(true)
    }

    /// The address that was given last of a range set.
    pub(super) fn last(&self, set: usize) -> Option<IpAddr> {
        // Where it cannot be read, the first free one is given.
        read(&self.last_path(set)).ok()??.trim().parse().ok()
    }

    /// The addresses of an owner.
    pub(super) fn of(&self, owner: &Owner<'_>) -> Result<Vec<IpAddr>, StoreError> {
        self.find(|text| owner.has(text))
    }

    /// Takes addresses back from those whose files `is_released` says so of, and those that are nobody's; says how many
    /// it were.
    pub(super) fn release_those(
        &self,
        is_released: impl Fn(&str) -> bool,
    ) -> Result<usize, StoreError> {
        let released = self.find(|text| is_nobodys(text) || is_released(text))?;
        for ip in &released {
            remove(&self.dir.join(ip.to_string()))?;
        }
        Ok(released.len())
    }

    /// Takes all addresses of an owner back. Those that it is thought to have are looked at first: where they are its
    /// own, the others need not be.
    pub(super) fn release(&self, owner: &Owner<'_>, known: &[IpAddr]) -> Result<(), StoreError> {
        let mut found = 0;
        for ip in known {
            let path = self.dir.join(ip.to_string());
            if read(&path)?.is_some_and(|text| owner.has(&text)) {
                remove(&path)?;
                found += 1;
            }
        }
        if known.is_empty() || found < known.len() {
            self.release_those(|text| owner.has(text))?;
        }
        Ok(())
    }

    fn find(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<IpAddr>, StoreError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed(&self.dir))? {
            let name = entry.map_err(failed(&self.dir))?.file_name();
            let Some(ip) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if read(&self.dir.join(&name))?.is_some_and(|text| is_wanted(&text)) {
                found.push(ip);
            }
        }
        found.sort();
        Ok(found)
    }

    fn last_path(&self, set: usize) -> PathBuf {
        self.dir.join(format!("last_reserved_ip.{set}"))
    }
}

/// Whether a file of an address was made and never written, for a process was killed or power lost in between. Nobody
/// is about to write it: that is done by whoever has the lock.
fn is_nobodys(text: &str) -> bool {
    text.trim().is_empty()
}

/// Whether a file of an address names one of these owners.
pub(super) fn is_of_any<'a>(text: &str, owners: impl IntoIterator<Item = Owner<'a>>) -> bool {
    owners.into_iter().any(|owner| owner.has(text))
}

fn open_lock(path: &Path) -> io::Result<File> {
    // As the plugin opens it: read, and with its mode.
    let fd = rustix::fs::open(
        path,
        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::from_raw_mode(0o750),
    )?;
    Ok(fd.into())
}

/// What a file says; `None` when it is not there.
fn read(path: &Path) -> Result<Option<String>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(path)(e)),
    };
    let mut bytes = Vec::new();
    let done = file.take(MAX_FILE).read_to_end(&mut bytes);
    done.map_err(failed(path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(path)(e)),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    |source| StoreError::File { path, source }
}
