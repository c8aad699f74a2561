//! Records of attachments: what DEL needs, whatever happens to configuration, namespace and daemon.
//!
//! Two files a pod. `ID.intent` says that ADD was begun, with which configuration and for which pod; it is
//! there before the first plugin runs and goes only after DEL. It is synced while plugins run: a daemon that dies meanwhile
//! leaves it, and a power cut takes what the plugins did along with it. `ID.result` says what ADD returned; DEL works
//! without it, so it is written atomically but not synced. A file that cannot be read is set aside as `NAME.bad`.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::conf::ConfList;
use crate::{
    id::Id,
    locks::Locks,
    network::{
        Attachment, PodNetwork,
        native::plugin::{Way, publishes_ports},
    },
    step::{self, Step},
};

/// Largest record read.
const MAX_RECORD: u64 = 8 << 20;
/// Version of the records' shape.
const VERSION: u32 = 1;

/// ADD was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    version: u32,
    /// The pod as given.
    pub pod: PodNetwork,
    /// The configuration used, whole.
    pub conf: ConfList,
    /// Host ports are published by this runtime and not by a plugin.
    pub native_ports: bool,
    /// The plugins that were done natively.
    #[serde(default)]
    pub native: BTreeSet<String>,
}

/// ADD returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    version: u32,
    /// The last plugin's result, as given.
    pub result: Value,
    /// The same in our terms.
    pub attachment: Attachment,
}

impl Intent {
    /// About to attach `pod`.
    pub fn new(pod: PodNetwork, conf: ConfList, ways: &[Way]) -> Self {
        let done = conf.plugins.iter().zip(ways);
        let native = done.filter(|(_, way)| matches!(way, Way::Native(_)));
        Self {
            version: VERSION,
            native_ports: !pod.ports.is_empty() && publishes_ports(&conf, ways),
            native: native.map(|(plugin, _)| plugin.kind.clone()).collect(),
            pod,
            conf,
        }
    }
}

impl Outcome {
    /// It is attached.
    pub fn new(result: Value, attachment: Attachment) -> Self {
        Self {
            version: VERSION,
            result,
            attachment,
        }
    }
}

/// A record that could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory.
    #[error("network records: making {}", path.display())]
    MakeDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not listed.
    #[error("network records: listing {}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not written.
    #[error("network records: writing {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not read.
    #[error("network records: reading {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not removed.
    #[error("network records: removing {}", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread doing it died.
    #[error("network records: interrupted")]
    Interrupted,
}

/// What is known of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// Never attached, or detached.
    None,
    /// Attached, or in part.
    Known {
        /// How it was begun.
        intent: Box<Intent>,
        /// How it ended, if it did.
        outcome: Option<Box<Outcome>>,
    },
    /// There is a record that cannot be read, which is now set aside.
    Unreadable,
}

/// An intent that is written and not yet synced.
#[derive(Debug)]
#[must_use = "an intent that is never synced may not survive a power cut"]
pub struct Begun {
    file: File,
    path: PathBuf,
}

impl Begun {
    /// Makes it durable.
    pub async fn sync(self) -> Result<(), CacheError> {
        blocking(move || {
            let sync = || -> io::Result<()> {
                self.file.sync_data()?;
                match self.path.parent() {
                    Some(dir) => File::open(dir)?.sync_all(),
                    None => Ok(()),
                }
            };
            sync().map_err(|source| CacheError::Write {
                path: self.path.clone(),
                source,
            })
        })
        .await
    }
}

/// The directory of records.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    /// Work on the disk goes on when nobody waits for it any more: what comes next for the same pod waits for its end.
    busy: Arc<Locks<Id>>,
}

impl Cache {
    /// Makes the directory if needed and clears away what an interrupted write left.
    pub async fn open(dir: PathBuf) -> Result<Self, CacheError> {
        blocking(move || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|source| CacheError::MakeDir {
                    path: dir.clone(),
                    source,
                })?;
            for path in list(&dir)? {
                if path.extension().is_some_and(|e| e == "tmp") {
                    remove(&path)?;
                    step::reached(Step::NetworkRecordSwept);
                }
            }
            Ok(Self {
                dir,
                busy: Arc::default(),
            })
        })
        .await
    }

    /// All pods with a record, readable or not.
    pub async fn ids(&self) -> Result<Vec<Id>, CacheError> {
        let dir = self.dir.clone();
        blocking(move || {
            let mut ids: Vec<Id> = list(&dir)?
                .iter()
                .filter_map(|path| {
                    let name = path.file_name()?.to_str()?;
                    let name = name.strip_suffix(ASIDE).unwrap_or(name);
                    Id::parse(name.strip_suffix(".intent")?).ok()
                })
                .collect();
            ids.sort();
            ids.dedup();
            Ok(ids)
        })
        .await
    }

    /// Notes that `intent.pod` is about to be attached.
    pub async fn begin(&self, intent: &Intent) -> Result<Begun, CacheError> {
        let path = self.path(&intent.pod.id, "intent");
        let stale = self.path(&intent.pod.id, "result");
        let bytes = encode(&path, intent)?;
        let guard = self.busy.lock(intent.pod.id.clone()).await;
        blocking(move || {
            let _guard = guard;
            remove(&stale)?;
            let file = write(&path, &bytes, Step::NetworkIntentStaged)?;
            step::reached(Step::NetworkIntentWritten);
            Ok(Begun { file, path })
        })
        .await
    }

    /// Notes how attaching ended.
    pub async fn finish(&self, id: &Id, outcome: &Outcome) -> Result<(), CacheError> {
        let path = self.path(id, "result");
        let bytes = encode(&path, outcome)?;
        let guard = self.busy.lock(id.clone()).await;
        blocking(move || {
            let _guard = guard;
            write(&path, &bytes, Step::NetworkResultStaged)?;
            step::reached(Step::NetworkResultWritten);
            Ok(())
        })
        .await
    }

    /// What is known of a pod.
    pub async fn load(&self, id: &Id) -> Result<Entry, CacheError> {
        let (intent, result) = (self.path(id, "intent"), self.path(id, "result"));
        let guard = self.busy.lock(id.clone()).await;
        blocking(move || {
            let _guard = guard;
            let intent = match read::<Intent>(&intent)? {
                // What was set aside earlier still has to be detached.
                Found::Nothing if aside(&intent).exists() => return Ok(Entry::Unreadable),
                Found::Nothing => return Ok(Entry::None),
                Found::Bad => return Ok(Entry::Unreadable),
                Found::Good(intent) => intent,
            };
            let outcome = match read::<Outcome>(&result)? {
                Found::Good(outcome) => Some(outcome),
                Found::Nothing | Found::Bad => None,
            };
            Ok(Entry::Known { intent, outcome })
        })
        .await
    }

    /// Forgets a pod. Idempotent.
    pub async fn forget(&self, id: &Id) -> Result<(), CacheError> {
        let (intent, result) = (self.path(id, "intent"), self.path(id, "result"));
        let guard = self.busy.lock(id.clone()).await;
        blocking(move || {
            let _guard = guard;
            remove(&aside(&result))?;
            remove(&aside(&intent))?;
            remove(&result)?;
            step::reached(Step::NetworkResultForgotten);
            remove(&intent)?;
            step::reached(Step::NetworkIntentForgotten);
            Ok(())
        })
        .await
    }

    fn path(&self, id: &Id, kind: &str) -> PathBuf {
        self.dir.join(format!("{id}.{kind}"))
    }
}

enum Found<T> {
    Nothing,
    Bad,
    Good(Box<T>),
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Found<T>, CacheError> {
    let failed = |source| CacheError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(failed(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let known = serde_json::from_slice::<Head>(&bytes).is_ok_and(|head| head.version == VERSION);
    if known && let Ok(record) = serde_json::from_slice(&bytes) {
        return Ok(Found::Good(Box::new(record)));
    }
    tracing::warn!(path = %path.display(), "unreadable network record set aside");
    fs::rename(path, aside(path)).map_err(failed)?;
    Ok(Found::Bad)
}

/// Ending of a record that could not be read. It stays until the pod is detached.
const ASIDE: &str = ".bad";

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ASIDE);
    name.into()
}

fn encode(path: &Path, record: &impl Serialize) -> Result<Vec<u8>, CacheError> {
    serde_json::to_vec(record).map_err(|e| CacheError::Write {
        path: path.to_owned(),
        source: e.into(),
    })
}

fn write(path: &Path, bytes: &[u8], staged_as: Step) -> Result<File, CacheError> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".tmp");
    let staged = PathBuf::from(staged);
    let put = || -> io::Result<File> {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&staged)?;
        file.write_all(bytes)?;
        step::reached(staged_as);
        fs::rename(&staged, path)?;
        Ok(file)
    };
    put().map_err(|source| CacheError::Write {
        path: path.to_owned(),
        source,
    })
}

fn remove(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(CacheError::Remove {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, CacheError> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
        .map_err(|source| CacheError::List {
            path: dir.to_owned(),
            source,
        })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| CacheError::Interrupted)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::tests::pod;

    fn intent() -> Intent {
        let conf = ConfList::parse_single(br#"{"name":"n","type":"x","f":1.5}"#).unwrap();
        let program = Way::Program("unknown".into());
        Intent::new(pod("/ns"), conf, &[program])
    }

    #[tokio::test]
    async fn keeps_and_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("a/b")).await.unwrap();
        let intent = intent();
        let id = intent.pod.id.clone();
        assert_eq!(cache.load(&id).await.unwrap(), Entry::None);
        cache.begin(&intent).await.unwrap().sync().await.unwrap();
        assert_eq!(cache.ids().await.unwrap(), vec![id.clone()]);
        let outcome = Outcome::new(serde_json::json!({"x": 1}), Attachment::default());
        cache.finish(&id, &outcome).await.unwrap();
        let cache = Cache::open(dir.path().join("a/b")).await.unwrap();
        assert_eq!(
            cache.load(&id).await.unwrap(),
            Entry::Known {
                intent: Box::new(intent.clone()),
                outcome: Some(Box::new(outcome))
            }
        );
        cache.begin(&intent).await.unwrap().sync().await.unwrap();
        assert!(matches!(
            cache.load(&id).await.unwrap(),
            Entry::Known { outcome: None, .. }
        ));
        cache.forget(&id).await.unwrap();
        cache.forget(&id).await.unwrap();
        assert!(cache.ids().await.unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_forgotten_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().to_owned()).await.unwrap();
        let intent = intent();
        let outcome = Outcome::new(serde_json::json!({}), Attachment::default());
        for _ in 0..200 {
            let mut begun = Box::pin(cache.begin(&intent));
            let _ = futures_util::poll!(&mut begun);
            drop(begun);
            let mut finished = Box::pin(cache.finish(&intent.pod.id, &outcome));
            let _ = futures_util::poll!(&mut finished);
            drop(finished);
            cache.forget(&intent.pod.id).await.unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn sets_aside_what_it_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().to_owned()).await.unwrap();
        let intent = intent();
        let id = intent.pod.id.clone();
        let file = dir.path().join(format!("{id}.intent"));
        for text in ["", "{", "{\"version\":99}"] {
            fs::write(&file, text).unwrap();
            assert_eq!(cache.load(&id).await.unwrap(), Entry::Unreadable);
            // It is not forgotten: what the pod has in the network still has to be released.
            assert_eq!(cache.load(&id).await.unwrap(), Entry::Unreadable);
            assert_eq!(cache.ids().await.unwrap(), vec![id.clone()]);
        }
        assert!(dir.path().join(format!("{id}.intent.bad")).exists());
        cache.begin(&intent).await.unwrap().sync().await.unwrap();
        fs::write(dir.path().join(format!("{id}.result")), "half").unwrap();
        assert!(matches!(
            cache.load(&id).await.unwrap(),
            Entry::Known { outcome: None, .. }
        ));
        fs::write(dir.path().join("x.intent.tmp"), "half").unwrap();
        Cache::open(dir.path().to_owned()).await.unwrap();
        assert!(!dir.path().join("x.intent.tmp").exists());
    }
}
