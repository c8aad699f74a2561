//! How far a pull is, for those who watch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::digest::Digest;

/// Bytes that pass before those who watch are told again.
const REPORT_EVERY: u64 = 256 << 10;

/// The step a pull is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Step {
    /// Finding out what the name stands for.
    #[default]
    Resolving,
    /// Fetching and unpacking the layers.
    Layers,
    /// Writing it down.
    Recording,
    /// Done.
    Done,
}

/// The state of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its turn has not come.
    Waiting,
    /// It is being fetched and unpacked as it comes.
    Transferring,
    /// It has come whole, and is being unpacked and synced.
    Unpacking,
    /// It is here.
    Done,
    /// It was here already.
    Exists,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes that are transferred in all.
    pub total: u64,
    /// Bytes that have been.
    pub done: u64,
    /// Its state.
    pub phase: Phase,
}

/// A pull, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The step.
    pub step: Step,
    /// The layers, lowest first; empty until they are known.
    pub layers: Vec<LayerProgress>,
}

/// Where the progress is written.
#[derive(Debug, Clone)]
pub(crate) struct Board(watch::Sender<Progress>);

impl Board {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Progress::default()))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.0.subscribe()
    }

    pub(crate) fn step(&self, step: Step) {
        self.0.send_modify(|progress| progress.step = step);
    }

    /// The layers are known: digests and sizes.
    pub(crate) fn layers(&self, layers: impl Iterator<Item = (Digest, u64)>) {
        let layers = layers
            .map(|(digest, total)| LayerProgress {
                digest,
                total,
                done: 0,
                phase: Phase::Waiting,
            })
            .collect();
        self.0.send_modify(|progress| {
            progress.step = Step::Layers;
            progress.layers = layers;
        });
    }

    pub(crate) fn phase(&self, layer: usize, phase: Phase) {
        self.0.send_modify(|progress| {
            if let Some(layer) = progress.layers.get_mut(layer) {
                layer.phase = phase;
                if matches!(phase, Phase::Done | Phase::Unpacking) {
                    layer.done = layer.total;
                }
            }
        });
    }

    /// A counter of the bytes of one layer.
    pub(crate) fn meter(&self, layer: usize) -> Meter {
        Meter {
            board: self.clone(),
            layer,
            done: 0,
            told: 0,
            pulse: Pulse::default(),
        }
    }
}

/// Counts the bytes of one layer, and tells of them now and then.
#[derive(Debug)]
pub(crate) struct Meter {
    board: Board,
    layer: usize,
    done: u64,
    told: u64,
    pulse: Pulse,
}

/// Every byte of a layer, for whoever wants to know whether it still comes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Waits until nothing has come for as long.
    pub(crate) async fn stopped(&self, silence: Duration) {
        loop {
            let before = self.0.load(Ordering::Relaxed);
            tokio::time::sleep(silence).await;
            if self.0.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

impl Meter {
    pub(crate) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    pub(crate) fn advance(&mut self, bytes: usize) {
        self.pulse.0.fetch_add(bytes as u64, Ordering::Relaxed);
        self.done += bytes as u64;
        if self.done - self.told < REPORT_EVERY {
            return;
        }
        self.told = self.done;
        let (layer, done) = (self.layer, self.done);
        self.board.0.send_modify(|progress| {
            if let Some(layer) = progress.layers.get_mut(layer) {
                layer.done = done.min(layer.total);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_seen_and_no_more_than_all() {
        let board = Board::new();
        let watch = board.watch();
        board.layers([(Digest::of(b"a"), 1 << 20)].into_iter());
        let mut meter = board.meter(0);
        meter.advance(10);
        assert_eq!(watch.borrow().layers[0].done, 0);
        meter.advance(2 << 20);
        assert_eq!(watch.borrow().layers[0].done, 1 << 20);
        board.phase(0, Phase::Done);
        board.phase(7, Phase::Done);
        assert_eq!(watch.borrow().layers[0].phase, Phase::Done);
    }
}
