//! The records: what must outlive the daemon, one file per object.
//!
//! Every write goes through one thread, which stages, syncs, renames and syncs the directory, and
//! does so for all requests that wait together, so that a burst costs few disk flushes.

pub(crate) mod format;
mod read;
mod writer;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

pub use format::FormatError;
use read::{Verdict, files_by_id, reconcile};
use writer::{Change, Durability, RECORD, Writer};

/// A kind of object that is kept in the store.
pub trait Record: Serialize + DeserializeOwned + Send + 'static {
    /// Directory name of the kind, in the plural.
    const KIND: &'static str;
    /// Version of the schema; a record of another version is set aside.
    const VERSION: u32;
}

/// Why a record could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A name that is not a plain file name.
    #[error("{0:?} cannot name a record")]
    Name(String),
    /// The store's directory cannot be made or read.
    #[error("opening the store at {path}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The record cannot be turned into text.
    #[error("encoding record {kind}/{id}")]
    Encode {
        /// The kind.
        kind: &'static str,
        /// The object.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The record did not reach the disk.
    #[error("writing record {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The writer is gone.
    #[error("the record writer has stopped")]
    Stopped,
}

impl StoreError {
    /// Whether the disk (or its inodes, or a quota) is exhausted.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Write { source, .. }
            if matches!(source.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)))
    }
}

/// What is found when the records of a kind are read.
#[derive(Debug)]
pub struct Loaded<R> {
    /// Readable ones, with their names.
    pub records: Vec<(String, R)>,
    /// Unreadable ones, moved out of the way.
    pub set_aside: Vec<SetAside>,
}

/// A record that could not be read.
#[derive(Debug)]
pub struct SetAside {
    /// The kind.
    pub kind: &'static str,
    /// Its name.
    pub id: String,
    /// Where it lies now.
    pub moved_to: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

/// The store; clones share one writer.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    writer: Writer,
}

impl Store {
    /// Opens the store below `root`, making its directory (mode 0700).
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let opened = |path: &Path, source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        make_dir(root).map_err(|e| opened(root, e))?;
        let writer = Writer::start().map_err(|e| opened(root, e))?;
        Ok(Self {
            root: root.to_owned(),
            writer,
        })
    }

    /// Keeps `record`; on return it survives a power cut.
    pub async fn put<R: Record>(&self, id: &str, record: &R) -> Result<(), StoreError> {
        self.write(id, record, Durability::PowerCut).await
    }

    /// Keeps `record`; on return it survives the death of the daemon, but perhaps not a power cut.
    ///
    /// For intents, whose side effects do not survive a power cut either, and for what can be found out again.
    /// After a power cut the record is as it was last [put](Store::put); one that never was is gone.
    pub async fn note<R: Record>(&self, id: &str, record: &R) -> Result<(), StoreError> {
        self.write(id, record, Durability::Crash).await
    }

    /// Forgets a record; one that is not there is no error.
    pub async fn delete<R: Record>(&self, id: &str) -> Result<(), StoreError> {
        let path = self.path::<R>(id)?;
        self.writer
            .submit(Change::Delete { path }, Durability::Crash)
            .await
    }

    /// Reads all records of a kind, and sets the unreadable ones aside.
    pub fn load<R: Record>(&self) -> Result<Loaded<R>, StoreError> {
        let dir = self.root.join(R::KIND);
        let failed = |source| StoreError::Open {
            path: dir.clone(),
            source,
        };
        make_dir(&dir).map_err(failed)?;
        let mut loaded = Loaded {
            records: Vec::new(),
            set_aside: Vec::new(),
        };
        for (id, files) in files_by_id(&dir).map_err(failed)? {
            match reconcile::<R>(&dir, &id, files) {
                Verdict::Record(record) => loaded.records.push((id, record)),
                Verdict::Nothing => {}
                Verdict::Unreadable(names, reason) => {
                    for name in names {
                        let path = dir.join(name);
                        let aside = self.set_aside::<R>(&id, &path, reason.clone())?;
                        loaded.set_aside.push(aside);
                    }
                }
            }
        }
        loaded.records.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(loaded)
    }

    async fn write<R: Record>(
        &self,
        id: &str,
        record: &R,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let path = self.path::<R>(id)?;
        let bytes =
            format::encode(R::KIND, R::VERSION, record).map_err(|source| StoreError::Encode {
                kind: R::KIND,
                id: id.to_owned(),
                source,
            })?;
        self.writer
            .submit(Change::Put { path, bytes }, durability)
            .await
    }

    fn path<R: Record>(&self, id: &str) -> Result<PathBuf, StoreError> {
        if !is_plain_name(id) {
            return Err(StoreError::Name(id.to_owned()));
        }
        Ok(self.root.join(R::KIND).join(format!("{id}{RECORD}")))
    }

    fn set_aside<R: Record>(
        &self,
        id: &str,
        path: &Path,
        reason: String,
    ) -> Result<SetAside, StoreError> {
        let dir = self.root.join("set-aside").join(R::KIND);
        let failed = |source| StoreError::Open {
            path: dir.clone(),
            source,
        };
        make_dir(&dir).map_err(failed)?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        let moved_to = dir.join(format!("{id}.{now}.{ending}"));
        fs::rename(path, &moved_to).map_err(failed)?;
        Ok(SetAside {
            kind: R::KIND,
            id: id.to_owned(),
            moved_to,
            reason,
        })
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn is_plain_name(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 200
        && !id.starts_with('.')
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Thing {
        n: u64,
    }
    impl Record for Thing {
        const KIND: &'static str = "things";
        const VERSION: u32 = 1;
    }

    #[tokio::test]
    async fn keeps_replaces_and_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.load::<Thing>().unwrap();
        store.put("a", &Thing { n: 1 }).await.unwrap();
        store.note("a", &Thing { n: 2 }).await.unwrap();
        store.put("b", &Thing { n: 3 }).await.unwrap();
        store.delete::<Thing>("b").await.unwrap();
        store.delete::<Thing>("b").await.unwrap();
        let loaded = store.load::<Thing>().unwrap();
        assert_eq!(loaded.records, vec![("a".into(), Thing { n: 2 })]);
        assert!(loaded.set_aside.is_empty());
    }

    #[tokio::test]
    async fn a_note_that_a_power_cut_spoilt_leaves_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let things = dir.path().join("things");
        store.put("kept", &Thing { n: 1 }).await.unwrap();
        store.note("kept", &Thing { n: 2 }).await.unwrap();
        store.note("never", &Thing { n: 3 }).await.unwrap();
        let whole = |n| {
            vec![
                ("kept".to_owned(), Thing { n }),
                ("never".to_owned(), Thing { n: 3 }),
            ]
        };
        assert_eq!(store.load::<Thing>().unwrap().records, whole(2));
        // What was not synced may be anything by then.
        for spoilt in [
            "",
            "\0\0\0\0",
            "corten-record thin",
            "corten-record things 1 00 -\n{}",
        ] {
            for id in ["kept", "never"] {
                fs::write(things.join(format!("{id}.note")), spoilt).unwrap();
            }
            let loaded = store.load::<Thing>().unwrap();
            assert_eq!(
                loaded.records,
                [("kept".to_owned(), Thing { n: 1 })],
                "{spoilt:?}"
            );
            assert!(loaded.set_aside.is_empty(), "{spoilt:?}");
            assert_eq!(fs::read_dir(&things).unwrap().count(), 1);
        }
    }

    #[tokio::test]
    async fn a_note_over_another_record_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let note = dir.path().join("things/a.note");
        store.put("a", &Thing { n: 1 }).await.unwrap();
        store.note("a", &Thing { n: 2 }).await.unwrap();
        let old = fs::read(&note).unwrap();
        store.put("a", &Thing { n: 3 }).await.unwrap();
        assert!(!note.exists());
        // As if the daemon had been killed between the two steps.
        fs::write(&note, &old).unwrap();
        let three = [("a".to_owned(), Thing { n: 3 })];
        assert_eq!(store.load::<Thing>().unwrap().records, three);
        fs::write(&note, &old).unwrap();
        fs::remove_file(dir.path().join("things/a.json")).unwrap();
        assert!(store.load::<Thing>().unwrap().records.is_empty());
        store.note("a", &Thing { n: 4 }).await.unwrap();
        store.delete::<Thing>("a").await.unwrap();
        assert!(store.load::<Thing>().unwrap().records.is_empty());
    }

    #[tokio::test]
    async fn a_burst_keeps_the_last_of_each() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..200u64 {
            let store = store.clone();
            tasks.spawn(async move { store.put(&format!("t{}", n % 50), &Thing { n }).await });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!(store.load::<Thing>().unwrap().records.len(), 50);
    }

    #[tokio::test]
    async fn sets_aside_what_it_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put("good", &Thing { n: 1 }).await.unwrap();
        let things = dir.path().join("things");
        let good = fs::read(things.join("good.json")).unwrap();
        fs::write(things.join("cut.json"), &good[..good.len() - 2]).unwrap();
        fs::write(things.join("empty.json"), b"").unwrap();
        fs::write(things.join("cut.note"), b"over what is cut").unwrap();
        fs::write(things.join("x.json.staged"), b"half").unwrap();
        let loaded = store.load::<Thing>().unwrap();
        assert_eq!(loaded.records.len(), 1);
        let mut ids: Vec<_> = loaded.set_aside.iter().map(|s| s.id.as_str()).collect();
        ids.sort();
        assert_eq!(ids, ["cut", "cut", "empty"]);
        assert!(loaded.set_aside.iter().all(|s| s.moved_to.exists()));
        assert!(!things.join("x.json.staged").exists());
        assert!(store.load::<Thing>().unwrap().set_aside.is_empty());
    }

    #[tokio::test]
    async fn refuses_names_that_are_paths() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for bad in ["", "../x", "a/b", ".hidden", "a\0"] {
            assert!(matches!(
                store.put(bad, &Thing { n: 1 }).await,
                Err(StoreError::Name(_))
            ));
        }
    }

    #[tokio::test]
    async fn a_write_that_fails_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        fs::write(dir.path().join("things"), b"in the way").unwrap();
        let error = store.put("a", &Thing { n: 1 }).await.unwrap_err();
        assert!(error.to_string().contains("things/a.json"), "{error}");
    }
}
