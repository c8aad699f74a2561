//! Looking at what a container is to mount before anything depends on it.
//!
//! A volume may lie on a file system that never answers: a server of NFS or FUSE that is gone. Whoever touches it
//! hangs in the kernel and cannot be killed. So it is first touched by a process that nobody needs, one for each path
//! however many ask, and what does not answer in time is refused.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::{sync::watch, time::timeout};

use super::spec::{Mount, MountSource};
use crate::sys::glance::Glance;

/// How long a file system may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A volume that does not answer.
#[derive(Debug, thiserror::Error)]
#[error(
    "config.mounts: {path:?} gave no answer within {} s; the file system it lies on may hang", after.as_secs()
)]
pub struct NoAnswer {
    /// Which.
    path: PathBuf,
    /// How long was waited.
    after: Duration,
}

/// The looks under way.
#[derive(Debug)]
pub struct Looks {
    patience: Duration,
    under_way: Arc<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay(Mutex<HashMap<PathBuf, watch::Receiver<bool>>>);

impl Default for Looks {
    fn default() -> Self {
        Self {
            patience: PATIENCE,
            under_way: Arc::default(),
        }
    }
}

impl Looks {
    /// Looks at everything of the host that is to be mounted. What is there or not is no concern of this.
    pub(crate) async fn at_all(&self, mounts: &[Mount]) -> Result<(), NoAnswer> {
        let paths: BTreeSet<&Path> = mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Host(path) => Some(path.as_path()),
                MountSource::Image { .. } => None,
            })
            .collect();
        try_join_all(paths.into_iter().map(|path| self.at(path)))
            .await
            .map(drop)
    }

    async fn at(&self, path: &Path) -> Result<(), NoAnswer> {
        self.look(path, || Ok(Glance::begin(path)?.ended())).await
    }

    async fn look<F: Future<Output = ()> + Send + 'static>(
        &self,
        path: &Path,
        begin: impl FnOnce() -> io::Result<F>,
    ) -> Result<(), NoAnswer> {
        let mut ended = match self.join(path, begin) {
            Ok(ended) => ended,
            // What is wrong shows soon enough.
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot look at a volume beforehand");
                return Ok(());
            }
        };
        match timeout(self.patience, ended.wait_for(|ended| *ended)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(NoAnswer {
                path: path.to_owned(),
                after: self.patience,
            }),
        }
    }

    /// The look that is under way, or a new one.
    fn join<F: Future<Output = ()> + Send + 'static>(
        &self,
        path: &Path,
        begin: impl FnOnce() -> io::Result<F>,
    ) -> io::Result<watch::Receiver<bool>> {
        let mut under_way = self.under_way.lock();
        if let Some(ended) = under_way.get(path) {
            return Ok(ended.clone());
        }
        let look = begin()?;
        let (end, ended) = watch::channel(false);
        under_way.insert(path.to_owned(), ended.clone());
        let (shared, own) = (self.under_way.clone(), path.to_owned());
        tokio::spawn(async move {
            look.await;
            shared.lock().remove(&own);
            end.send_replace(true);
        });
        Ok(ended)
    }
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, watch::Receiver<bool>>> {
        // A map of paths is never half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn looks(patience: Duration) -> Looks {
        Looks {
            patience,
            under_way: Arc::default(),
        }
    }

    #[tokio::test]
    async fn one_that_hangs_is_refused_and_looked_at_once() {
        let looks = looks(Duration::from_millis(50));
        let release = Arc::new(tokio::sync::Notify::new());
        let begun = AtomicUsize::new(0);
        let look = || {
            looks.look(Path::new("/stuck"), || {
                begun.fetch_add(1, Ordering::SeqCst);
                let release = release.clone();
                Ok(async move { release.notified().await })
            })
        };
        for _ in 0..3 {
            let error = look().await.unwrap_err();
            assert!(error.to_string().contains("\"/stuck\" gave no answer"));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        looks.at(Path::new("/")).await.unwrap();
        looks.at(Path::new("/no/such")).await.unwrap();
        release.notify_one();
        while !looks.under_way.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(look().await.is_err());
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn one_that_cannot_be_begun_tells_nothing() {
        let looks = looks(Duration::from_secs(60));
        let failed = || Err::<std::future::Ready<()>, _>(io::Error::other("no"));
        looks.look(Path::new("/"), failed).await.unwrap();
        looks.at(Path::new("/")).await.unwrap();
    }
}
