//! Puts the layers of one image in place, from the bottom up, as many at a time as are ready.
//!
//! While one batch is synced the next layers come in, so that a whole image costs few syncs.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use crate::storage::{ChainId, LayerInfo, Staged, Storage, StorageError};

/// How a layer's commit ended.
pub(crate) type Committed = Result<LayerInfo, Arc<StorageError>>;

#[derive(Debug)]
struct Arrival {
    index: usize,
    /// Nothing for a layer that is there already.
    staged: Option<(Staged, Option<ChainId>, oneshot::Sender<Committed>)>,
}

/// Where layers are announced.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals(Option<mpsc::UnboundedSender<Arrival>>);

/// Waits for layers.
#[derive(Debug)]
pub(crate) struct Committer {
    image: String,
    storage: Storage,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

impl Arrivals {
    /// One that announces nothing any more.
    pub(crate) fn closed() -> Self {
        Self(None)
    }

    /// A layer is there.
    pub(crate) fn present(&self, index: usize) {
        self.send(Arrival {
            index,
            staged: None,
        });
    }

    /// A layer waits to be put in place. The answer fails when one below it never comes.
    pub(crate) fn staged(
        &self,
        index: usize,
        staged: Staged,
        parent: Option<ChainId>,
    ) -> oneshot::Receiver<Committed> {
        let (answer, committed) = oneshot::channel();
        self.send(Arrival {
            index,
            staged: Some((staged, parent, answer)),
        });
        committed
    }

    fn send(&self, arrival: Arrival) {
        if let Some(sender) = &self.0 {
            // A committer that is gone drops the answer, which says so.
            let _ = sender.send(arrival);
        }
    }
}

impl Committer {
    pub(crate) fn new(image: &str, storage: Storage) -> (Arrivals, Self) {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let committer = Self {
            image: image.to_owned(),
            storage,
            arrivals,
        };
        (Arrivals(Some(sender)), committer)
    }

    /// Runs until no one is left who could announce a layer.
    pub(crate) async fn run(mut self) {
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        while let Some(arrival) = self.arrivals.recv().await {
            waiting.insert(arrival.index, arrival.staged);
            while let Ok(arrival) = self.arrivals.try_recv() {
                waiting.insert(arrival.index, arrival.staged);
            }
            let mut batch = Vec::new();
            let mut answers = Vec::new();
            while let Some(staged) = waiting.remove(&next) {
                next += 1;
                if let Some((staged, parent, answer)) = staged {
                    batch.push((staged, parent));
                    answers.push(answer);
                }
            }
            if !batch.is_empty() {
                self.commit(batch, answers).await;
            }
        }
    }

    async fn commit(
        &self,
        batch: Vec<(Staged, Option<ChainId>)>,
        answers: Vec<oneshot::Sender<Committed>>,
    ) {
        let storage = self.storage.clone();
        let committed = super::blocking(&self.image, move || storage.commit_all(batch)).await;
        match committed {
            Ok(Ok(infos)) => {
                for (info, answer) in infos.into_iter().zip(answers) {
                    let _ = answer.send(Ok(info));
                }
            }
            Ok(Err(error)) => {
                let error = Arc::new(error);
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
            // The answers are dropped, which says that the work was interrupted.
            Err(_) => {}
        }
    }
}
